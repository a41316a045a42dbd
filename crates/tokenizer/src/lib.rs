//! Text to token ids and back, from GGUF metadata alone.
//!
//! Two kinds of vocabularies: SentencePiece's BPE (`tokenizer.ggml.model` = `llama`, "SPM") and byte-level BPE
//! (`gpt2`) with the pre-tokenizers of `pre.rs`. Ids, pieces and the set of tokens that end a generation are
//! llama.cpp's; the goldens are in `golden/snapshots/tokens`.
//!
//! On the way from text to ids: [`Tokenizer::encode`] cuts the text at special tokens (`partition`), each part is
//! cut into words (`split`, BPE only), and each word is merged (`bpe`, `spm`). Nothing takes more than n log n time
//! in the length of the text, and nothing allocates more than a small multiple of the bytes it was given.
//!
//! ```no_run
//! use tokenizer::{Special, Tokenizer};
//!
//! let gguf = gguf_parse::Gguf::open("model.gguf".as_ref())?;
//! let tokenizer = Tokenizer::from_metadata(gguf.metadata())?;
//! let ids = tokenizer.encode("The capital of France is", true, Special::Parse);
//! let mut decoder = tokenizer.decoder();
//! for &id in &ids {
//!     print!("{}", decoder.push(id));
//! }
//! println!("{}", decoder.finish());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arena;
mod bits;
mod bpe;
mod bytes;
mod decode;
mod error;
mod matcher;
mod partition;
mod pre;
mod queue;
mod special;
mod split;
mod spm;
mod tokenizer;
mod unicode;
mod unicode_table;
mod vocab;

pub use decode::Decoder;
pub use error::{MergeProblem, TokenizerError};
pub use tokenizer::{Special, Tokenizer};
