//! llama.cpp's sampler chain: logits to token. Knows nothing of models or tokenizers.
//!
//! The chain is llama.cpp's `common_sampler`: logit biases, then the stages of [`Params::order`]
//! (penalties, DRY, top-n-sigma, top-k, typical-p, top-p, min-p, XTC, temperature), then a draw from
//! `std::mt19937`, plainly or by adaptive-p; or else mirostat, which has its own short chain. All with
//! llama.cpp's defaults, its order of floating-point operations and its random numbers, so that
//! the same seed picks the same tokens. Where llama.cpp leaves a result to chance or lets it become
//! NaN, this crate decides:
//!
//! - Equal logits are ordered by ascending id (llama.cpp: by its standard library's sort).
//! - Parameters without a meaning, and logits that are NaN or nowhere finite, are errors.
//! - A logit that a penalty, a bias or a temperature near 0 would overflow stays finite.
//! - Where mirostat 1 finds more tokens to keep than an integer counts, it keeps all (llama.cpp: what
//!   the processor makes of it, on x86-64 one token); where it finds no number, it keeps one.
//! - XTC never leaves only banned tokens.
//! - The same picks come out on every operating system: no libm is called.
//!
//! ```
//! use sampler::{Params, Sampler};
//!
//! let params = Params { seed: 1, top_k: 3, ..Params::default() };
//! let mut sampler = Sampler::new(params, 5)?;
//! for id in [0, 4] {
//!     sampler.accept(id); // the prompt
//! }
//! let logits = [-1.0, 3.5, 0.25, 3.0, 2.0];
//! let id = sampler.sample(&logits)?;
//! assert!([1, 3, 4].contains(&id));
//!
//! // Temperature 0 takes the most likely token.
//! let mut greedy = Sampler::new(Params { temp: 0.0, ..Params::default() }, 5)?;
//! assert_eq!(greedy.sample(&logits)?, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod candidates;
mod error;
mod math;
mod metadata;
mod params;
mod rng;
mod sampler;
mod stage;
mod stages;

pub use candidates::{Candidate, Candidates};
pub use error::{ParamsError, SampleError};
pub use metadata::{FromMetadata, MetaValue, UserSet};
pub use params::{DryBreaker, Params};
pub use sampler::Sampler;
pub use stage::Stage;
