//! Runs a test and takes the time.
use super::{split::Split, test::Test};
use llama_model::{BatchToken, Context, ModelError};
use std::time::{Duration, Instant};

/// Steps of a generation that warm up: they see what all see.
const WARM_UP_STEPS: usize = 8;

/// What came out.
#[derive(Debug)]
pub(super) struct Measured {
    /// How long each repetition took.
    pub(super) times: Vec<Duration>,
    /// How a further run's time was split.
    pub(super) split: Option<Split>,
}

/// A context that runs tests.
pub(super) struct Runner<'a> {
    context: &'a mut Context,
    repetitions: usize,
    random: u64,
    batch: Vec<BatchToken>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(context: &'a mut Context, repetitions: usize) -> Self {
        Self { context, repetitions, random: 1, batch: Vec::new() }
    }

    /// Warms up, then measures; `split` asks for one more run.
    pub(super) fn measure(&mut self, test: &Test, split: bool) -> Result<Measured, ModelError> {
        self.run(&Test { n_gen: test.n_gen.min(WARM_UP_STEPS), ..*test }, None)?;
        let times =
            (0..self.repetitions).map(|_| self.run(test, None)).collect::<Result<_, _>>()?;
        let mut parts = Split::default();
        if split {
            self.run(test, Some(&mut parts))?;
        }
        Ok(Measured { times, split: split.then_some(parts) })
    }

    /// Brings every sequence to the depth of `test`.
    fn fill(&mut self, test: &Test) -> Result<(), ModelError> {
        let have = self.context.truncate(0, test.depth);
        self.prompt(have, test.depth - have, false, None)?;
        for seq in 1..test.n_seq {
            if self.context.truncate(seq, test.depth) < test.depth {
                self.context.copy(0, seq, test.depth)?;
            }
        }
        Ok(())
    }

    /// One run, from its depth on.
    fn run(&mut self, test: &Test, mut split: Option<&mut Split>) -> Result<Duration, ModelError> {
        self.fill(test)?;
        let started = Instant::now();
        self.prompt(test.depth, test.n_prompt, true, split.as_deref_mut())?;
        for i in 0..test.n_gen {
            self.step(test.depth + test.n_prompt + i, test.n_seq, split.as_deref_mut())?;
        }
        Ok(started.elapsed())
    }

    /// A prompt of `n` tokens at `pos` of the first sequence.
    fn prompt(
        &mut self,
        pos: usize,
        n: usize,
        output: bool,
        split: Option<&mut Split>,
    ) -> Result<(), ModelError> {
        self.batch.clear();
        for i in 0..n {
            let token = self.token();
            let output = output && i + 1 == n;
            self.batch.push(BatchToken { seq: 0, pos: pos + i, token, output });
        }
        self.decode(split)
    }

    /// The next token of each of `n_seq` sequences, all at `pos`.
    fn step(
        &mut self,
        pos: usize,
        n_seq: usize,
        split: Option<&mut Split>,
    ) -> Result<(), ModelError> {
        self.batch.clear();
        for seq in 0..n_seq {
            let token = self.token();
            self.batch.push(BatchToken { seq, pos, token, output: true });
        }
        self.decode(split)
    }

    fn decode(&mut self, split: Option<&mut Split>) -> Result<(), ModelError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        match split {
            None => self.context.decode(&self.batch).map(drop),
            Some(split) => {
                split.begin();
                self.context.decode_traced(&self.batch, split)?;
                split.end();
                Ok(())
            }
        }
    }

    /// A random token: SplitMix64, as the random models use. What is read does not change how fast.
    fn token(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let n_vocab = self.context.model().hparams().n_vocab as u64;
        u32::try_from((z ^ (z >> 31)) % n_vocab).unwrap_or(0)
    }
}
