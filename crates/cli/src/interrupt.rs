//! Ctrl-C. While text is being generated the first one stops the generation and the command ends properly (or the
//! chat goes on); a second one that is no double tap, or one at any other time, ends the process at once. The exit
//! status is 130 either way.
use crate::errors::{CliError, Exit};
use llama_model::ModelError;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::{Duration, Instant};

/// A large model needs a moment to stop; people press twice.
const DOUBLE_TAP: Duration = Duration::from_secs(1);

/// The handler's shared state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    /// Set while somebody will stop at the first Ctrl-C.
    cancel: Arc<Mutex<Option<Arc<AtomicBool>>>>,
}

impl Interrupt {
    /// Installs the handler.
    pub(crate) fn install() -> Result<Self, CliError> {
        let interrupt = Self::default();
        let cancel = Arc::clone(&interrupt.cancel);
        let mut last: Option<Instant> = None;
        ctrlc::set_handler(move || {
            let flag = cancel.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let tapped_twice = last.is_some_and(|last| last.elapsed() < DOUBLE_TAP);
            let stops = flag.is_some_and(|flag| !flag.swap(true, Ordering::SeqCst));
            // The second of two presses may come when what the first one stopped has ended already.
            if !stops && !tapped_twice {
                std::process::exit(Exit::Interrupted as i32);
            }
            last = Some(Instant::now());
        })
        .map_err(|e| CliError::new("E-SIGNAL", Exit::Io, format!("cannot handle Ctrl-C: {e}")))?;
        Ok(interrupt)
    }

    /// From now on the first Ctrl-C sets `flag` instead of ending the process.
    pub(crate) fn set_on_first(&self, flag: Arc<AtomicBool>) {
        *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = Some(flag);
    }

    /// From now on Ctrl-C ends the process again.
    pub(crate) fn release(&self) {
        *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Why work ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Ctrl-C.
    Cancelled,
    Failed(CliError),
}

impl From<ModelError> for Stop {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Cancelled => Self::Cancelled,
            error => Self::Failed(error.into()),
        }
    }
}

impl From<CliError> for Stop {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}
