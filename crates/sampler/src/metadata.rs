//! Sampling defaults that a model file brings along (`general.sampling.*`), read as llama.cpp
//! reads them: through the text of the value, and only where the user gave no flag.

use crate::params::require;
use crate::{Params, ParamsError, Stage};

/// A metadata value, as far as it matters here. Arrays are never used: pass `None` for them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetaValue<'a> {
    /// An integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    Uint(u64),
    /// A floating-point number of either width.
    Float(f64),
    /// A boolean. No parameter takes one.
    Bool(bool),
    /// A string.
    Str(&'a str),
}

/// Which parameters the user has set: a model's defaults leave these alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "one per field of `Params` that metadata can set")]
pub struct UserSet {
    pub order: bool,
    pub top_k: bool,
    pub top_p: bool,
    pub min_p: bool,
    pub temp: bool,
    pub penalty_last_n: bool,
    pub penalty_repeat: bool,
    pub xtc_probability: bool,
    pub xtc_threshold: bool,
    pub mirostat: bool,
    pub mirostat_tau: bool,
    pub mirostat_eta: bool,
}

/// What became of the model's defaults, as metadata keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FromMetadata {
    /// Those that set a parameter.
    pub applied: Vec<&'static str>,
    /// Those that ask for something this crate does not have (a stage it does not know), and were
    /// passed over: worth a warning.
    pub unsupported: Vec<&'static str>,
}

impl Params {
    /// Takes over the model's defaults for everything the user has not set.
    ///
    /// As in llama.cpp, a number may also be written as a string, an integer for a number with a
    /// fraction and the other way round; floats are read with six decimals; a value that is no
    /// number at all changes nothing. Numbers that llama.cpp gives the meaning of "off" or "greedy"
    /// although they are out of range (negative ones) become the one in range that means the same.
    /// # Errors
    /// A value without a meaning, such as NaN; the error names the key, and nothing was taken over.
    pub fn apply_metadata<'a>(
        &mut self,
        user_set: UserSet,
        lookup: impl Fn(&str) -> Option<MetaValue<'a>>,
    ) -> Result<FromMetadata, ParamsError> {
        let mut params = self.clone();
        let mut report = FromMetadata::default();
        if !user_set.order {
            params.apply_sequence(lookup("general.sampling.sequence"), &mut report);
        }
        let mut reader = Reader { lookup, report };
        reader.int("general.sampling.top_k", user_set.top_k, &mut params.top_k, -1);
        let last_n = &mut params.penalty_last_n;
        reader.int("general.sampling.penalty_last_n", user_set.penalty_last_n, last_n, 0);
        for (key, user_set, into, allowed) in floats(user_set, &mut params) {
            reader.float(key, user_set, into, allowed)?;
        }
        let mirostat = &mut params.mirostat;
        reader.int("general.sampling.mirostat", user_set.mirostat, mirostat, i32::MIN);
        if !user_set.mirostat {
            let known = (0..=2).contains(mirostat);
            require("general.sampling.mirostat", *mirostat, "0, 1 or 2", known)?;
        }
        *self = params;
        Ok(reader.report)
    }

    /// Takes over an order of stages; unknown names are passed over, as in llama.cpp.
    fn apply_sequence(&mut self, value: Option<MetaValue<'_>>, report: &mut FromMetadata) {
        const KEY: &str = "general.sampling.sequence";
        let Some(MetaValue::Str(names)) = value else { return };
        if names.is_empty() {
            return;
        }
        let stages = || names.split(';').map(Stage::from_name);
        self.order = stages().flatten().collect();
        report.applied.push(KEY);
        if stages().any(|stage| stage.is_none()) {
            report.unsupported.push(KEY);
        }
    }
}

/// What may stand in a file, in words, and the legal parameter it becomes.
type Allowed = (&'static str, fn(f32) -> Option<f32>);

/// The keys of numbers with a fraction, with what they set.
fn floats(user_set: UserSet, params: &mut Params) -> [(&'static str, bool, &mut f32, Allowed); 8] {
    const PROBABILITY: Allowed = ("a number", |p| (!p.is_nan()).then(|| p.clamp(0.0, 1.0)));
    const AT_MOST_1: Allowed = ("at most 1", |p| (p <= 1.0).then(|| p.max(0.0)));
    const TEMPERATURE: Allowed = ("finite", |temp| temp.is_finite().then(|| temp.max(0.0)));
    const NOT_NEGATIVE: Allowed =
        ("a finite number, 0 or more", |x| (x.is_finite() && x >= 0.0).then_some(x));
    const REPEAT: Allowed = ("a finite number above 0, its reciprocal finite too", |repeat| {
        (repeat.is_finite() && repeat > 0.0 && (1.0 / repeat).is_finite()).then_some(repeat)
    });
    let (u, p) = (user_set, params);
    [
        ("general.sampling.top_p", u.top_p, &mut p.top_p, PROBABILITY),
        ("general.sampling.min_p", u.min_p, &mut p.min_p, AT_MOST_1),
        (
            "general.sampling.xtc_probability",
            u.xtc_probability,
            &mut p.xtc_probability,
            PROBABILITY,
        ),
        ("general.sampling.xtc_threshold", u.xtc_threshold, &mut p.xtc_threshold, PROBABILITY),
        ("general.sampling.temp", u.temp, &mut p.temp, TEMPERATURE),
        ("general.sampling.penalty_repeat", u.penalty_repeat, &mut p.penalty_repeat, REPEAT),
        ("general.sampling.mirostat_tau", u.mirostat_tau, &mut p.mirostat_tau, NOT_NEGATIVE),
        ("general.sampling.mirostat_eta", u.mirostat_eta, &mut p.mirostat_eta, NOT_NEGATIVE),
    ]
}

/// Reads keys and notes what became of them.
struct Reader<F> {
    lookup: F,
    report: FromMetadata,
}

impl<'a, F: Fn(&str) -> Option<MetaValue<'a>>> Reader<F> {
    /// Numbers below `lowest` mean the same as it.
    fn int(&mut self, key: &'static str, user_set: bool, into: &mut i32, lowest: i32) {
        if let Some(number) = (self.lookup)(key).and_then(to_i32).filter(|_| !user_set) {
            *into = number.max(lowest);
            self.report.applied.push(key);
        }
    }

    fn float(
        &mut self,
        key: &'static str,
        user_set: bool,
        into: &mut f32,
        allowed: Allowed,
    ) -> Result<(), ParamsError> {
        if let Some(found) = (self.lookup)(key).and_then(to_f32).filter(|_| !user_set) {
            let number = (allowed.1)(found);
            require(key, found, allowed.0, number.is_some())?;
            *into = number.unwrap_or(*into);
            self.report.applied.push(key);
        }
        Ok(())
    }
}

/// The text llama.cpp makes of a number: floats with six decimals.
fn text(value: MetaValue<'_>) -> String {
    match value {
        MetaValue::Int(number) => number.to_string(),
        MetaValue::Uint(number) => number.to_string(),
        MetaValue::Float(number) => format!("{number:.6}"),
        MetaValue::Bool(truth) => truth.to_string(),
        MetaValue::Str(string) => string.to_owned(),
    }
}

/// The longest beginning of a text that parses, white space skipped: C's `strtof` (without
/// hexadecimal) on a buffer of 128 bytes.
fn to_f32(value: MetaValue<'_>) -> Option<f32> {
    let text = text(value);
    let text = text.trim_start();
    let ends = (1..=text.len().min(127)).rev();
    ends.filter_map(|end| text.get(..end)).find_map(|prefix| prefix.parse().ok())
}

/// C's `strtol`, which stops at the ends of 64 bits, cut to 32.
fn to_i32(value: MetaValue<'_>) -> Option<i32> {
    let text = text(value);
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = digits.chars().map_while(|c| c.to_digit(10)).fold(None, |sum, digit| {
        let tens = sum.unwrap_or(0_i64).saturating_mul(10);
        let digit = i64::from(digit);
        Some(if negative { tens.saturating_sub(digit) } else { tens.saturating_add(digit) })
    })?;
    #[expect(clippy::cast_possible_truncation, reason = "as llama.cpp does")]
    Some(number as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(
        user_set: UserSet,
        entries: &[(&str, MetaValue<'static>)],
    ) -> Result<(Params, FromMetadata), ParamsError> {
        let mut params = Params::default();
        let lookup = |key: &str| {
            entries.iter().find(|e| format!("general.sampling.{}", e.0) == key).map(|e| e.1)
        };
        params.apply_metadata(user_set, lookup).map(|report| (params, report))
    }

    fn apply_one(key: &str, value: MetaValue<'static>) -> Params {
        apply(UserSet::default(), &[(key, value)]).unwrap().0
    }

    #[test]
    fn a_model_sets_what_the_user_has_not() {
        let entries = [
            ("sequence", MetaValue::Str("top_k;temperature")),
            ("top_k", MetaValue::Int(20)),
            ("top_p", MetaValue::Float(0.8)),
            ("min_p", MetaValue::Float(0.0)),
            ("temp", MetaValue::Float(0.6)),
            ("penalty_last_n", MetaValue::Uint(32)),
            ("penalty_repeat", MetaValue::Float(1.05)),
            ("xtc_probability", MetaValue::Float(0.5)),
            ("xtc_threshold", MetaValue::Float(0.2)),
            ("mirostat", MetaValue::Int(2)),
            ("mirostat_tau", MetaValue::Float(4.0)),
            ("mirostat_eta", MetaValue::Float(0.2)),
        ];
        let expected = Params {
            order: vec![Stage::TopK, Stage::Temperature],
            top_k: 20,
            top_p: 0.8,
            min_p: 0.0,
            temp: 0.6,
            penalty_last_n: 32,
            penalty_repeat: 1.05,
            xtc_probability: 0.5,
            xtc_threshold: 0.2,
            mirostat: 2,
            mirostat_tau: 4.0,
            mirostat_eta: 0.2,
            ..Params::default()
        };
        let (params, report) = apply(UserSet::default(), &entries).unwrap();
        assert_eq!(params, expected, "all of them");
        assert_eq!((report.applied.len(), report.unsupported.len()), (12, 0), "{report:?}");

        let (params, report) =
            apply(UserSet { temp: true, order: true, ..UserSet::default() }, &entries).unwrap();
        let defaults = Params::default();
        let kept = Params { temp: defaults.temp, order: defaults.order, ..expected };
        assert_eq!(params, kept, "the user's temperature and order stay");
        assert!(!report.applied.contains(&"general.sampling.temp"), "{report:?}");

        let all = UserSet {
            order: true,
            top_k: true,
            top_p: true,
            min_p: true,
            temp: true,
            penalty_last_n: true,
            penalty_repeat: true,
            xtc_probability: true,
            xtc_threshold: true,
            mirostat: true,
            mirostat_tau: true,
            mirostat_eta: true,
        };
        assert_eq!(apply(all, &entries).unwrap().0, Params::default(), "the user's everything");
        assert_eq!(apply(UserSet::default(), &[]).unwrap().0, Params::default(), "no metadata");
    }

    #[test]
    fn values_are_read_through_their_text() {
        assert_eq!(apply_one("top_k", MetaValue::Float(12.9)).top_k, 12, "cut at the point");
        assert_eq!(apply_one("top_k", MetaValue::Str(" 7x")).top_k, 7, "up to the first non-digit");
        assert_eq!(apply_one("top_k", MetaValue::Str("many")).top_k, 40, "no number");
        assert_eq!(apply_one("top_k", MetaValue::Bool(true)).top_k, 40, "no number");
        assert_eq!(apply_one("top_k", MetaValue::Uint(u64::MAX)).top_k, -1, "64 bits cut to 32");
        assert_eq!(apply_one("top_k", MetaValue::Int((1 << 32) + 3)).top_k, 3, "64 bits cut to 32");
        assert_eq!(apply_one("temp", MetaValue::Int(2)).temp, 2.0, "an integer");
        assert_eq!(apply_one("temp", MetaValue::Str("0.25 or so")).temp, 0.25, "a prefix");
        assert_eq!(apply_one("temp", MetaValue::Str("1e")).temp, 1.0, "no exponent");
        assert_eq!(apply_one("temp", MetaValue::Str("€")).temp, 0.8, "no number");
        let third = f64::from(1.0_f32 / 3.0);
        assert_eq!(apply_one("top_p", MetaValue::Float(third)).top_p, 0.333_333, "six decimals");
        assert_eq!(apply_one("sequence", MetaValue::Str("")).order, Stage::DEFAULT_ORDER, "empty");
    }

    #[test]
    fn what_llama_cpp_takes_as_off_is_off() {
        assert_eq!(apply_one("temp", MetaValue::Float(-1.0)).temp, 0.0, "greedy");
        assert_eq!(apply_one("top_p", MetaValue::Float(7.0)).top_p, 1.0, "off");
        assert_eq!(apply_one("top_p", MetaValue::Float(-7.0)).top_p, 0.0, "one token");
        assert_eq!(apply_one("min_p", MetaValue::Float(-7.0)).min_p, 0.0, "off");
        assert_eq!(apply_one("top_k", MetaValue::Int(-100)).top_k, -1, "off");
        assert_eq!(apply_one("penalty_last_n", MetaValue::Int(-1)).penalty_last_n, 0, "off");
        assert_eq!(apply_one("xtc_probability", MetaValue::Int(-1)).xtc_probability, 0.0, "off");
        assert_eq!(apply_one("xtc_threshold", MetaValue::Int(7)).xtc_threshold, 1.0, "off");
    }

    #[test]
    fn the_users_mistakes_stay_mistakes() {
        let mut params = Params { top_k: i32::MIN, penalty_last_n: -5, ..Params::default() };
        let before = params.clone();
        let user_set = UserSet { top_k: true, penalty_last_n: true, ..UserSet::default() };
        params.apply_metadata(user_set, |_| Some(MetaValue::Int(-1))).unwrap_err();
        assert_eq!(params, before, "an error (a negative repeat penalty) changes nothing");
        let top_k = |key: &str| key.ends_with("top_k").then_some(MetaValue::Int(-1));
        params.apply_metadata(user_set, top_k).unwrap();
        assert_eq!(params, before, "left for `validate` to refuse");
    }

    #[test]
    fn values_without_a_meaning_are_errors() {
        for (key, value) in [
            ("temp", MetaValue::Float(f64::NAN)),
            ("temp", MetaValue::Float(f64::INFINITY)),
            ("temp", MetaValue::Str("nan")),
            ("top_p", MetaValue::Str("nan")),
            ("min_p", MetaValue::Float(2.0)),
            ("min_p", MetaValue::Float(f64::NAN)),
            ("penalty_repeat", MetaValue::Int(0)),
            ("penalty_repeat", MetaValue::Float(f64::NAN)),
            ("xtc_probability", MetaValue::Float(f64::NAN)),
            ("mirostat", MetaValue::Int(3)),
            ("mirostat", MetaValue::Int(-1)),
            ("mirostat_tau", MetaValue::Float(-1.0)),
            ("mirostat_eta", MetaValue::Float(f64::INFINITY)),
        ] {
            let error = apply(UserSet::default(), &[(key, value)]).unwrap_err();
            assert_eq!(error.name, format!("general.sampling.{key}"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_here_is_reported() {
        let unsupported = |entries: &[_]| apply(UserSet::default(), entries).unwrap().1.unsupported;
        let known = ("sequence", MetaValue::Str("xtc;dry;adaptive_p;top_k"));
        assert_eq!(unsupported(&[known]), [""; 0], "known stages");
        let unknown = ("sequence", MetaValue::Str("infill;top_k"));
        assert_eq!(unsupported(&[unknown]), ["general.sampling.sequence"], "an unknown stage");
    }
}
