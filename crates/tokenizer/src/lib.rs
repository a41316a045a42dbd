//! Text to token ids and back, from GGUF metadata alone.
//!
//! Ids, pieces and the set of tokens that end a generation are llama.cpp's, for every kind of vocabulary that it
//! knows; the goldens are in `golden/snapshots/tokens`.
//!
//! | `tokenizer.ggml.model` | kind | file |
//! |---|---|---|
//! | `llama` | SPM: SentencePiece's BPE | `spm.rs` |
//! | `gpt2`, `gemma4` | BPE with the pre-tokenizers of `pre.rs` | `bpe.rs`, `split.rs` |
//! | `whitespace`, `hybriddna` | BPE of parts of the text | `sessions.rs` |
//! | `bert` | WPM: WordPiece | `wpm.rs` |
//! | `t5` | UGM: SentencePiece's unigram model | `ugm.rs`, `charsmap.rs` |
//! | `rwkv` | RWKV: the longest token | `rwkv.rs` |
//! | `plamo2` | PLaMo-2 | `plamo2.rs` |
//!
//! On the way from text to ids: [`Tokenizer::encode`] cuts the text at special tokens (`partition`), and the kind does
//! the rest; BPE cuts each part into words (`split`) and merges each word. Where a vocabulary lets a text be cut so that
//! no part depends on what is around it, the ids of parts that come again are copied (`words`). Nothing takes more than
//! n log n time in the length of the text, and nothing allocates more than a small multiple of the bytes it was given
//! (what a map of characters makes of them counts, at most 256 bytes for one).
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
mod charsmap;
mod decode;
mod error;
mod fold_table;
mod load;
mod matcher;
mod partition;
mod plamo2;
mod pre;
mod queue;
mod rwkv;
mod sessions;
mod special;
mod split;
mod spm;
#[cfg(test)]
mod testing;
mod tokenizer;
mod trie;
mod ugm;
mod unicode;
mod unicode_table;
mod vocab;
mod words;
mod wpm;

pub use decode::Decoder;
pub use error::{MergeProblem, TokenizerError};
pub use special::SpecialIds;
pub use tokenizer::{Special, Tokenizer};
