//! JSON: conversations in, the filter `tojson` out.
use crate::{
    budget::MAX_VALUE_DEPTH,
    text::Text,
    value::{List, Map, Probe, Str, TooDeep, Value},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use std::{cell::RefCell, fmt, rc::Rc};

/// A JSON value whose objects keep the order of their keys: a template may write them out.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Str(String),
    /// An array.
    List(Vec<Self>),
    /// An object. No key is there twice.
    Map(Vec<(String, Self)>),
}

impl Json {
    /// A member of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// A string's text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    /// An array's elements.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// The value as one line without spaces.
    #[must_use]
    pub fn compact(&self) -> String {
        let mut out = Text::default();
        let style = Style { indent: None, item: ",", key: ":", ascii: false };
        // Whatever was parsed is not nested too deeply.
        match write(&self.to_value(false, None), &style, &mut out) {
            Ok(()) => out.as_str().to_owned(),
            Err(TooDeep) => String::new(),
        }
    }

    pub(crate) fn set(&mut self, key: &str, value: Self) {
        let Self::Map(entries) = self else { return };
        match entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, place)) => *place = value,
            None => entries.push((key.to_owned(), value)),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Self::Map(entries) = self {
            entries.retain(|(name, _)| name != key);
        }
    }

    /// For a template: strings as the conversation's, or as the template's own; with a probe on everything.
    pub(crate) fn to_value(&self, is_input: bool, probe: Option<&Rc<Probe>>) -> Value {
        let fresh = || probe.map(|_| Rc::new(Probe::default()));
        match self {
            Self::Null => Value::None,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Float(x) => Value::Float(*x),
            Self::Str(text) => {
                Value::Str(Rc::new(Str { text: Text::new(text, is_input), probe: fresh() }))
            }
            Self::List(items) => {
                let items = items.iter().map(|item| item.to_value(is_input, probe)).collect();
                let items = RefCell::new(items);
                Value::List(Rc::new(List { items, is_tuple: false, probe: fresh() }))
            }
            Self::Map(entries) => {
                let entry = |(key, value): &(String, Self)| {
                    (Value::text(Text::new(key, is_input)), value.to_value(is_input, probe))
                };
                let entries = RefCell::new(entries.iter().map(entry).collect());
                Value::Map(Rc::new(Map { entries, is_loop: false, probe: fresh() }))
            }
        }
    }

    /// About how many bytes it holds.
    pub(crate) fn n_bytes(&self) -> usize {
        match self {
            Self::Str(text) => text.len(),
            Self::List(items) => items.iter().map(Self::n_bytes).sum(),
            Self::Map(entries) => entries.iter().map(|(k, v)| k.len() + v.n_bytes()).sum(),
            _ => 8,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        #[expect(clippy::cast_precision_loss, reason = "JSON's numbers are no larger than that")]
        Ok(i64::try_from(value).map_or(Json::Float(value as f64), Json::Int))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Str(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut entries: Vec<(String, Json)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        while let Some((key, value)) = access.next_entry::<String, Json>()? {
            // Of a key that is there twice the last value counts.
            match places.get(&key).and_then(|at: &usize| entries.get_mut(*at)) {
                Some(entry) => entry.1 = value,
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push((key, value));
                }
            }
        }
        Ok(Json::Map(entries))
    }
}

/// Parses a text.
pub(crate) fn parse(text: &str) -> Option<Json> {
    serde_json::from_str(text).ok()
}

/// How JSON is laid out.
#[derive(Debug)]
pub(crate) struct Style<'a> {
    /// Spaces a level; without it, all on a line.
    pub(crate) indent: Option<usize>,
    pub(crate) item: &'a str,
    pub(crate) key: &'a str,
    /// Escape everything that is not ASCII.
    pub(crate) ascii: bool,
}

/// Writes a value as JSON; what JSON does not know is `null`.
pub(crate) fn write(value: &Value, style: &Style<'_>, out: &mut Text) -> Result<(), TooDeep> {
    write_at(value, style, out, 0)
}

fn write_at(value: &Value, style: &Style<'_>, out: &mut Text, depth: usize) -> Result<(), TooDeep> {
    if depth > MAX_VALUE_DEPTH {
        return Err(TooDeep);
    }
    match value {
        Value::Undefined | Value::None | Value::Func(_) => out.push_str("null", false),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }, false),
        Value::Int(n) => out.push_str(&n.to_string(), false),
        Value::Float(x) => out.push_str(&short_float(*x), false),
        Value::Str(s) => quoted(&s.text, style.ascii, out),
        Value::List(list) => {
            let items = list.items.borrow();
            enclose("[]", items.len(), style, out, depth, |i, out| {
                write_at(&items[i], style, out, depth + 1)
            })?;
        }
        Value::Map(map) => {
            let entries = map.entries.borrow();
            enclose("{}", entries.len(), style, out, depth, |i, out| {
                let (key, value) = &entries[i];
                quoted(&key.to_text()?.unwrap_or_default(), style.ascii, out);
                out.push_str(style.key, false);
                write_at(value, style, out, depth + 1)
            })?;
        }
    }
    Ok(())
}

/// `n` elements between brackets.
fn enclose(
    brackets: &str,
    n: usize,
    style: &Style<'_>,
    out: &mut Text,
    depth: usize,
    mut element: impl FnMut(usize, &mut Text) -> Result<(), TooDeep>,
) -> Result<(), TooDeep> {
    let (open, close) = brackets.split_at(1);
    let line = |levels: usize| match style.indent {
        Some(width) => format!("\n{}", " ".repeat(width.saturating_mul(levels).min(1 << 10))),
        None => String::new(),
    };
    out.push_str(open, false);
    for i in 0..n {
        out.push_str(if i > 0 { style.item } else { "" }, false);
        out.push_str(&line(depth + 1), false);
        element(i, out)?;
    }
    if n > 0 {
        out.push_str(&line(depth), false);
    }
    out.push_str(close, false);
    Ok(())
}

/// A string in double quotes, as JSON has it.
pub(crate) fn string(text: &Text, out: &mut Text) {
    quoted(text, false, out);
}

fn quoted(text: &Text, ascii: bool, out: &mut Text) {
    out.push_str("\"", false);
    for (range, is_input) in text.runs() {
        let mut escaped = String::with_capacity(range.len());
        for c in text.as_str()[range].chars() {
            match c {
                '"' => escaped.push_str("\\\""),
                '\\' => escaped.push_str("\\\\"),
                '\x08' => escaped.push_str("\\b"),
                '\x0c' => escaped.push_str("\\f"),
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                '\t' => escaped.push_str("\\t"),
                c if c < ' ' || (ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        escaped.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => escaped.push(c),
            }
        }
        out.push_str(&escaped, is_input);
    }
    out.push_str("\"", false);
}

/// C's `%g`: six significant digits, no zeros at the end.
fn short_float(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "nan"
        } else if x > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let scientific = format!("{x:.5e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        let places = usize::try_from(5 - exponent).unwrap_or(0);
        return trim(&format!("{x:.places$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(digits), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_c_does() {
        for (x, text) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (1.234_567_89, "1.23457"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (-2.5, "-2.5"),
            (0.0, "0"),
        ] {
            assert_eq!(short_float(x), text);
        }
    }

    #[test]
    fn keys_keep_their_order_and_the_last_value() {
        let json: Json = serde_json::from_str(r#"{"b":1,"a":[1.5,"é\u0001"],"b":null}"#).unwrap();
        assert_eq!(json.compact(), r#"{"b":null,"a":[1.5,"é\u0001"]}"#);
    }
}
