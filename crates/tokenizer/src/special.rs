//! Tokens with a role: which ids begin and end a text, which end a generation.
//!
//! Files say it by metadata keys, but many are incomplete, so llama.cpp also goes by the texts of tokens. The
//! lists here are its lists: a model that stops there must stop here.

use crate::error::TokenizerError;
use crate::vocab::{Attr, Vocab};
use gguf_parse::Metadata;
use std::collections::BTreeSet;

/// The ids of special tokens, `None` where the model has no such token.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SpecialIds {
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) eot: Option<u32>,
    pub(crate) eom: Option<u32>,
    pub(crate) unk: Option<u32>,
    pub(crate) fim_pad: Option<u32>,
    pub(crate) fim_rep: Option<u32>,
    pub(crate) fim_sep: Option<u32>,
}

/// The special ids and what follows from them.
#[derive(Debug)]
pub(crate) struct Roles {
    pub(crate) ids: SpecialIds,
    /// Ids that end a generation.
    pub(crate) eog: BTreeSet<u32>,
}

/// End of turn, by preference. llama.cpp takes the first in the order of a C++ hash map; where a vocabulary has
/// several, they all end a generation, so that only the answer to "which one is it" can differ.
const EOT: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];
const EOM: &[&str] = &["<|eom_id|>"];
const FIM_PREFIX: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
];
const FIM_SUFFIX: &[&str] = &[
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
];
const FIM_MIDDLE: &[&str] = &[
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];
const FIM_PAD: &[&str] = &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FIM_REPO: &[&str] = &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"];
const FIM_SEP: &[&str] = &["<|file_sep|>"];

/// Texts that end a generation wherever they are in a vocabulary.
const EOG: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];
/// Markers of the "harmony" chat format, which are always shown.
const ALWAYS_SHOWN: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// Reads the special ids, completes them by text, and changes the types of tokens accordingly.
pub(crate) fn assign_roles(
    metadata: Metadata<'_>,
    defaults: SpecialIds,
    vocab: &mut Vocab,
    warnings: &mut Vec<String>,
) -> Result<Roles, TokenizerError> {
    let mut reader = IdReader { metadata, n_vocab: vocab.len(), warnings };
    let mut ids = SpecialIds {
        bos: reader.strict("tokenizer.ggml.bos_token_id", defaults.bos)?,
        eos: reader.strict("tokenizer.ggml.eos_token_id", defaults.eos)?,
        eot: reader.strict("tokenizer.ggml.eot_token_id", None)?,
        eom: reader.strict("tokenizer.ggml.eom_token_id", None)?,
        unk: reader.lenient("tokenizer.ggml.unknown_token_id", defaults.unk)?,
        fim_pad: reader.lenient("tokenizer.ggml.fim_pad_token_id", None)?,
        fim_rep: reader.lenient("tokenizer.ggml.fim_rep_token_id", None)?,
        fim_sep: reader.lenient("tokenizer.ggml.fim_sep_token_id", None)?,
    };
    let fim_prefix =
        reader.either("tokenizer.ggml.prefix_token_id", "tokenizer.ggml.fim_pre_token_id")?;
    let fim_suffix =
        reader.either("tokenizer.ggml.suffix_token_id", "tokenizer.ggml.fim_suf_token_id")?;
    let fim_middle =
        reader.either("tokenizer.ggml.middle_token_id", "tokenizer.ggml.fim_mid_token_id")?;

    let mut by_text = |known: Option<u32>, texts: &[&str]| {
        known.or_else(|| {
            let id = texts.iter().find_map(|text| vocab.find(text))?;
            make_control(vocab, id, warnings);
            Some(id)
        })
    };
    ids.eot = by_text(ids.eot, EOT);
    ids.eom = by_text(ids.eom, EOM);
    by_text(fim_prefix, FIM_PREFIX);
    by_text(fim_suffix, FIM_SUFFIX);
    by_text(fim_middle, FIM_MIDDLE);
    ids.fim_pad = by_text(ids.fim_pad, FIM_PAD);
    ids.fim_rep = by_text(ids.fim_rep, FIM_REPO);
    ids.fim_sep = by_text(ids.fim_sep, FIM_SEP);
    let eog = end_of_generation(ids, vocab, warnings);
    Ok(Roles { ids, eog })
}

/// The tokens at which a generation ends.
fn end_of_generation(
    ids: SpecialIds,
    vocab: &mut Vocab,
    warnings: &mut Vec<String>,
) -> BTreeSet<u32> {
    let mut eog: BTreeSet<u32> =
        [ids.fim_pad, ids.fim_rep, ids.fim_sep].into_iter().flatten().collect();
    for id in EOG.iter().filter_map(|text| vocab.find(text)).collect::<Vec<_>>() {
        eog.insert(id);
        make_control(vocab, id, warnings);
    }
    for id in ALWAYS_SHOWN.iter().filter_map(|text| vocab.find(text)).collect::<Vec<_>>() {
        vocab.set_attr(id, Attr::USER_DEFINED);
    }
    for (name, id) in [("EOS", ids.eos), ("EOT", ids.eot), ("EOM", ids.eom)] {
        if let Some(id) = id
            && eog.insert(id)
        {
            warnings.push(format!(
                "the {name} token {id} ({:?}) is not known as one by its text",
                vocab.text(id)
            ));
        }
    }

    // What a text means depends on its company: where these formats use it as an ordinary marker, it ends nothing.
    let has = |text: &str| vocab.find(text).is_some_and(|id| eog.contains(&id));
    let call = has("<|call|>") || has("<|calls|>");
    let end_is_marker = call && (has("<|return|>") || has("<|flush|>"));
    let s_is_text =
        has("<|tool_response>") || vocab.find("<|plamo:eos|>").is_some_and(|id| eog.contains(&id));
    if end_is_marker {
        take_back(vocab, &mut eog, "<|end|>", Attr::USER_DEFINED);
    }
    if s_is_text {
        take_back(vocab, &mut eog, "</s>", Attr::NORMAL);
    }
    eog
}

/// Removes the token `text` from the set and gives it the type `attr`.
fn take_back(vocab: &mut Vocab, eog: &mut BTreeSet<u32>, text: &str, attr: Attr) {
    if let Some(id) = vocab.find(text)
        && eog.remove(&id)
    {
        vocab.set_attr(id, attr);
    }
}

/// A token that looks like a control token is treated as one, whatever its type in the file.
fn make_control(vocab: &mut Vocab, id: u32, warnings: &mut Vec<String>) {
    let attr = vocab.attr(id);
    if !attr.intersects(Attr::CONTROL) {
        warnings.push(format!(
            "token {id} ({:?}) looks like a control token and is treated as one",
            vocab.text(id)
        ));
        vocab.set_attr(id, attr.with(Attr::CONTROL));
    }
}

/// Reads token ids from metadata.
struct IdReader<'m, 'w> {
    metadata: Metadata<'m>,
    n_vocab: usize,
    warnings: &'w mut Vec<String>,
}

impl IdReader<'_, '_> {
    fn exists(&self, id: u32) -> bool {
        usize::try_from(id).is_ok_and(|id| id < self.n_vocab)
    }

    /// An id that decides where texts begin and end: out of range is an error, not a guess.
    fn strict(
        &mut self,
        key: &'static str,
        default: Option<u32>,
    ) -> Result<Option<u32>, TokenizerError> {
        match self.metadata.get_opt::<u32>(key)? {
            None => Ok(default.filter(|&id| self.exists(id))),
            Some(id) if self.exists(id) => Ok(Some(id)),
            Some(id) => Err(TokenizerError::TokenId { key, id, n_vocab: self.n_vocab }),
        }
    }

    /// An id without which the tokenizer works as well. Converters write 2^32 - 1 for "none": a warning.
    fn lenient(
        &mut self,
        key: &'static str,
        default: Option<u32>,
    ) -> Result<Option<u32>, TokenizerError> {
        let default = default.filter(|&id| self.exists(id));
        match self.metadata.get_opt::<u32>(key)? {
            None => Ok(default),
            Some(id) if self.exists(id) => Ok(Some(id)),
            Some(id) => {
                self.warnings
                    .push(format!("{key} is {id}, but there are {} tokens: ignored", self.n_vocab));
                Ok(default)
            }
        }
    }

    /// The id under `old`, a deprecated key, or else under `new`.
    fn either(
        &mut self,
        old: &'static str,
        new: &'static str,
    ) -> Result<Option<u32>, TokenizerError> {
        let fallback = self.lenient(new, None)?;
        self.lenient(old, fallback)
    }
}
