//! What is measured.
use crate::args::{BenchArgs, PromptGen};
use llama_model::bench::{Macs, Work};
use std::fmt;

/// One test: a prompt, a generation, or one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    /// Tokens of each sequence before the clock starts.
    pub(super) depth: usize,
    /// Tokens of the prompt.
    pub(super) n_prompt: usize,
    /// Steps of the generation.
    pub(super) n_gen: usize,
    /// Sequences that generate at once; a prompt is that of one.
    pub(super) n_seq: usize,
}

/// The tests that `args` ask for, depth by depth.
pub(super) fn all(args: &BenchArgs) -> Vec<Test> {
    let mut tests = Vec::new();
    for &depth in &args.depth {
        let test = |n_prompt, n_gen, n_seq| Test { depth, n_prompt, n_gen, n_seq };
        tests.extend(args.n_prompt.iter().map(|n| test(*n, 0, 1)));
        for &n_seq in &args.n_parallel {
            tests.extend(args.n_gen.iter().map(|n| test(0, *n, usize::from(n_seq))));
        }
        let pairs = args.prompt_gen.iter();
        tests.extend(pairs.map(|&PromptGen { n_prompt, n_gen }| test(n_prompt, n_gen, 1)));
    }
    tests.retain(|test| test.n_prompt + test.n_gen > 0);
    tests
}

impl Test {
    /// Tokens counted.
    pub(super) fn n_tokens(&self) -> usize {
        self.n_prompt + self.n_gen * self.n_seq
    }

    /// What its matrices multiply. Of a prompt, only the last token's logits are wanted.
    pub(super) fn macs(&self, work: &Work<'_>) -> Macs {
        let mut macs = work.macs(self.n_prompt, usize::from(self.n_prompt > 0));
        let n = self.n_gen * self.n_seq;
        macs += work.macs(n, n);
        macs
    }

    /// What it reads; `None` with a prompt, which reads no more than it likes to.
    pub(super) fn bytes(&self, work: &Work<'_>) -> Option<u64> {
        let step = |i| work.step_bytes(self.n_seq, self.depth + i);
        (self.n_prompt == 0).then(|| (1..=self.n_gen).map(step).sum())
    }
}

impl fmt::Display for Test {
    /// As llama-bench writes it: `pp512`, `tg128 @ d4096`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.n_prompt, self.n_gen) {
            (p, 0) => write!(f, "pp{p}")?,
            (0, n) => write!(f, "tg{n}")?,
            (p, n) => write!(f, "pp{p}+tg{n}")?,
        }
        if self.n_seq > 1 {
            write!(f, " x{}", self.n_seq)?;
        }
        if self.depth > 0 {
            write!(f, " @ d{}", self.depth)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Test;

    #[test]
    fn names() {
        let name =
            |n_prompt, n_gen, n_seq, depth| Test { depth, n_prompt, n_gen, n_seq }.to_string();
        assert_eq!(name(512, 0, 1, 0), "pp512");
        assert_eq!(name(0, 128, 1, 4096), "tg128 @ d4096");
        assert_eq!(name(0, 16, 4, 0), "tg16 x4");
        assert_eq!(name(512, 128, 1, 7), "pp512+tg128 @ d7");
    }
}
