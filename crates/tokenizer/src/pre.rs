//! Pre-tokenizers by name: which way of cutting text into words a byte-level BPE vocabulary was trained with.
//!
//! The names are those that llama.cpp's converter writes to `tokenizer.ggml.pre`; many of them mean the same.

use crate::error::TokenizerError;
use crate::split::Splitter;

/// What the name of a pre-tokenizer says of a vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pre {
    pub(crate) splitter: Splitter,
    /// A word that is a token is taken whole, whatever the merges would make of it.
    pub(crate) ignore_merges: bool,
    /// BOS is added unless the metadata says otherwise.
    pub(crate) add_bos: bool,
    /// The whole-text detokenizer removes the space before punctuation (Hugging Face's
    /// `clean_up_tokenization_spaces`).
    pub(crate) clean_spaces: bool,
    /// The default BOS of BPE vocabularies, id 11, applies where the metadata names none.
    pub(crate) default_bos: bool,
}

const fn pre(splitter: Splitter) -> Pre {
    Pre { splitter, ignore_merges: false, add_bos: false, clean_spaces: true, default_bos: true }
}

impl Pre {
    const fn unclean(self) -> Self {
        Self { clean_spaces: false, ..self }
    }

    /// The pre-tokenizer called `name` in `tokenizer.ggml.pre`.
    pub(crate) fn by_name(name: &str) -> Result<Self, TokenizerError> {
        let gpt2 = pre(Splitter::Gpt2);
        let digits = pre(Splitter::DigitsThenGpt2);
        let llama3 = pre(Splitter::Llama3);
        let qwen2 = pre(Splitter::Qwen2);
        Ok(match name {
            "default" => pre(Splitter::Default),
            "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es"
            | "jina-v2-de" | "a.x-4.0" | "mellum" | "modern-bert" | "exaone4" | "jina-v1-en"
            | "jina-v2-code" | "roberta-bpe" | "mpt" | "olmo" | "jais" => gpt2,
            "trillion" | "granite-docling" => gpt2.unclean(),
            "smollm" | "command-r" => digits.unclean(),
            "starcoder" | "refact" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => digits,
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral"
            | "midm-2.0" | "lfm2" | "jina-v5-nano" => {
                Self { ignore_merges: true, add_bos: true, ..llama3 }
            }
            "dbrx" | "smaug-bpe" => llama3,
            "chatglm-bpe" => Self { default_bos: false, ..llama3 },
            "glm4" | "glm5" => Self { default_bos: false, ignore_merges: true, ..llama3 },
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "hunyuan" | "solar-open"
            | "grok-2" => qwen2.unclean(),
            "megrez" | "stablelm2" => qwen2,
            "qwen35" => pre(Splitter::Qwen35).unclean(),
            _ => return Err(TokenizerError::UnknownPreTokenizer { name: name.to_owned() }),
        })
    }
}
