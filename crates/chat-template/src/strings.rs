//! Methods and filters of strings. Lengths and indices are in bytes, letters are those of ASCII, as in llama.cpp.
use crate::{
    calls::Args,
    eval::{Fault, Interp, failed},
    text::Text,
    value::Value,
};

pub(crate) const METHODS: &[&str] = &[
    "capitalize",
    "default",
    "endswith",
    "float",
    "format",
    "indent",
    "int",
    "join",
    "length",
    "lower",
    "lstrip",
    "replace",
    "rsplit",
    "rstrip",
    "safe",
    "slice",
    "split",
    "startswith",
    "string",
    "strip",
    "title",
    "tojson",
    "upper",
];

/// `None` for a method that there is not.
pub(crate) fn method(
    interp: &mut Interp,
    name: &str,
    text: &Text,
    args: &Args,
) -> Result<Option<Value>, Fault> {
    interp.budget.bytes(text.len())?;
    Ok(Some(match name {
        "upper" => Value::text(text.map_ascii(str::to_ascii_uppercase)),
        "lower" => Value::text(text.map_ascii(str::to_ascii_lowercase)),
        "capitalize" => Value::text(text.map_ascii(|text| cased(text, false))),
        "title" => Value::text(text.map_ascii(|text| cased(text, true))),
        "strip" => strip(text, args, true, true),
        "lstrip" => strip(text, args, true, false),
        "rstrip" => strip(text, args, false, true),
        "length" => Value::Int(i64::try_from(text.len()).unwrap_or(i64::MAX)),
        "startswith" => Value::Bool(text.as_str().starts_with(args.str(0)?)),
        "endswith" => Value::Bool(text.as_str().ends_with(args.str(0)?)),
        "split" => split(interp, text, args, false)?,
        "rsplit" => split(interp, text, args, true)?,
        "replace" => replace(interp, text, args)?,
        "format" => format(text, args)?,
        "int" => {
            let parsed = text.as_str().trim_start().parse::<i64>().ok();
            Value::Int(parsed.or_else(|| args.get("default", 0).as_int()).unwrap_or(0))
        }
        "float" => {
            let parsed = text.as_str().trim().parse::<f64>().ok();
            Value::Float(parsed.or_else(|| args.get("default", 0).as_number()).unwrap_or(0.0))
        }
        "wordcount" => {
            let n = text.as_str().split_ascii_whitespace().count();
            Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
        }
        "indent" => indent(interp, text, args)?,
        "list" => {
            interp.budget.steps(text.len() as u64)?;
            let chars = text.as_str().char_indices();
            let each = chars.map(|(at, c)| Value::text(text.slice(at..at + c.len_utf8())));
            Value::list(each.collect())
        }
        _ => return Ok(None),
    }))
}

/// C's `isspace`.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// Upper case for the first letter, or of every word; lower for the rest.
fn cased(text: &str, every_word: bool) -> String {
    let mut begins = true;
    let case = |c: char| {
        let cased = if begins { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        begins = every_word && is_space(c);
        cased
    };
    text.chars().map(case).collect()
}

fn strip(text: &Text, args: &Args, left: bool, right: bool) -> Value {
    let chars = args.get("chars", 0);
    let wanted = |c: char| chars.as_str().map_or_else(|| is_space(c), |chars| chars.contains(c));
    let all = text.as_str();
    let start = if left { all.len() - all.trim_start_matches(wanted).len() } else { 0 };
    let end = if right { all.trim_end_matches(wanted).len() } else { all.len() };
    Value::text(text.slice(start..end.max(start)))
}

fn split(interp: &mut Interp, text: &Text, args: &Args, from_end: bool) -> Result<Value, Fault> {
    let separator = args.get("sep", 0);
    let separator = separator.as_str().unwrap_or(" ");
    if separator.is_empty() {
        return failed("a text cannot be split at nothing");
    }
    let most = args.get("maxsplit", 1).as_int().and_then(|n| usize::try_from(n).ok());
    let most = most.unwrap_or(usize::MAX);
    let all = text.as_str();
    let mut cuts: Vec<usize> = if from_end {
        all.rmatch_indices(separator).take(most).map(|(at, _)| at).collect()
    } else {
        all.match_indices(separator).take(most).map(|(at, _)| at).collect()
    };
    cuts.sort_unstable();
    interp.budget.steps(cuts.len() as u64)?;
    let mut parts = Vec::new();
    let mut start = 0;
    for cut in cuts {
        parts.push(Value::text(text.slice(start..cut)));
        start = cut + separator.len();
    }
    parts.push(Value::text(text.slice(start..text.len())));
    Ok(Value::list(parts))
}

fn replace(interp: &mut Interp, text: &Text, args: &Args) -> Result<Value, Fault> {
    let old = args.str(0)?;
    let Value::Str(new) = args.get("new", 1) else { return failed("replace by what?") };
    let most = args.get("count", 2).as_int().and_then(|n| usize::try_from(n).ok());
    let mut out = Text::default();
    let mut start = 0;
    for (at, _) in text.as_str().match_indices(old).take(most.unwrap_or(usize::MAX)) {
        interp.budget.steps(1)?;
        interp.budget.bytes(at - start + new.text.len())?;
        out.push(&text.slice(start..at));
        // What stands within the conversation's text is not the template's.
        match text.slice(at..(at + old.len()).max(at + 1).min(text.len())).into_parts().1.is_empty()
        {
            true => out.push(&new.text),
            false => out.push_str(new.text.as_str(), true),
        }
        start = at + old.len();
    }
    out.push(&text.slice(start..text.len()));
    Ok(Value::text(out))
}

/// `"a {} c".format(b)`
fn format(text: &Text, args: &Args) -> Result<Value, Fault> {
    let mut out = Text::default();
    let mut values = args.positional.iter();
    let mut start = 0;
    for (at, _) in text.as_str().match_indices('{') {
        if text.as_str().as_bytes().get(at + 1) != Some(&b'}') {
            return failed("format knows {} only");
        }
        out.push(&text.slice(start..at));
        let Some(value) = values.next() else { return failed("format has too few arguments") };
        out.push(&value.to_text()?.unwrap_or_default());
        start = at + 2;
    }
    out.push(&text.slice(start..text.len()));
    Ok(Value::text(out))
}

fn indent(interp: &mut Interp, text: &Text, args: &Args) -> Result<Value, Fault> {
    let width = match args.get("width", 0) {
        Value::Int(n) => " ".repeat(usize::try_from(n).unwrap_or(0).min(1 << 10)),
        Value::Str(s) => s.text.as_str().to_owned(),
        _ => "    ".to_owned(),
    };
    let (first, blank) = (args.get("first", 1).is_true(), args.get("blank", 2).is_true());
    let mut out = Text::default();
    let mut start = 0;
    for (i, line) in text.as_str().split('\n').enumerate() {
        interp.budget.bytes(line.len() + width.len())?;
        out.push_str(if i > 0 { "\n" } else { "" }, false);
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&width, false);
        }
        out.push(&text.slice(start..start + line.len()));
        start += line.len() + 1;
    }
    Ok(Value::text(out))
}
