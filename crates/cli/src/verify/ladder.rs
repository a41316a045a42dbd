//! Rungs, one after the other. Each is told when it is done, and what ends one does not end the others.
use super::certificate::{Rung, RungError, Status};
use crate::{
    errors::{CliError, Exit, one_line},
    interrupt::{Interrupt, Stop},
    output,
};
use llama_model::Context;
use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Why rungs are skipped behind Ctrl-C.
const INTERRUPTED: &str = "interrupted";

/// What a rung found; `value` is what the certificate or other rungs need of it.
pub(super) struct Step<T> {
    value: Option<T>,
    status: Status,
    detail: String,
    notes: Vec<String>,
    error: Option<CliError>,
}

/// A rung's outcome: what it found, or that it did not come to its end.
pub(super) type Climbed<T> = Result<Step<T>, Stop>;

impl<T> Step<T> {
    /// It holds.
    pub(super) fn ok(value: T, detail: impl Into<String>) -> Self {
        Self::new(Some(value), Status::Ok, detail.into(), None)
    }

    /// It does not hold.
    pub(super) fn fail(value: T, detail: impl Into<String>) -> Self {
        Self::new(Some(value), Status::Fail, detail.into(), None)
    }

    /// The file is broken.
    pub(super) fn broken(value: Option<T>, error: CliError) -> Self {
        Self::new(value, Status::Fail, error.message(), Some(error))
    }

    /// It cannot be tried, and that is no fault.
    pub(super) fn skipped(reason: impl Into<String>) -> Self {
        Self::new(None, Status::Skipped, reason.into(), None)
    }

    fn new(value: Option<T>, status: Status, detail: String, error: Option<CliError>) -> Self {
        Self { value, status, detail, notes: Vec::new(), error }
    }

    /// What it found, or, if it does not hold, the same outcome for a rung that needed it.
    pub(super) fn into_result<U>(self) -> Result<T, Step<U>> {
        let Self { value, status, detail, notes, error } = self;
        match value {
            Some(value) if status == Status::Ok => Ok(value),
            _ => Err(Step { value: None, status, detail, notes, error }),
        }
    }

    /// Adds sentences.
    pub(super) fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }
}

/// The ladder, climbed so far.
pub(super) struct Ladder<'a> {
    path: &'a Path,
    /// Whether rungs are told as they are done.
    aloud: bool,
    rungs: Vec<Rung>,
    /// What the first rung that does not hold means for the command.
    exit: Exit,
    interrupted: bool,
    has_told_error: bool,
    /// The first error of standard output. A ladder goes on without: its exit status is still to be known.
    output: Result<(), CliError>,
}

impl<'a> Ladder<'a> {
    pub(super) fn new(path: &'a Path, aloud: bool) -> Self {
        Self {
            path,
            aloud,
            rungs: Vec::new(),
            exit: Exit::Ok,
            interrupted: false,
            has_told_error: false,
            output: Ok(()),
        }
    }

    /// Climbs a rung; what it found, also if it does not hold.
    pub(super) fn rung<T>(
        &mut self,
        name: &'static str,
        climb: impl FnOnce() -> Climbed<T>,
    ) -> Option<T> {
        if self.interrupted {
            self.skip(name, INTERRUPTED);
            return None;
        }
        let step = match climb() {
            Ok(step) => step,
            Err(Stop::Failed(error)) => Step::broken(None, error),
            Err(Stop::Cancelled) => {
                self.interrupted = true;
                Step::skipped(INTERRUPTED)
            }
        };
        let Step { value, status, detail, notes, error } = step;
        let error = error.map(|error| error.at(self.path));
        if status == Status::Fail && self.exit == Exit::Ok {
            self.exit = error.as_ref().map_or(Exit::Diverged, |error| error.exit);
        }
        let told = error.as_ref().map(RungError::new);
        self.push(Rung { name, status, detail, notes, error: told });
        // The first says what is wrong; those behind it may follow from it.
        if let Some(error) = error.filter(|_| !self.has_told_error) {
            self.has_told_error = true;
            error.print();
        }
        value
    }

    /// Says why rungs are not climbed.
    pub(super) fn skip(&mut self, name: &'static str, reason: &str) {
        let reason = if self.interrupted { INTERRUPTED } else { reason };
        self.push(Rung {
            name,
            status: Status::Skipped,
            detail: reason.to_owned(),
            notes: Vec::new(),
            error: None,
        });
    }

    /// Whether the last rung holds.
    pub(super) fn holds(&self) -> bool {
        self.rungs.last().is_some_and(|rung| rung.status == Status::Ok)
    }

    fn push(&mut self, rung: Rung) {
        if self.aloud {
            self.tell(&rung.lines());
        }
        self.rungs.push(rung);
    }

    /// Prints, as long as somebody reads.
    pub(super) fn tell(&mut self, text: &str) {
        if self.output.is_ok() {
            self.output = output::print(text);
        }
    }

    /// All rungs, how the command ends, and what became of standard output.
    pub(super) fn finish(self) -> (Vec<Rung>, Exit, Result<(), CliError>) {
        let exit = if self.interrupted { Exit::Interrupted } else { self.exit };
        (self.rungs, exit, self.output)
    }
}

impl Rung {
    /// For people: a line, and one for each note.
    fn lines(&self) -> String {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Fail => "FAIL",
            Status::Skipped => "skipped",
        };
        let mut text = format!("{:<17} {status:<8} {}\n", self.name, one_line(&self.detail));
        for note in &self.notes {
            text.push_str(&format!("{:<26} {}\n", "", one_line(note)));
        }
        text
    }
}

/// Ctrl-C, whatever is at work.
pub(super) struct Cancel {
    interrupt: Interrupt,
    flag: Mutex<Arc<AtomicBool>>,
}

impl Cancel {
    pub(super) fn new(interrupt: &Interrupt) -> Self {
        let flag = Arc::<AtomicBool>::default();
        interrupt.set_on_first(Arc::clone(&flag));
        Self { interrupt: interrupt.clone(), flag: Mutex::new(flag) }
    }

    /// What Ctrl-C sets.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fails if there was a Ctrl-C.
    pub(super) fn check(&self) -> Result<(), Stop> {
        if self.flag().load(Ordering::SeqCst) { Err(Stop::Cancelled) } else { Ok(()) }
    }

    /// From now on Ctrl-C ends what `context` does.
    pub(super) fn watch(&self, context: &Context) -> Result<(), Stop> {
        let new = context.cancel_flag();
        self.interrupt.set_on_first(Arc::clone(&new));
        let mut flag = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *flag, new);
        // It may have come just before.
        if old.load(Ordering::SeqCst) { Err(Stop::Cancelled) } else { Ok(()) }
    }
}
