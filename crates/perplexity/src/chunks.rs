//! How a text is cut, as llama.cpp does it.
use crate::PerplexityError;

/// A text in chunks of `n_ctx` tokens. What is left at its end is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    tokens: Vec<u32>,
    n_ctx: usize,
    n_chunk: usize,
    n_vocab: usize,
}

impl Chunks {
    /// Cuts `tokens`, of a vocabulary of `n_vocab`; at most `max_chunks` chunks.
    ///
    /// # Errors
    /// `TooShort` if the text is not two chunks long; `Context`, `NoChunks`; `Token` for a token that the
    /// vocabulary does not have.
    pub fn new(
        mut tokens: Vec<u32>,
        n_ctx: usize,
        max_chunks: Option<usize>,
        n_vocab: usize,
    ) -> Result<Self, PerplexityError> {
        if n_ctx < PerplexityError::MIN_CTX {
            return Err(PerplexityError::Context { n_ctx });
        }
        let n_tokens = tokens.len();
        if n_tokens / 2 < n_ctx {
            return Err(PerplexityError::TooShort { n_tokens, n_ctx });
        }
        let n_chunk = max_chunks.unwrap_or(usize::MAX).min(n_tokens / n_ctx);
        if n_chunk == 0 {
            return Err(PerplexityError::NoChunks);
        }
        tokens.truncate(n_chunk * n_ctx);
        Self::checked(tokens, n_ctx, n_chunk, n_vocab)
    }

    /// Chunks that are cut already.
    pub(crate) fn checked(
        tokens: Vec<u32>,
        n_ctx: usize,
        n_chunk: usize,
        n_vocab: usize,
    ) -> Result<Self, PerplexityError> {
        match tokens.iter().find(|id| **id as usize >= n_vocab) {
            Some(id) => Err(PerplexityError::Token { token: *id, n_vocab }),
            None => Ok(Self { tokens, n_ctx, n_chunk, n_vocab }),
        }
    }

    /// Tokens of a chunk.
    #[must_use]
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Chunks.
    #[must_use]
    pub fn n_chunk(&self) -> usize {
        self.n_chunk
    }

    /// Tokens in the vocabulary.
    #[must_use]
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// All tokens that are used, `[n_chunk, n_ctx]`.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The first position whose logits are scored.
    #[must_use]
    pub fn first(&self) -> usize {
        self.n_ctx / 2
    }

    /// Tokens of a chunk that are scored: those behind positions `first()..n_ctx - 1`.
    #[must_use]
    pub fn n_scored(&self) -> usize {
        self.n_ctx - 1 - self.first()
    }

    /// What the model reads of chunk `chunk`: all but its last token. `bos` takes the place of the first token,
    /// which is how llama.cpp gives every chunk its beginning. Empty for a chunk there is not.
    #[must_use]
    pub fn inputs(&self, chunk: usize, bos: Option<u32>) -> Vec<u32> {
        let mut inputs = self.chunk(chunk).split_last().map_or(Vec::new(), |(_, all)| all.to_vec());
        if let (Some(first), Some(bos)) = (inputs.first_mut(), bos) {
            *first = bos;
        }
        inputs
    }

    /// The tokens of chunk `chunk` that are scored, `[n_scored]`. Empty for a chunk there is not.
    #[must_use]
    pub fn targets(&self, chunk: usize) -> &[u32] {
        self.chunk(chunk).get(self.first() + 1..).unwrap_or_default()
    }

    fn chunk(&self, chunk: usize) -> &[u32] {
        self.tokens.chunks_exact(self.n_ctx).nth(chunk).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_half_is_scored() {
        let text = Chunks::new((0..25).collect(), 8, None, 25).unwrap();
        assert_eq!((text.n_chunk(), text.tokens().len(), text.n_scored()), (3, 24, 3));
        assert_eq!(text.inputs(1, None), [8, 9, 10, 11, 12, 13, 14]);
        assert_eq!(text.inputs(1, Some(99))[..2], [99, 9]);
        // Behind positions 4, 5 and 6.
        assert_eq!(text.targets(1), [13, 14, 15]);
        assert_eq!((text.inputs(3, Some(1)), text.targets(3)), (vec![], &[][..]));
        assert_eq!(Chunks::new((0..25).collect(), 8, Some(2), 25).unwrap().tokens().len(), 16);
        // An odd context has its middle in the half that is not scored.
        assert_eq!(Chunks::new((0..25).collect(), 7, None, 25).unwrap().n_scored(), 3);
    }

    #[test]
    fn what_cannot_be_cut_says_what_can() {
        let says = |n: u32, n_ctx| match Chunks::new((0..n).collect(), n_ctx, None, 1000) {
            Ok(text) => panic!("{text:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(
            says(100, 64),
            "the text has 100 tokens; a context of 64 needs 128: take a longer text, or a context of at most 50"
        );
        assert_eq!(says(5, 3), "the text has 5 tokens; a context of 3 needs 6: take a longer text");
        assert_eq!(says(5, 2), "the context is 2; must be at least 3");
        let error = Chunks::new(vec![1, 2, 3, 4, 5, 6], 3, None, 6).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the text has token 6; must be below 6, the size of the vocabulary"
        );
        assert!(Chunks::new(vec![0; 6], usize::MAX, None, 6).is_err());
        assert!(matches!(Chunks::new(vec![0; 6], 3, Some(0), 6), Err(PerplexityError::NoChunks)));
    }
}
