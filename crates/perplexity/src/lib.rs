//! Perplexity and KL divergence as llama.cpp's `llama-perplexity` defines them, from logits alone: this crate knows
//! nothing of models or files.
//!
//! A text is cut into [`Chunks`] of `n_ctx` tokens, each computed with an empty cache; what is scored is the second
//! half of each, so that every prediction has context. [`Likelihood`] adds up how well the text was predicted,
//! [`Divergence`] how far that is from another model's predictions of the same text, which [`BaseWriter`] wrote and
//! [`BaseReader`] reads, in llama.cpp's format. [`NpyWriter`] writes the logits as they are, and [`kl_divergence`]
//! compares such in f64, where the 16 bits of a base file are too coarse.
//!
//! Results are added up token by token, in the order of the text: they do not depend on threads.
//!
//! ```
//! use perplexity::{Chunks, Likelihood, map_rows, neg_log_likelihood};
//!
//! // Eight tokens of a vocabulary of 3, in chunks of 4: two chunks, the third token's logits score the fourth.
//! let text = Chunks::new(vec![0, 1, 2, 1, 1, 0, 2, 2], 4, None, 3)?;
//! assert_eq!((text.n_chunk(), text.n_scored()), (2, 1));
//! let mut likelihood = Likelihood::default();
//! for chunk in 0..text.n_chunk() {
//!     let logits = [0.5, 0.5, 0.5]; // what a model says behind text.inputs(chunk, None)[2]
//!     let rows = map_rows(1, &logits, 3, text.targets(chunk), |row, id| neg_log_likelihood(row, *id));
//!     rows.into_iter().for_each(|nll| likelihood.push(nll));
//! }
//! assert!((likelihood.perplexity().mean - 3.0).abs() < 1e-6);
//! # Ok::<(), perplexity::PerplexityError>(())
//! ```
#![forbid(unsafe_code)]

mod base;
mod chunks;
mod divergence;
mod error;
mod likelihood;
mod npy;
mod rows;
mod statistics;

pub use base::{BaseReader, BaseRow, BaseWriter, encode_row};
pub use chunks::Chunks;
pub use divergence::{Divergence, RowDivergence, Summary, kl_divergence};
pub use error::PerplexityError;
pub use likelihood::{Likelihood, neg_log_likelihood};
pub use npy::NpyWriter;
pub use rows::map_rows;
pub use statistics::{Estimate, Quantile};
