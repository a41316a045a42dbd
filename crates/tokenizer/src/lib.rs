//! Text to token ids and back, from GGUF metadata alone.
//!
//! Two kinds of vocabularies: SentencePiece's BPE (`tokenizer.ggml.model` = `llama`, "SPM") and byte-level BPE
//! (`gpt2`) with the pre-tokenizers of `pre.rs`. Ids, pieces and the set of tokens that end a generation are
//! llama.cpp's; the goldens are in `golden/snapshots/tokens`.
//!
//! On the way from text to ids: [`Tokenizer::encode`] cuts the text at special tokens (`partition`), each part is
//! cut into words (`split`, BPE only), and each word is merged (`bpe`, `spm`). Nothing takes more than n log n time
//! in the length of the text, and nothing allocates more than a small multiple of the bytes it was given.

mod arena;
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
