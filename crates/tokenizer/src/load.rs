//! From metadata to a tokenizer: what each kind of vocabulary needs, and what it adds to texts.

use crate::arena::Arena;
use crate::bpe::Bpe;
use crate::bytes;
use crate::charsmap::CharsMap;
use crate::error::TokenizerError;
use crate::partition::Partition;
use crate::plamo2::Plamo2;
use crate::pre::{AddBos, Letters, Pre};
use crate::rwkv::{Rwkv, unescape};
use crate::sessions::{Dna, MARKER};
use crate::special::{SpecialIds, assign_roles};
use crate::spm::{SPACE, Spm};
use crate::tokenizer::{Flags, Kind, Names, Tokenizer};
use crate::ugm::{Spacing, Ugm};
use crate::vocab::{Attr, Vocab, byte_of};
use crate::wpm::{Normalizer, Wpm};
use gguf_parse::Metadata;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_SEP: &str = "tokenizer.ggml.add_sep_token";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const REMOVE_EXTRA_SPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const LOWERCASE: &str = "tokenizer.ggml.normalizer.lowercase";
const STRIP_ACCENTS: &str = "tokenizer.ggml.normalizer.strip_accents";
const BOS: &str = "tokenizer.ggml.bos_token_id";
// llama.cpp's spelling.
const SEP: &str = "tokenizer.ggml.seperator_token_id";
const UNK: &str = "tokenizer.ggml.unknown_token_id";

/// What is read on the way to a tokenizer.
struct Loader<'m> {
    metadata: Metadata<'m>,
    vocab: Vocab,
    ids: SpecialIds,
    flags: Flags,
    warnings: Vec<String>,
}

/// What each token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// GPT-2's alphabet of bytes.
    Bytes,
    /// `▁` for a space.
    EscapedSpaces,
    /// Escapes as in Python.
    Escapes,
    /// Itself.
    Plain,
}

const NOTHING_ADDED: Flags = Flags {
    add_bos: false,
    add_eos: false,
    add_sep: false,
    add_space_prefix: false,
    clean_spaces: false,
    around: [None; 2],
};

impl Tokenizer {
    /// Reads the vocabulary.
    ///
    /// # Errors
    /// Missing or inconsistent metadata; an unknown tokenizer or pre-tokenizer, by name.
    pub fn from_metadata(metadata: Metadata<'_>) -> Result<Self, TokenizerError> {
        let model: &str = metadata.get(MODEL)?;
        let none = SpecialIds::default();
        match model {
            "llama" => {
                let ids = SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), ..none };
                let flags = Flags { add_bos: true, add_space_prefix: true, ..NOTHING_ADDED };
                Loader::new(metadata, ids, flags)?.spm()
            }
            "gpt2" | "gemma4" | "hybriddna" | "whitespace" => bpe(metadata, model),
            "bert" => {
                let ids = SpecialIds {
                    bos: Some(101),
                    unk: Some(100),
                    sep: Some(102),
                    pad: Some(0),
                    mask: Some(103),
                    ..none
                };
                let flags =
                    Flags { add_bos: true, add_sep: true, clean_spaces: true, ..NOTHING_ADDED };
                Loader::new(metadata, ids, flags)?.wpm()
            }
            "t5" => {
                let ids = SpecialIds { eos: Some(1), unk: Some(2), pad: Some(0), ..none };
                let flags = Flags { add_eos: true, ..NOTHING_ADDED };
                Loader::new(metadata, ids, flags)?.ugm()
            }
            "rwkv" => Loader::new(metadata, none, NOTHING_ADDED)?.rwkv(),
            "plamo2" => {
                let ids =
                    SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), pad: Some(3), ..none };
                Loader::new(metadata, ids, NOTHING_ADDED)?.plamo2()
            }
            _ => Err(TokenizerError::UnknownModel { name: model.to_owned() }),
        }
    }
}

/// Loads one of the kinds of BPE.
fn bpe(metadata: Metadata<'_>, model: &str) -> Result<Tokenizer, TokenizerError> {
    let named = metadata.get_opt::<&str>(PRE)?.unwrap_or_default();
    let name = match (model, named) {
        ("gemma4", _) => "gemma4",
        (_, "") => "default",
        (_, name) => name,
    };
    let pre = Pre::by_name(name)?;
    let eleven = |wanted: bool| (model != "gemma4" && wanted).then_some(11);
    let ids =
        SpecialIds { bos: eleven(pre.default_bos), eos: eleven(true), ..SpecialIds::default() };
    let flags = Flags {
        add_bos: pre.add_bos != AddBos::No,
        add_sep: pre.add_sep,
        clean_spaces: pre.clean_spaces,
        ..NOTHING_ADDED
    };
    let mut loader = Loader::new(metadata, ids, flags)?;
    if model != "gemma4" && named.is_empty() {
        loader.warnings.push(format!(
            "{PRE} is missing: \"default\" is used, and ids may differ from the model's own"
        ));
    }
    if pre.add_bos == AddBos::Always && !loader.flags.add_bos {
        loader.flags.add_bos = true;
        loader.warnings.push(format!("{ADD_BOS} is false, but BOS is added for \"{name}\""));
    }
    let bpe = Bpe::from_metadata(metadata, &loader.vocab, pre)?;
    let kind = match model {
        "whitespace" => {
            Kind::Whitespace { bpe, lowercase: metadata.get_opt(LOWERCASE)?.unwrap_or(false) }
        }
        "hybriddna" => {
            if let Some(before) = Dna::last_before(&loader.vocab) {
                loader.vocab.hide_suffix(before, MARKER);
            }
            match Dna::new(&loader.vocab) {
                Some(dna) => Kind::HybridDna(bpe, dna),
                None => Kind::Bpe(bpe),
            }
        }
        _ => Kind::Bpe(bpe),
    };
    loader.add_bos_eos()?;
    let writing = match pre.letters {
        Letters::CharactersAndEscapedSpaces => Writing::EscapedSpaces,
        Letters::Bytes | Letters::Characters => Writing::Bytes,
    };
    loader.finish(kind, model, name, writing)
}

impl<'m> Loader<'m> {
    fn new(
        metadata: Metadata<'m>,
        defaults: SpecialIds,
        flags: Flags,
    ) -> Result<Self, TokenizerError> {
        let vocab = Vocab::from_metadata(metadata)?;
        let mut warnings = Vec::new();
        let ids = defaults.read(metadata, vocab.len(), &mut warnings)?;
        let flags = Flags {
            add_bos: metadata.get_opt(ADD_BOS)?.unwrap_or(flags.add_bos),
            add_eos: metadata.get_opt(ADD_EOS)?.unwrap_or(flags.add_eos),
            add_sep: metadata.get_opt(ADD_SEP)?.unwrap_or(flags.add_sep),
            add_space_prefix: metadata.get_opt(ADD_SPACE_PREFIX)?.unwrap_or(flags.add_space_prefix),
            ..flags
        };
        Ok(Self { metadata, vocab, ids, flags, warnings })
    }

    fn spm(mut self) -> Result<Tokenizer, TokenizerError> {
        let spm = Spm::new(&self.vocab, self.ids.unk, &mut self.warnings)?;
        self.add_bos_eos()?;
        self.finish(Kind::Spm(spm), "llama", "default", Writing::EscapedSpaces)
    }

    fn wpm(mut self) -> Result<Tokenizer, TokenizerError> {
        let lowercase = self.metadata.get_opt(LOWERCASE)?.unwrap_or(true);
        let strip_accents = self.metadata.get_opt(STRIP_ACCENTS)?.unwrap_or(lowercase);
        let unk = needed(self.ids.unk, UNK)?;
        let wpm = Wpm::new(&self.vocab, Normalizer { lowercase, strip_accents }, unk)?;
        // Whatever the metadata says.
        self.flags.around = [Some(needed(self.ids.bos, BOS)?), Some(needed(self.ids.sep, SEP)?)];
        self.finish(Kind::Wpm(wpm), "bert", "default", Writing::EscapedSpaces)
    }

    fn ugm(mut self) -> Result<Tokenizer, TokenizerError> {
        let spacing = Spacing {
            add_prefix: self.flags.add_space_prefix,
            remove_extra: self.metadata.get_opt(REMOVE_EXTRA_SPACES)?.unwrap_or(false),
        };
        let charsmap = CharsMap::from_metadata(self.metadata)?;
        let ugm = Ugm::new(&self.vocab, charsmap, spacing, needed(self.ids.unk, UNK)?)?;
        self.add_bos_eos()?;
        self.finish(Kind::Ugm(ugm), "t5", "default", Writing::EscapedSpaces)
    }

    fn rwkv(mut self) -> Result<Tokenizer, TokenizerError> {
        let rwkv = Rwkv::new(&self.vocab, self.ids.unk, &mut self.warnings)?;
        self.finish(Kind::Rwkv(rwkv), "rwkv", "default", Writing::Escapes)
    }

    fn plamo2(self) -> Result<Tokenizer, TokenizerError> {
        let plamo2 = Plamo2::new(&self.vocab)?;
        self.finish(Kind::Plamo2(plamo2), "plamo2", "default", Writing::Plain)
    }

    /// Lets the BOS and EOS that the flags ask for be added to texts.
    fn add_bos_eos(&mut self) -> Result<(), TokenizerError> {
        for (i, (add, id, key)) in [
            (self.flags.add_bos, self.ids.bos, ADD_BOS),
            (self.flags.add_eos, self.ids.eos, ADD_EOS),
        ]
        .into_iter()
        .enumerate()
        {
            if add {
                self.flags.around[i] = Some(needed(id, key)?);
            }
        }
        Ok(())
    }

    fn finish(
        mut self,
        kind: Kind,
        model: &str,
        pre: &str,
        writing: Writing,
    ) -> Result<Tokenizer, TokenizerError> {
        let roles = assign_roles(self.ids, &mut self.vocab, &mut self.warnings);
        if let Some(&first) = self.vocab.duplicates.first() {
            let n = self.vocab.duplicates.len();
            let text = self.vocab.text(first);
            self.warnings.push(format!(
                "{n} tokens have the text of an earlier one, which is used ({first}: {text:?})"
            ));
        }
        strip_by_model_name(self.metadata, pre, &mut self.vocab)?;
        let hidden = Attr::CONTROL.with(Attr::UNKNOWN);
        let special = hidden.with(Attr::USER_DEFINED);
        let is_raised = |attr: Attr| attr.intersects(Attr::RAISED);
        let has_raised = self.vocab.ids().any(|id| is_raised(self.vocab.attr(id)));
        Ok(Tokenizer {
            pieces: pieces(&self.vocab, writing),
            all_special: Partition::new(&self.vocab, |attr| attr.intersects(special)),
            user_defined: Partition::new(&self.vocab, |attr| {
                attr.intersects(special) && !attr.intersects(hidden)
            }),
            typed: has_raised.then(|| {
                Partition::new(&self.vocab, |attr| {
                    attr.intersects(special) && !attr.intersects(hidden) && !is_raised(attr)
                })
            }),
            vocab: self.vocab,
            kind,
            roles,
            flags: self.flags,
            names: Names { model: model.into(), pre: pre.into() },
            warnings: self.warnings,
        })
    }
}

fn needed(id: Option<u32>, key: &'static str) -> Result<u32, TokenizerError> {
    id.ok_or(TokenizerError::NoSuchSpecial { key })
}

/// What each token stands for, control tokens written out.
fn pieces(vocab: &Vocab, writing: Writing) -> Arena {
    let written_out = Attr::CONTROL.with(Attr::UNKNOWN).with(Attr::USER_DEFINED);
    let mut pieces = Arena::default();
    for id in vocab.ids() {
        let (attr, text) = (vocab.attr(id), vocab.shown(id));
        let out = pieces.tail();
        match writing {
            Writing::Escapes => out.extend(unescape(text)),
            Writing::Plain if attr.intersects(Attr::BYTE) => out.extend(byte_of(text)),
            Writing::Plain => out.extend_from_slice(text.as_bytes()),
            Writing::Bytes | Writing::EscapedSpaces if attr.intersects(written_out) => {
                out.extend_from_slice(text.as_bytes());
            }
            Writing::EscapedSpaces if attr.intersects(Attr::NORMAL) => {
                out.extend_from_slice(text.replace(SPACE, " ").as_bytes());
            }
            Writing::Bytes if attr.intersects(Attr::NORMAL) => bytes::decode_into(text, out),
            Writing::Bytes | Writing::EscapedSpaces => {
                out.extend(byte_of(text).filter(|_| attr.intersects(Attr::BYTE)));
            }
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
    let architecture = metadata.get_opt::<&str>("general.architecture")?.unwrap_or_default();
    let mut mark = |text: &str| {
        if let Some(id) = vocab.find(text) {
            vocab.set_attr(id, vocab.attr(id).with(Attr::LSTRIP));
        }
    };
    if ["jina-v2-de", "jina-v2-es", "jina-v2-code"].iter().any(|jina| pre.contains(jina))
        || ["nomic-bert-moe", "jina-bert-v3"].iter().any(|bert| architecture.contains(bert))
    {
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
