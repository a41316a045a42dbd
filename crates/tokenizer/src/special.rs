//! Tokens with a role: which ids begin and end a text, which end a generation.
//!
//! Files say it by metadata keys, but many are incomplete, so llama.cpp also goes by the texts of tokens. The
//! lists here are its lists: a model that stops there must stop here.

use crate::error::TokenizerError;
use crate::vocab::{Attr, Vocab};
use gguf_parse::Metadata;
use std::collections::BTreeSet;

/// The ids of tokens with a role, `None` where the model has no such token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecialIds {
    /// Beginning of sequence.
    pub bos: Option<u32>,
    /// End of sequence.
    pub eos: Option<u32>,
    /// End of turn. Where the file names none and several tokens look like one, llama.cpp's choice depends on the
    /// order of a hash map; here it is the first of a fixed list. All of them end a generation.
    pub eot: Option<u32>,
    /// End of message: the model waits for a tool's answer.
    pub eom: Option<u32>,
    /// Stands for what the vocabulary cannot write.
    pub unk: Option<u32>,
    /// Separates texts.
    pub sep: Option<u32>,
    /// Fills up texts.
    pub pad: Option<u32>,
    /// Stands for a token to be guessed.
    pub mask: Option<u32>,
    /// Fill in the middle: what comes before the gap follows. (Of several tokens that look like one see `eot`.)
    pub fim_pre: Option<u32>,
    /// Fill in the middle: what comes after the gap follows.
    pub fim_suf: Option<u32>,
    /// Fill in the middle: what is in the gap follows.
    pub fim_mid: Option<u32>,
    /// Fill in the middle: padding.
    pub fim_pad: Option<u32>,
    /// Fill in the middle: the name of a repository follows.
    pub fim_rep: Option<u32>,
    /// Fill in the middle: separates files.
    pub fim_sep: Option<u32>,
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

impl SpecialIds {
    /// The ids that the file names; `self` holds the defaults.
    pub(crate) fn read(
        self,
        metadata: Metadata<'_>,
        n_vocab: usize,
        warnings: &mut Vec<String>,
    ) -> Result<Self, TokenizerError> {
        let mut reader = IdReader { metadata, n_vocab, warnings };
        let mut either = |old, new| {
            let id = reader.lenient(new, None)?;
            reader.lenient(old, id)
        };
        let fim_pre = either("tokenizer.ggml.prefix_token_id", "tokenizer.ggml.fim_pre_token_id")?;
        let fim_suf = either("tokenizer.ggml.suffix_token_id", "tokenizer.ggml.fim_suf_token_id")?;
        let fim_mid = either("tokenizer.ggml.middle_token_id", "tokenizer.ggml.fim_mid_token_id")?;
        Ok(Self {
            bos: reader.strict("tokenizer.ggml.bos_token_id", self.bos)?,
            eos: reader.strict("tokenizer.ggml.eos_token_id", self.eos)?,
            eot: reader.strict("tokenizer.ggml.eot_token_id", None)?,
            eom: reader.strict("tokenizer.ggml.eom_token_id", None)?,
            unk: reader.lenient("tokenizer.ggml.unknown_token_id", self.unk)?,
            // llama.cpp's spelling.
            sep: reader.lenient("tokenizer.ggml.seperator_token_id", self.sep)?,
            pad: reader.lenient("tokenizer.ggml.padding_token_id", self.pad)?,
            mask: reader.lenient("tokenizer.ggml.mask_token_id", self.mask)?,
            fim_pre,
            fim_suf,
            fim_mid,
            fim_pad: reader.lenient("tokenizer.ggml.fim_pad_token_id", None)?,
            fim_rep: reader.lenient("tokenizer.ggml.fim_rep_token_id", None)?,
            fim_sep: reader.lenient("tokenizer.ggml.fim_sep_token_id", None)?,
        })
    }
}

/// Completes the special ids by text, and changes the types of tokens accordingly.
pub(crate) fn assign_roles(
    mut ids: SpecialIds,
    vocab: &mut Vocab,
    warnings: &mut Vec<String>,
) -> Roles {
    for (known, texts) in [
        (&mut ids.eot, EOT),
        (&mut ids.eom, EOM),
        (&mut ids.fim_pre, FIM_PREFIX),
        (&mut ids.fim_suf, FIM_SUFFIX),
        (&mut ids.fim_mid, FIM_MIDDLE),
        (&mut ids.fim_pad, FIM_PAD),
        (&mut ids.fim_rep, FIM_REPO),
        (&mut ids.fim_sep, FIM_SEP),
    ] {
        if known.is_none() {
            *known = texts.iter().find_map(|text| vocab.find(text));
            known.iter().for_each(|&id| make_control(vocab, id, warnings));
        }
    }
    let eog = end_of_generation(ids, vocab, warnings);
    Roles { ids, eog }
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
        vocab.set_attr(id, Attr::USER_DEFINED.with(Attr::RAISED));
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
        take_back(vocab, &mut eog, "<|end|>", Attr::USER_DEFINED.with(Attr::RAISED));
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
}
