//! Ctrl-C. While text is being generated the first one stops the generation and the command ends properly; a
//! second one, or one at any other time, ends the process at once. The exit status is 130 either way.
use crate::errors::{CliError, Exit};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

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
        ctrlc::set_handler(move || {
            let flag = cancel.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match flag {
                Some(flag) if !flag.swap(true, Ordering::SeqCst) => {}
                _ => std::process::exit(Exit::Interrupted as i32),
            }
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
