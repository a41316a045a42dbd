//! Pre-tokenizers by name: which way of cutting text into words a BPE vocabulary was trained with, and what else
//! goes with the name.
//!
//! The names are those that llama.cpp's converter writes to `tokenizer.ggml.pre`; many of them mean the same.

use crate::error::TokenizerError;
use crate::split::{Stage, isolate, words};

/// What the name of a pre-tokenizer says of a vocabulary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pre {
    /// How text is cut into words.
    pub(crate) stages: &'static [Stage],
    /// Which words are taken whole if they are tokens, whatever the merges would make of them.
    pub(crate) whole_words: WholeWords,
    /// BOS is added unless the metadata says otherwise.
    pub(crate) add_bos: AddBos,
    /// The vocabulary is said to add SEP.
    pub(crate) add_sep: bool,
    /// The whole-text detokenizer removes the space before punctuation (Hugging Face's
    /// `clean_up_tokenization_spaces`).
    pub(crate) clean_spaces: bool,
    /// The default BOS of BPE vocabularies, id 11, applies where the metadata names none.
    pub(crate) default_bos: bool,
    /// How words are written in the vocabulary.
    pub(crate) letters: Letters,
    /// Vocabularies may come without merges.
    pub(crate) merges_optional: bool,
}

/// See [`Pre::whole_words`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WholeWords {
    None,
    /// Words of nothing but `\n`.
    LineFeeds,
    /// All (`ignore_merges`).
    All,
}

/// Whether BOS is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddBos {
    /// Not unless the metadata says so.
    No,
    /// Unless the metadata says otherwise.
    Yes,
    /// Whatever the metadata says.
    Always,
}

/// See [`Pre::letters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Letters {
    /// Each byte as one character of GPT-2's alphabet.
    Bytes,
    /// As they are, bytes that are in no token as `<0x41>`.
    Characters,
    /// The same with `▁` for a space.
    CharactersAndEscapedSpaces,
}

const fn pre(stages: &'static [Stage]) -> Pre {
    Pre {
        stages,
        whole_words: WholeWords::None,
        add_bos: AddBos::No,
        add_sep: false,
        clean_spaces: true,
        default_bos: true,
        letters: Letters::Bytes,
        merges_optional: false,
    }
}

const GPT2: Pre = pre(&[words::gpt2]);
const DIGITS: Pre = pre(&[isolate::EACH_NUMBER, words::gpt2]);
const LLAMA3: Pre = pre(&[words::llama3]);
const QWEN2: Pre = pre(&[words::qwen2]);
const DEEPSEEK3: Pre =
    pre(&[isolate::NUMBERS_BY_THREES, isolate::IDEOGRAPHS_AND_KANA, words::deepseek3]).unclean();
const BLOOM: Pre = pre(&[isolate::bloom_words]);
const LINES: Pre = Pre { letters: Letters::CharactersAndEscapedSpaces, ..pre(&[isolate::lines]) };
const DEFAULT: Pre =
    pre(&[isolate::DEFAULT_SIGNS, words::gpt2, isolate::NUMBERS, isolate::threes_of_digits]);
const FALCON: Pre = pre(&[isolate::FALCON_SIGNS, words::gpt2, isolate::threes_of_digits]);
const DEEPSEEK_LLM: Pre = pre(&[
    isolate::EACH_LINE_END,
    isolate::spaced_cased_letters,
    isolate::spaced_signs,
    isolate::trailing_spaces,
    isolate::IDEOGRAPHS_AND_MORE,
    isolate::NUMBERS,
]);
const DEEPSEEK_CODER: Pre = pre(&[
    isolate::EACH_LINE_END,
    isolate::spaced_letters,
    isolate::spaced_punctuation,
    isolate::IDEOGRAPHS_AND_MORE,
    isolate::EACH_NUMBER,
]);
const SPARK: Pre = pre(&[
    isolate::NUMBERS_BY_THREES,
    isolate::IDEOGRAPHS_AND_KANA,
    words::spark,
    isolate::EACH_NUMBER,
]);
const AFMOE: Pre =
    pre(&[isolate::numbers_by_threes_from_the_end, isolate::AFMOE_SCRIPTS, words::deepseek3]);
const CHAMELEON: Pre = pre(&[
    isolate::sentinels,
    isolate::images,
    isolate::blanks,
    isolate::EACH_NUMBER,
    isolate::EACH_SIGN,
    words::gpt2,
]);

impl Pre {
    /// All pre-tokenizers and their names.
    pub(crate) const NAMES: &[(&[&str], Self)] = &[
        (&["default"], DEFAULT),
        (
            &[
                "gpt-2",
                "phi-2",
                "jina-es",
                "jina-de",
                "gigachat",
                "jina-v2-es",
                "jina-v2-de",
                "a.x-4.0",
                "mellum",
                "modern-bert",
                "exaone4",
                "mpt",
                "olmo",
                "jais",
            ],
            GPT2,
        ),
        (&["jina-v1-en", "jina-v2-code", "roberta-bpe"], Self { add_sep: true, ..GPT2 }),
        (&["trillion", "granite-docling"], GPT2.unclean()),
        (&["starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"], DIGITS),
        (&["smollm", "command-r"], DIGITS.unclean()),
        (
            &[
                "llama3",
                "llama-v3",
                "llama-bpe",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
                "jina-v5-nano",
            ],
            LLAMA3.whole().bos(),
        ),
        (&["dbrx", "smaug-bpe"], LLAMA3),
        (&["chatglm-bpe"], LLAMA3.no_default_bos()),
        (&["glm4", "glm5"], LLAMA3.no_default_bos().whole()),
        (&["jais-2"], pre(&[words::jais2])),
        (&["minicpm5"], pre(&[isolate::NUMBERS_BY_THREES, words::minicpm5]).whole()),
        (
            &[
                "qwen2",
                "deepseek-r1-qwen",
                "kormo",
                "f2llmv2",
                "hunyuan",
                "solar-open",
                "grok-2",
                "bailingmoe",
                "bailingmoe2",
                "llada-moe",
            ],
            QWEN2.unclean(),
        ),
        (&["megrez", "stablelm2"], QWEN2),
        (&["qwen35"], pre(&[words::qwen35]).unclean()),
        (&["laguna"], pre(&[isolate::lines, words::qwen2]).unclean()),
        (&["seed-coder"], pre(&[words::seed_coder]).unclean()),
        (&["ufakzeka"], pre(&[words::ufakzeka]).unclean()),
        (&["exaone-moe"], pre(&[words::exaone_moe])),
        (&["tekken"], pre(&[words::tekken]).whole().bos().unclean()),
        (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], pre(&[words::gpt4o]).unclean()),
        (&["granite-embed-multi-97m"], pre(&[words::granite_embedding]).whole().unclean()),
        (
            &["tiny_aya", "cohere2moe"],
            pre(&[isolate::numbers_by_threes_from_the_end, words::tiny_aya]).unclean(),
        ),
        (&["youtu"], pre(&[isolate::youtu_scripts, words::youtu]).whole().unclean()),
        (&["kimi-k2"], Self { merges_optional: true, ..pre(&[words::kimi_k2]).unclean() }),
        (&["deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"], DEEPSEEK3),
        (&["spark2_5"], SPARK.unclean()),
        (&["afmoe"], AFMOE.unclean()),
        (&["deepseek-llm"], DEEPSEEK_LLM.unclean()),
        (&["deepseek-coder"], DEEPSEEK_CODER.unclean()),
        (&["falcon"], FALCON),
        (&["bloom", "gpt3-finnish"], BLOOM),
        (&["poro-chat"], BLOOM.unclean()),
        (&["viking"], pre(&[isolate::bloom_words, isolate::EACH_NUMBER]).unclean()),
        (&["superbpe"], pre(&[isolate::NUMBERS, isolate::before_threes_of_digits]).unclean()),
        (&["chameleon"], CHAMELEON.bos().unclean()),
        (
            &["gemma4", "granite-embed-multi-311m"],
            Self { whole_words: WholeWords::LineFeeds, add_bos: AddBos::Always, ..LINES },
        ),
        (&["sarvam-moe"], LINES.unclean()),
        (&["whitespace"], Self { letters: Letters::Characters, ..pre(&[isolate::NO_SPACES]) }),
    ];

    const fn unclean(self) -> Self {
        Self { clean_spaces: false, ..self }
    }

    const fn whole(self) -> Self {
        Self { whole_words: WholeWords::All, ..self }
    }

    const fn bos(self) -> Self {
        Self { add_bos: AddBos::Yes, ..self }
    }

    const fn no_default_bos(self) -> Self {
        Self { default_bos: false, ..self }
    }

    /// The pre-tokenizer called `name` in `tokenizer.ggml.pre`.
    pub(crate) fn by_name(name: &str) -> Result<Self, TokenizerError> {
        let entry = Self::NAMES.iter().find(|(names, _)| names.contains(&name));
        let unknown = || TokenizerError::UnknownPreTokenizer { name: name.to_owned() };
        entry.map(|(_, pre)| *pre).ok_or_else(unknown)
    }
}
