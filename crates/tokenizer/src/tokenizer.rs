//! The public tokenizer: what it reads, and how the parts work together.

use crate::arena::Arena;
use crate::bpe::Bpe;
use crate::decode::{Decoder, clean_spaces};
use crate::partition::{Fragment, Input, Partition};
use crate::plamo2::Plamo2;
use crate::rwkv::Rwkv;
use crate::sessions::{Dna, encode_without_spaces};
use crate::special::{Roles, SpecialIds};
use crate::spm::{Spm, escape_spaces};
use crate::ugm::Ugm;
use crate::vocab::{Attr, Vocab};
use crate::words::Seen;
use crate::wpm::Wpm;
use std::{borrow::Cow, ops::Range};

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
    pub(crate) vocab: Vocab,
    pub(crate) kind: Kind,
    pub(crate) roles: Roles,
    pub(crate) flags: Flags,
    pub(crate) names: Names,
    /// What each token stands for, control tokens written out.
    pub(crate) pieces: Arena,
    /// Where to cut a text for [`Special::Parse`].
    pub(crate) all_special: Partition,
    /// And for [`Special::AsText`].
    pub(crate) user_defined: Partition,
    /// And for what users type in a chat, if that is another.
    pub(crate) typed: Option<Partition>,
    pub(crate) warnings: Vec<String>,
}

/// How text without special tokens is encoded.
#[derive(Debug)]
pub(crate) enum Kind {
    Spm(Spm),
    Bpe(Bpe),
    /// BPE of what lies between white space.
    Whitespace {
        bpe: Bpe,
        lowercase: bool,
    },
    /// BPE, and pieces of DNA.
    HybridDna(Bpe, Dna),
    Wpm(Wpm),
    Ugm(Ugm),
    Rwkv(Rwkv),
    Plamo2(Plamo2),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Flags {
    pub(crate) add_bos: bool,
    pub(crate) add_eos: bool,
    pub(crate) add_sep: bool,
    pub(crate) add_space_prefix: bool,
    pub(crate) clean_spaces: bool,
    /// What is put before and after a text.
    pub(crate) around: [Option<u32>; 2],
}

#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) model: String,
    pub(crate) pre: String,
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
    /// Text to ids, with the tokens around it that the model asks for if `add_special`.
    ///
    /// Takes n log n time for n bytes, whatever they are. A text of more than 1 GiB (llama.cpp takes at most 2) is
    /// encoded in parts of 1 GiB, each for itself.
    #[must_use]
    pub fn encode(&self, text: &str, add_special: bool, special: Special) -> Vec<u32> {
        let partition = match special {
            Special::Parse => &self.all_special,
            Special::AsText => &self.user_defined,
        };
        self.encode_parts(text, add_special, partition, None)
    }

    /// A prompt that a chat template wrote to ids: special tokens become their ids ([`Special::Parse`]) but for those
    /// that have a byte in `input`, the ranges in order that came in with the conversation: these stay text.
    ///
    /// Without such tokens there the ids are those of [`Self::encode`].
    #[must_use]
    pub fn encode_chat(&self, text: &str, add_special: bool, input: &[Range<usize>]) -> Vec<u32> {
        self.encode_parts(text, add_special, &self.all_special, Some(input))
    }

    fn encode_parts(
        &self,
        text: &str,
        add_special: bool,
        partition: &Partition,
        input: Option<&[Range<usize>]>,
    ) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 2);
        let [before, after] = if add_special { self.flags.around } else { [None; 2] };
        ids.extend(before);
        let mut at_start = true;
        let mut offset = 0;
        for part in parts(text) {
            let within = |at: usize| at.saturating_sub(offset).min(part.len());
            let ranges: Option<Vec<Range<usize>>> = input.map(|input| {
                input.iter().map(|range| within(range.start)..within(range.end)).collect()
            });
            offset += part.len();
            let open = self.typed.as_ref().unwrap_or(&self.user_defined);
            let input = ranges.as_ref().map(|ranges| Input { ranges, open });
            let mut seen = Seen::new(part.len());
            partition.split(part, input, &mut |fragment| match fragment {
                Fragment::Token(id) => {
                    ids.push(id);
                    at_start = true;
                }
                Fragment::Text(text) => {
                    self.encode_text(text, at_start, &mut seen, &mut ids);
                    at_start = false;
                }
            });
        }
        ids.extend(after);
        ids
    }

    /// Encodes text without special tokens. `at_start`: of the whole, or after a special token. `seen`: words of the
    /// whole.
    fn encode_text<'t>(
        &self,
        text: &'t str,
        at_start: bool,
        seen: &mut Seen<'t>,
        ids: &mut Vec<u32>,
    ) {
        match &self.kind {
            Kind::Bpe(bpe) => bpe.encode(text, &self.vocab, seen, ids),
            Kind::Whitespace { bpe, lowercase } => {
                encode_without_spaces(bpe, *lowercase, text, &self.vocab, ids);
            }
            Kind::HybridDna(bpe, dna) => dna.encode(bpe, text, &self.vocab, ids),
            Kind::Wpm(wpm) => wpm.encode(text, ids),
            Kind::Ugm(ugm) => ugm.encode(text, ids),
            Kind::Rwkv(rwkv) => rwkv.encode(text, ids),
            Kind::Plamo2(plamo2) => plamo2.encode(text, ids),
            Kind::Spm(spm) => {
                let prefix = at_start && self.flags.add_space_prefix;
                spm.encode(&escape_spaces(text, prefix), &self.vocab, ids);
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
        self.vocab.shown(id)
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

    /// End of turn.
    #[must_use]
    pub fn eot(&self) -> Option<u32> {
        self.roles.ids.eot
    }

    /// End of message: the model waits for a tool's answer.
    #[must_use]
    pub fn eom(&self) -> Option<u32> {
        self.roles.ids.eom
    }

    /// All tokens with a role.
    #[must_use]
    pub fn special_ids(&self) -> SpecialIds {
        self.roles.ids
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

    /// Whether the model wants SEP after texts. WPM vocabularies get it in [`Self::encode`]; for others this is only
    /// said to those who build pairs of texts.
    #[must_use]
    pub fn add_sep(&self) -> bool {
        self.flags.add_sep
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

    /// The kind of tokenizer as `tokenizer.ggml.model` names it, such as `llama` (SPM) or `gpt2` (byte-level BPE).
    #[must_use]
    pub fn model_name(&self) -> &str {
        &self.names.model
    }

    /// The pre-tokenizer in use, as `tokenizer.ggml.pre` names it; `default` for kinds other than BPE, which have none.
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
