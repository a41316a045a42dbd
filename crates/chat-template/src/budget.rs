//! How much a template may do. It comes out of a file that anybody may have written.

/// The longest template, in bytes.
pub(crate) const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// How deep blocks and parentheses may nest.
pub(crate) const MAX_NESTING: usize = 100;
/// The highest tree an expression may become: `a + b + c` is one level higher than `a + b`.
pub(crate) const MAX_HEIGHT: usize = 250;
/// How deep blocks, expressions and macros may be entered at once while rendering.
pub(crate) const MAX_DEPTH: usize = 600;
/// How deep lists and maps may nest where all of them is looked at.
pub(crate) const MAX_VALUE_DEPTH: usize = 130;
/// Expressions and statements executed and elements made, at most, for a conversation of no size.
const MAX_STEPS: u64 = 8_000_000;
/// The same for finding out what a template can do.
const MAX_TRIAL_STEPS: u64 = 400_000;
/// Steps that a round of a loop costs: it makes the variable `loop`.
pub(crate) const ROUND_STEPS: u64 = 16;
/// Bytes that strings may take all in all, for a conversation of no size; see [`Budget::new`].
const MAX_BYTES: u64 = 64 << 20;
/// The longest prompt of a conversation of no size, in bytes.
const MAX_OUTPUT: u64 = 4 << 20;

/// What is left.
#[derive(Debug)]
pub(crate) struct Budget {
    steps: u64,
    bytes: u64,
    pub(crate) max_steps: u64,
    pub(crate) max_bytes: u64,
    pub(crate) max_output: u64,
}

/// What there was too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    Steps,
    Bytes,
    Output,
    Depth,
    ValueDepth,
}

impl Budget {
    /// For a conversation of so many bytes and messages. A template copies the bytes a few times, and may look at all
    /// messages for each of them.
    pub(crate) fn new(n_bytes: usize, n_messages: usize) -> Self {
        let (n_bytes, n_messages) = (n_bytes as u64, n_messages as u64);
        let pairs = n_messages.saturating_mul(n_messages).min(1 << 22);
        let max_bytes = MAX_BYTES.saturating_add(n_bytes.saturating_mul(64));
        let max_output = MAX_OUTPUT.saturating_add(n_bytes.saturating_mul(2));
        let max_steps = MAX_STEPS + pairs * 4 * ROUND_STEPS;
        Self { steps: max_steps, bytes: max_bytes, max_steps, max_bytes, max_output }
    }

    /// For finding out what a template can do.
    pub(crate) fn trial() -> Self {
        Self { steps: MAX_TRIAL_STEPS, ..Self::new(0, 0) }
    }

    /// Takes steps.
    pub(crate) fn steps(&mut self, n: u64) -> Result<(), Excess> {
        self.steps = self.steps.checked_sub(n).ok_or(Excess::Steps)?;
        Ok(())
    }

    /// Takes room for a string.
    pub(crate) fn bytes(&mut self, n: usize) -> Result<(), Excess> {
        self.bytes = self.bytes.checked_sub(n as u64).ok_or(Excess::Bytes)?;
        Ok(())
    }
}
