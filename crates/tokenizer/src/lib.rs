//! Text to token ids and back, from GGUF metadata alone.
use gguf_parse::Metadata;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The metadata could not be read.
    #[error(transparent)]
    Gguf(#[from] gguf_parse::GgufError),
}

/// Whether special tokens written out in the text (`<|im_start|>`) become their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// They do: for prompts and templates.
    Parse,
    /// They stay text: for what a user typed.
    AsText,
}

/// A vocabulary with its encoder. `Send + Sync`.
#[derive(Debug)]
pub struct Tokenizer {
    _private: (),
}

impl Tokenizer {
    /// Reads the vocabulary.
    /// # Errors
    /// Missing or inconsistent metadata; an unknown tokenizer or pre-tokenizer, by name.
    pub fn from_metadata(metadata: Metadata<'_>) -> Result<Self, TokenizerError> {
        let _ = metadata;
        unimplemented!()
    }
    /// Text to ids, with the BOS/EOS the model asks for if `add_special`.
    #[must_use]
    pub fn encode(&self, text: &str, add_special: bool, special: Special) -> Vec<u32> {
        let _ = (text, add_special, special);
        unimplemented!()
    }
    /// The bytes of one token as llama.cpp's `token_to_piece` gives them.
    #[must_use]
    pub fn piece(&self, id: u32, render_special: bool) -> &[u8] {
        let _ = (id, render_special);
        unimplemented!()
    }
    /// A streaming decoder, which holds back incomplete UTF-8.
    #[must_use]
    pub fn decoder(&self) -> Decoder<'_> {
        unimplemented!()
    }
    /// Ids to text at once, as llama.cpp's `detokenize`.
    #[must_use]
    pub fn decode(&self, ids: &[u32], remove_special: bool, render_special: bool) -> String {
        let _ = (ids, remove_special, render_special);
        unimplemented!()
    }
    /// Number of tokens.
    #[must_use]
    pub fn n_vocab(&self) -> usize {
        unimplemented!()
    }
    /// Beginning of sequence.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        unimplemented!()
    }
    /// End of sequence.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        unimplemented!()
    }
    /// Whether `id` ends a generation (EOS, EOT, EOM and the like).
    #[must_use]
    pub fn is_eog(&self, id: u32) -> bool {
        let _ = id;
        unimplemented!()
    }
}

/// Turns a stream of ids into text, never splitting a character.
#[derive(Debug)]
pub struct Decoder<'t> {
    _tokenizer: &'t Tokenizer,
}

impl Decoder<'_> {
    /// Takes the next id; returns the text that is now complete (maybe empty).
    pub fn push(&mut self, id: u32) -> &str {
        let _ = id;
        unimplemented!()
    }
    /// What is left at the end: an incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> &str {
        unimplemented!()
    }
}
