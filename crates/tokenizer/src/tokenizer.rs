//! The public tokenizer: what it reads, and how the parts work together.

use crate::arena::Arena;
use crate::bpe::Bpe;
use crate::bytes;
use crate::decode::{Decoder, clean_spaces};
use crate::error::TokenizerError;
use crate::partition::{Fragment, Partition};
use crate::pre::Pre;
use crate::special::{Roles, SpecialIds, assign_roles};
use crate::spm::{SPACE, Spm};
use crate::vocab::{Attr, Vocab, byte_of};
use gguf_parse::Metadata;
use std::borrow::Cow;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// Whether special tokens written out in the text (`<|im_start|>`) become their ids.
///
/// Either way, tokens of type "user defined" are matched before anything else, as llama.cpp does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// They do: for prompts and templates.
    Parse,
    /// They stay text: for what a user typed. With an SPM vocabulary the merging itself may still give the id of a
    /// control token, as in llama.cpp (`</s>` from `</` and `s>`).
    AsText,
}

/// A vocabulary with its encoder. `Send + Sync`.
pub struct Tokenizer {
    vocab: Vocab,
    kind: Kind,
    roles: Roles,
    flags: Flags,
    names: Names,
    /// What each token stands for, control tokens written out.
    pieces: Arena,
    /// Where to cut a text for [`Special::Parse`].
    all_special: Partition,
    /// And for [`Special::AsText`].
    user_defined: Partition,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    Spm(Spm),
    Bpe(Bpe),
}

#[derive(Debug, Clone, Copy)]
struct Flags {
    add_bos: bool,
    add_eos: bool,
    add_space_prefix: bool,
    clean_spaces: bool,
}

#[derive(Debug)]
struct Names {
    model: String,
    pre: String,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("names", &self.names)
            .field("n_vocab", &self.n_vocab())
            .field("flags", &self.flags)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads the vocabulary.
    ///
    /// # Errors
    /// Missing or inconsistent metadata; an unknown tokenizer or pre-tokenizer, by name.
    pub fn from_metadata(metadata: Metadata<'_>) -> Result<Self, TokenizerError> {
        let model: &str = metadata.get(MODEL)?;
        match model {
            "llama" => Self::spm(metadata),
            "gpt2" => Self::bpe(metadata),
            _ => Err(TokenizerError::UnknownModel { name: model.to_owned() }),
        }
    }

    fn spm(metadata: Metadata<'_>) -> Result<Self, TokenizerError> {
        let mut warnings = Vec::new();
        let mut vocab = Vocab::from_metadata(metadata)?;
        let defaults =
            SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), ..SpecialIds::default() };
        let roles = assign_roles(metadata, defaults, &mut vocab, &mut warnings)?;
        let spm = Spm::new(&vocab, roles.ids.unk, &mut warnings)?;
        let flags =
            Flags { add_bos: true, add_eos: false, add_space_prefix: true, clean_spaces: false };
        let names = Names { model: "llama".into(), pre: "default".into() };
        Self::assemble(metadata, vocab, Kind::Spm(spm), roles, flags, names, warnings)
    }

    fn bpe(metadata: Metadata<'_>) -> Result<Self, TokenizerError> {
        let mut warnings = Vec::new();
        let name = match metadata.get_opt::<&str>(PRE)?.unwrap_or_default() {
            "" => {
                warnings.push(format!(
                    "{PRE} is missing: \"default\" is used, and ids may differ from the model's own"
                ));
                "default"
            }
            name => name,
        };
        let pre = Pre::by_name(name)?;
        let mut vocab = Vocab::from_metadata(metadata)?;
        let bos = if pre.default_bos { Some(11) } else { None };
        let defaults = SpecialIds { bos, eos: Some(11), ..SpecialIds::default() };
        let roles = assign_roles(metadata, defaults, &mut vocab, &mut warnings)?;
        let bpe = Bpe::from_metadata(metadata, &vocab, pre)?;
        let clean_spaces = pre.clean_spaces;
        let flags =
            Flags { add_bos: pre.add_bos, add_eos: false, add_space_prefix: false, clean_spaces };
        let names = Names { model: "gpt2".into(), pre: name.into() };
        Self::assemble(metadata, vocab, Kind::Bpe(bpe), roles, flags, names, warnings)
    }

    fn assemble(
        metadata: Metadata<'_>,
        mut vocab: Vocab,
        kind: Kind,
        roles: Roles,
        defaults: Flags,
        names: Names,
        mut warnings: Vec<String>,
    ) -> Result<Self, TokenizerError> {
        let flags = Flags {
            add_bos: metadata.get_opt(ADD_BOS)?.unwrap_or(defaults.add_bos),
            add_eos: metadata.get_opt(ADD_EOS)?.unwrap_or(defaults.add_eos),
            add_space_prefix: metadata
                .get_opt(ADD_SPACE_PREFIX)?
                .unwrap_or(defaults.add_space_prefix),
            ..defaults
        };
        for (add, id, key) in
            [(flags.add_bos, roles.ids.bos, ADD_BOS), (flags.add_eos, roles.ids.eos, ADD_EOS)]
        {
            if add && id.is_none() {
                return Err(TokenizerError::NoSuchSpecial { key });
            }
        }
        if let Some(&first) = vocab.duplicates.first() {
            let n = vocab.duplicates.len();
            let text = vocab.text(first);
            warnings.push(format!(
                "{n} tokens have the text of an earlier one, which is used ({first}: {text:?})"
            ));
        }
        strip_by_model_name(metadata, &names.pre, &mut vocab)?;
        let hidden = Attr::CONTROL.with(Attr::UNKNOWN);
        let special = hidden.with(Attr::USER_DEFINED);
        Ok(Self {
            pieces: pieces(&vocab, matches!(kind, Kind::Spm(_))),
            all_special: Partition::new(&vocab, |attr| attr.intersects(special)),
            user_defined: Partition::new(&vocab, |attr| {
                attr.intersects(special) && !attr.intersects(hidden)
            }),
            vocab,
            kind,
            roles,
            flags,
            names,
            warnings,
        })
    }

    /// Text to ids, with the BOS/EOS the model asks for if `add_special`.
    ///
    /// Takes n log n time for n bytes, whatever they are. A text of more than 1 GiB (llama.cpp takes at most 2) is
    /// encoded in parts of 1 GiB, each for itself.
    #[must_use]
    pub fn encode(&self, text: &str, add_special: bool, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 2);
        if add_special && self.flags.add_bos {
            ids.extend(self.roles.ids.bos);
        }
        let partition = match special {
            Special::Parse => &self.all_special,
            Special::AsText => &self.user_defined,
        };
        let mut at_start = true;
        for part in parts(text) {
            partition.split(part, &mut |fragment| match fragment {
                Fragment::Token(id) => {
                    ids.push(id);
                    at_start = true;
                }
                Fragment::Text(text) => {
                    self.encode_text(text, at_start, &mut ids);
                    at_start = false;
                }
            });
        }
        if add_special && self.flags.add_eos {
            ids.extend(self.roles.ids.eos);
        }
        ids
    }

    /// Encodes text without special tokens. `at_start`: of the whole, or after a special token.
    fn encode_text(&self, text: &str, at_start: bool, ids: &mut Vec<u32>) {
        match &self.kind {
            Kind::Bpe(bpe) => bpe.encode(text, &self.vocab, ids),
            Kind::Spm(spm) => {
                let mut escaped =
                    String::with_capacity(text.len() + text.len() / 2 + SPACE.len_utf8());
                if at_start && self.flags.add_space_prefix {
                    escaped.push(SPACE);
                }
                escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
                spm.encode(&escaped, &self.vocab, ids);
            }
        }
    }

    /// The bytes of one token as llama.cpp's `token_to_piece` gives them: a space for `▁` or `Ġ`, one byte for a
    /// byte token (so that a piece need not be UTF-8), nothing for unused tokens, for ids out of range, and,
    /// unless `render_special`, for control tokens.
    #[must_use]
    pub fn piece(&self, id: u32, render_special: bool) -> &[u8] {
        let hidden = self.vocab.attr(id).intersects(Attr::CONTROL.with(Attr::UNKNOWN));
        if hidden && !render_special { &[] } else { self.pieces.get(id as usize) }
    }

    /// A streaming decoder of a text from its beginning: the space that SPM vocabularies put before a text is
    /// dropped from the first token.
    #[must_use]
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder::new(self, self.flags.add_space_prefix)
    }

    /// A streaming decoder of a text that goes on from another, such as what a model writes after a prompt: a
    /// space at its beginning is kept.
    #[must_use]
    pub fn continuing_decoder(&self) -> Decoder<'_> {
        Decoder::new(self, false)
    }

    /// Ids to text at once, as llama.cpp's `detokenize`; bytes that are no UTF-8 become U+FFFD.
    ///
    /// `remove_special` drops a BOS in front and an EOS at the end if the model adds them; `render_special` writes
    /// control tokens out.
    #[must_use]
    pub fn decode(&self, ids: &[u32], remove_special: bool, render_special: bool) -> String {
        let bytes = self.decode_bytes(ids, remove_special, render_special);
        match String::from_utf8_lossy(&bytes) {
            Cow::Owned(text) => text,
            Cow::Borrowed(text) => text.to_owned(),
        }
    }

    /// As [`Self::decode`], the bytes as they are: some tokens are parts of characters.
    #[must_use]
    pub fn decode_bytes(&self, ids: &[u32], remove_special: bool, render_special: bool) -> Vec<u8> {
        let mut ids = ids;
        // llama.cpp keeps the leading space of SPM if it removes a BOS.
        let mut drop_space = self.flags.add_space_prefix;
        if remove_special
            && self.flags.add_bos
            && !ids.is_empty()
            && ids.first().copied() == self.bos()
        {
            drop_space = false;
            ids = &ids[1..];
        }
        if remove_special
            && self.flags.add_eos
            && !ids.is_empty()
            && ids.last().copied() == self.eos()
        {
            ids = &ids[..ids.len() - 1];
        }
        let mut bytes = Vec::new();
        for (i, &id) in ids.iter().enumerate() {
            let piece = self.piece(id, render_special);
            let piece = if i == 0 && drop_space {
                piece.strip_prefix(b" ").unwrap_or(piece)
            } else {
                piece
            };
            bytes.extend_from_slice(piece);
        }
        if self.flags.clean_spaces { clean_spaces(&bytes) } else { bytes }
    }

    /// Number of tokens.
    #[must_use]
    pub fn n_vocab(&self) -> usize {
        self.vocab.len()
    }

    /// The text of a token as the file has it (`Ġthe`, `▁the`, `<0x0A>`), empty for ids out of range.
    #[must_use]
    pub fn text(&self, id: u32) -> &str {
        self.vocab.text(id)
    }

    /// Beginning of sequence.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.roles.ids.bos
    }

    /// End of sequence.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.roles.ids.eos
    }

    /// End of turn. Where the file names none and several tokens look like one, llama.cpp's choice depends on the
    /// order of a hash map; here it is the first of a fixed list. All of them are in [`Self::eog_ids`].
    #[must_use]
    pub fn eot(&self) -> Option<u32> {
        self.roles.ids.eot
    }

    /// End of message: the model waits for a tool's answer.
    #[must_use]
    pub fn eom(&self) -> Option<u32> {
        self.roles.ids.eom
    }

    /// Whether texts begin with BOS.
    #[must_use]
    pub fn add_bos(&self) -> bool {
        self.flags.add_bos
    }

    /// Whether texts end with EOS.
    #[must_use]
    pub fn add_eos(&self) -> bool {
        self.flags.add_eos
    }

    /// Whether `id` ends a generation (EOS, EOT, EOM and the like).
    #[must_use]
    pub fn is_eog(&self, id: u32) -> bool {
        self.roles.eog.contains(&id)
    }

    /// The ids that end a generation, ascending.
    pub fn eog_ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.roles.eog.iter().copied()
    }

    /// Whether `id` is a control token, which is not shown.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        self.vocab.attr(id).intersects(Attr::CONTROL)
    }

    /// The kind of tokenizer as `tokenizer.ggml.model` names it: `llama` (SPM) or `gpt2` (byte-level BPE).
    #[must_use]
    pub fn model_name(&self) -> &str {
        &self.names.model
    }

    /// The pre-tokenizer in use, as `tokenizer.ggml.pre` names it; `default` for SPM, which has none.
    #[must_use]
    pub fn pre_name(&self) -> &str {
        &self.names.pre
    }

    /// What is odd about the vocabulary but harmless, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Positions in a text are kept in 32 bits. SPM writes spaces in three bytes: a part grows to 3 GiB at most.
pub(crate) const MAX_PART_BYTES: usize = 1 << 30;

/// `text` in parts of at most [`MAX_PART_BYTES`].
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut end = rest.len().min(MAX_PART_BYTES);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, after) = rest.split_at(end);
        rest = after;
        if part.is_empty() { None } else { Some(part) }
    })
}

/// What each token stands for, control tokens written out.
fn pieces(vocab: &Vocab, is_spm: bool) -> Arena {
    let written_out = Attr::CONTROL.with(Attr::UNKNOWN).with(Attr::USER_DEFINED);
    let mut pieces = Arena::default();
    for id in vocab.ids() {
        let (attr, text) = (vocab.attr(id), vocab.text(id));
        let out = pieces.tail();
        if attr.intersects(written_out) {
            out.extend_from_slice(text.as_bytes());
        } else if attr.intersects(Attr::NORMAL) {
            if is_spm {
                out.extend_from_slice(text.replace(SPACE, " ").as_bytes());
            } else {
                bytes::decode_into(text, out);
            }
        } else if attr.intersects(Attr::BYTE) {
            out.extend(byte_of(text));
        }
        pieces.finish_string();
    }
    pieces
}

/// Marks tokens that swallow white space beside them. Files do not say which do; llama.cpp goes by names.
fn strip_by_model_name(
    metadata: Metadata<'_>,
    pre: &str,
    vocab: &mut Vocab,
) -> Result<(), TokenizerError> {
    let name = metadata.get_opt::<&str>("general.name")?.unwrap_or_default().to_ascii_lowercase();
    let mut mark = |text: &str| {
        if let Some(id) = vocab.find(text) {
            vocab.set_attr(id, vocab.attr(id).with(Attr::LSTRIP));
        }
    };
    if ["jina-v2-de", "jina-v2-es", "jina-v2-code"].iter().any(|jina| pre.contains(jina)) {
        mark("<mask>");
    } else if name.contains("phi-3") || name.contains("phi3") {
        let special = Attr::CONTROL.with(Attr::USER_DEFINED).with(Attr::UNKNOWN);
        for id in vocab.ids() {
            let attr = vocab.attr(id);
            if attr.intersects(special) || vocab.text(id) == "</s>" {
                vocab.set_attr(id, attr.with(Attr::RSTRIP));
            }
        }
        for id in ["<unk>", "<s>", "<|endoftext|>"]
            .iter()
            .filter_map(|text| vocab.find(text))
            .collect::<Vec<_>>()
        {
            vocab.set_attr(id, vocab.attr(id).without(Attr::RSTRIP));
        }
    } else if name.contains("modern-bert") {
        mark("[MASK]");
    }
    Ok(())
}
