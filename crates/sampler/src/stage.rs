//! The stages a user can order, under llama.cpp's names and letters.

use crate::ParamsError;

/// A stage of the chain between the logit biases (always first) and the draw (always last).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// `penalties`, `e`: repeat, frequency and presence penalties.
    Penalties,
    /// `dry`, `d`: penalties on tokens that would go on with a repetition.
    Dry,
    /// `top_n_sigma`, `s`: what is far below the highest logit, in standard deviations, is banned.
    TopNSigma,
    /// `top_k`, `k`.
    TopK,
    /// `typ_p`, `y`: locally typical sampling.
    TypicalP,
    /// `top_p`, `p`: nucleus sampling.
    TopP,
    /// `min_p`, `m`.
    MinP,
    /// `xtc`, `x`: now and then all likely tokens but the least likely of them are left out.
    Xtc,
    /// `temperature`, `t`, with its dynamic range.
    Temperature,
    /// `adaptive_p`, `a`: it draws, in place of the usual draw, and so is the last wherever it is named.
    AdaptiveP,
}

impl Stage {
    /// llama.cpp's default order, `edskypmxt`.
    pub const DEFAULT_ORDER: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::TopK,
        Self::TypicalP,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
        Self::Temperature,
    ];

    /// All there are: the default order and what is only run when it is named.
    fn all() -> impl Iterator<Item = Self> {
        Self::DEFAULT_ORDER.into_iter().chain([Self::AdaptiveP])
    }

    /// The name in `--samplers` and in `general.sampling.sequence`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Dry => "dry",
            Self::TopNSigma => "top_n_sigma",
            Self::TopK => "top_k",
            Self::TypicalP => "typ_p",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Xtc => "xtc",
            Self::Temperature => "temperature",
            Self::AdaptiveP => "adaptive_p",
        }
    }

    /// The letter in `--sampler-seq`.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Penalties => 'e',
            Self::Dry => 'd',
            Self::TopNSigma => 's',
            Self::TopK => 'k',
            Self::TypicalP => 'y',
            Self::TopP => 'p',
            Self::MinP => 'm',
            Self::Xtc => 'x',
            Self::Temperature => 't',
            Self::AdaptiveP => 'a',
        }
    }

    /// The stage of a name: any case, `_` may be `-` or missing, and the aliases `nucleus`, `temp`
    /// and `typ`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "nucleus" => Some(Self::TopP),
            "temp" => Some(Self::Temperature),
            "typ" => Some(Self::TypicalP),
            _ => Self::all().find(|stage| {
                let own = stage.name();
                name == own || name == own.replace('_', "-") || name == own.replace('_', "")
            }),
        }
    }

    /// The stage of a letter.
    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::all().find(|stage| stage.letter() == letter)
    }

    /// An order given as names separated by `;` (`--samplers`). Empty names are passed over, so
    /// that `""` is the empty order.
    /// # Errors
    /// A name that is no stage.
    pub fn parse_names(names: &str) -> Result<Vec<Self>, ParamsError> {
        let names = names.split(';').filter(|name| !name.is_empty());
        names
            .map(|name| {
                Self::from_name(name).ok_or_else(|| ParamsError {
                    name: "samplers",
                    found: format!("{name:?}"),
                    allowed: "names of penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;\
                              temperature;adaptive_p",
                })
            })
            .collect()
    }

    /// An order given as letters (`--sampler-seq`).
    /// # Errors
    /// A letter that is no stage.
    pub fn parse_letters(letters: &str) -> Result<Vec<Self>, ParamsError> {
        letters
            .chars()
            .map(|letter| {
                Self::from_letter(letter).ok_or_else(|| ParamsError {
                    name: "sampler_seq",
                    found: format!("{letter:?}"),
                    allowed: "letters of edskypmxta",
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_order_is_llama_cpps() {
        assert_eq!(Stage::parse_letters("edskypmxt").unwrap(), Stage::DEFAULT_ORDER, "letters");
        let names = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
        assert_eq!(Stage::parse_names(names).unwrap(), Stage::DEFAULT_ORDER, "names");
    }

    #[test]
    fn names_have_variants() {
        for name in ["top_p", "top-p", "topp", "TOP_P", "Top-P", "nucleus"] {
            assert_eq!(Stage::from_name(name), Some(Stage::TopP), "{name}");
        }
        for name in ["temp", "temperature"] {
            assert_eq!(Stage::from_name(name), Some(Stage::Temperature), "{name}");
        }
        for name in ["adaptive_p", "adaptive-p", "AdaptiveP"] {
            assert_eq!(Stage::from_name(name), Some(Stage::AdaptiveP), "{name}");
        }
        for name in ["typ", "typ_p", "typ-p", "typp"] {
            assert_eq!(Stage::from_name(name), Some(Stage::TypicalP), "{name}");
        }
    }

    #[test]
    fn orders_may_be_empty_and_repeat() {
        assert_eq!(Stage::parse_names("").unwrap(), [], "no stage");
        assert_eq!(Stage::parse_names("top_k;;top_k;").unwrap(), [Stage::TopK; 2], "repeated");
        assert_eq!(Stage::parse_letters("kk").unwrap(), [Stage::TopK; 2], "repeated letters");
    }

    #[test]
    fn unknown_stages_are_named() {
        let error = Stage::parse_names("top_k;infill").unwrap_err();
        assert!(error.to_string().starts_with("samplers is \"infill\"; must be"), "{error}");
        let error = Stage::parse_letters("kz").unwrap_err();
        assert!(error.to_string().starts_with("sampler_seq is 'z'; must be"), "{error}");
    }
}
