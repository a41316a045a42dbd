//! Progress bars for what takes long, on standard error, if that is a terminal.
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    borrow::Cow,
    io::IsTerminal,
    time::{Duration, Instant},
};

/// What is quicker than this shows no bar.
const PATIENCE: Duration = Duration::from_millis(400);

/// A bar that appears when it is worth it, and is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    label: Cow<'static, str>,
    template: &'static str,
    started: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar that counts bytes.
    pub(crate) fn bytes(label: &'static str) -> Self {
        Self::new(label, "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {elapsed}")
    }

    /// A bar that counts something else.
    pub(crate) fn count(label: &'static str) -> Self {
        Self::new(label, "{msg} {wide_bar} {pos}/{len} {elapsed}")
    }

    /// A bar of a fraction.
    pub(crate) fn fraction(label: &'static str) -> Self {
        Self::new(label, "{msg} {wide_bar} {percent}% {elapsed}")
    }

    fn new(label: &'static str, template: &'static str) -> Self {
        let started = std::io::stderr().is_terminal().then(Instant::now);
        Self { label: label.into(), template, started, bar: None }
    }

    /// Moves it.
    pub(crate) fn set(&mut self, done: u64, all: Option<u64>) {
        if self.started.is_none_or(|started| started.elapsed() < PATIENCE) {
            return;
        }
        let (label, template) = (&self.label, self.template);
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(0).with_message(label.clone());
            // The templates are constants that a test has tried.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        if let Some(all) = all {
            bar.set_length(all);
        }
        bar.set_position(done);
    }

    /// Says something else from now on.
    pub(crate) fn relabel(&mut self, label: String) {
        self.label = label.into();
        if let Some(bar) = &self.bar {
            bar.set_message(self.label.clone());
        }
    }

    /// Moves it to a fraction from 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=1000"
    )]
    pub(crate) fn set_fraction(&mut self, fraction: f32) {
        self.set((fraction.clamp(0.0, 1.0) * 1000.0) as u64, Some(1000));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for progress in [Progress::bytes(""), Progress::count(""), Progress::fraction("")] {
            assert!(
                ProgressStyle::with_template(progress.template).is_ok(),
                "{}",
                progress.template
            );
        }
    }
}
