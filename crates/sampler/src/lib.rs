//! llama.cpp's sampler chain: logits to token. Knows nothing of models or tokenizers.

/// A parameter out of its range.
#[derive(Debug, thiserror::Error)]
#[error("{name} is {found}; must be {allowed}")]
pub struct ParamsError {
    /// The parameter.
    pub name: &'static str,
    /// The value given.
    pub found: String,
    /// The values allowed.
    pub allowed: &'static str,
}

/// What can go wrong while sampling.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The logits hold NaN, or nothing finite.
    #[error("the model produced no finite logits")]
    NotFinite,
}

/// Parameters of the chain; the defaults are llama.cpp's.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "skeleton")]
pub struct Params {
    pub seed: u32,
    pub temp: f32,
    pub dynatemp_range: f32,
    pub dynatemp_exponent: f32,
    pub top_k: i32,
    pub top_p: f32,
    pub min_p: f32,
    pub typical_p: f32,
    pub penalty_last_n: i32,
    pub penalty_repeat: f32,
    pub penalty_freq: f32,
    pub penalty_present: f32,
    pub min_keep: usize,
    pub logit_bias: Vec<(u32, f32)>,
}

/// The chain with its random numbers and its window of recent tokens.
#[derive(Debug, Clone)]
pub struct Sampler {
    _private: (),
}

impl Sampler {
    /// A chain for a vocabulary of `n_vocab` tokens.
    /// # Errors
    /// A parameter that is NaN or out of its range, a bias for an id that does not exist.
    pub fn new(params: Params, n_vocab: usize) -> Result<Self, ParamsError> {
        let _ = (params, n_vocab);
        unimplemented!()
    }
    /// Tells the penalties of a token: every prompt token, then (done by [`Self::sample`] itself) every pick.
    pub fn accept(&mut self, id: u32) {
        let _ = id;
    }
    /// Picks a token. Leaves `logits` as they are.
    /// # Errors
    /// `NotFinite`.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SampleError> {
        let _ = logits;
        unimplemented!()
    }
}
