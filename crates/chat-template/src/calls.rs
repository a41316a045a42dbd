//! What templates can call: functions, tests, and filters and methods by the kind of value.
use crate::{
    eval::{Fault, Interp, failed},
    json, lists, maps, ops, strings,
    text::Text,
    value::{Func, Map, Value},
};
use std::{fmt::Write, rc::Rc};

/// Arguments of a call.
#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(String, Value)>,
}

impl Args {
    /// An argument by its name, else by its position; undefined if it is not there.
    pub(crate) fn get(&self, name: &str, position: usize) -> Value {
        let named = self.named.iter().find(|(n, _)| n == name).map(|(_, value)| value);
        named.or_else(|| self.positional.get(position)).cloned().unwrap_or(Value::Undefined)
    }

    pub(crate) fn first(&self) -> Result<&Value, Fault> {
        self.positional.first().ok_or_else(|| Fault::Failed("an argument is missing".to_owned()))
    }

    /// A string that must be there.
    pub(crate) fn str(&self, position: usize) -> Result<&str, Fault> {
        match self.positional.get(position).map(|value| (value, value.as_str())) {
            Some((_, Some(text))) => Ok(text),
            Some((value, None)) => {
                failed(format!("the argument is {}, not a string", value.kind()))
            }
            None => failed("an argument is missing"),
        }
    }

    /// Takes a named argument out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.named.iter().position(|(n, _)| n == name)?;
        Some(self.named.swap_remove(at).1)
    }
}

/// The functions there are.
const GLOBALS: &[&str] =
    &["raise_exception", "strftime_now", "range", "namespace", "dict", "tojson"];

/// A function by its name, or undefined.
pub(crate) fn global(name: &str) -> Value {
    let found = GLOBALS.iter().find(|global| **global == name);
    found.map_or(Value::Undefined, |name| Value::Func(Rc::new(Func::Global(name))))
}

pub(crate) fn call_global(interp: &mut Interp, name: &str, args: &Args) -> Result<Value, Fault> {
    match name {
        "raise_exception" => Err(Fault::Raised(args.str(0)?.to_owned())),
        "strftime_now" => strftime(interp, args.str(0)?),
        "range" => range(interp, args),
        "tojson" => tojson(interp, args.first()?, args, 1),
        _ => object(interp, args),
    }
}

fn strftime(interp: &Interp, format: &str) -> Result<Value, Fault> {
    let mut out = String::new();
    // An unknown letter fails to be written.
    match write!(out, "{}", interp.now.format(format)) {
        Ok(()) => Ok(Value::str(&out)),
        Err(_) => failed("strftime_now does not know that format"),
    }
}

fn range(interp: &mut Interp, args: &Args) -> Result<Value, Fault> {
    let mut bounds = Vec::new();
    for value in &args.positional {
        let Value::Int(n) = value else {
            return failed(format!("range takes integers, not {}", value.kind()));
        };
        bounds.push(*n);
    }
    let (start, stop, step) = match *bounds.as_slice() {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => return failed("range takes one to three integers"),
    };
    if step == 0 {
        return failed("range cannot have a step of 0");
    }
    let distance = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) };
    let n = u64::try_from(distance).unwrap_or(0).div_ceil(step.unsigned_abs());
    interp.budget.steps(n)?;
    let mut at = start;
    let mut items = Vec::new();
    for _ in 0..n {
        items.push(Value::Int(at));
        at = at.saturating_add(step);
    }
    Ok(Value::list(items))
}

/// `namespace(…)` and `dict(…)`: of a map or pairs, and named arguments.
fn object(interp: &mut Interp, args: &Args) -> Result<Value, Fault> {
    let map = Map::default();
    match args.positional.first() {
        None => {}
        Some(Value::Map(from)) => {
            let entries = from.entries.borrow().clone();
            interp.budget.steps(entries.len() as u64)?;
            map.entries.replace(entries);
        }
        Some(Value::List(from)) => {
            interp.budget.steps(from.items.borrow().len() as u64 * 8)?;
            for item in from.items.borrow().iter() {
                let pair = match item {
                    Value::List(pair) => pair.items.borrow().clone(),
                    _ => Vec::new(),
                };
                let [key, value] = pair.as_slice() else {
                    return failed("dict takes pairs of keys and values");
                };
                ops::check_key(key)?;
                map.set(key.clone(), value.clone());
            }
        }
        Some(other) => return failed(format!("a map cannot be made of {}", other.kind())),
    }
    for (name, value) in &args.named {
        map.set(Value::str(name), value.clone());
    }
    Ok(Value::Map(Rc::new(map)))
}

/// JSON of a value; `first` is the position of the first option among the arguments.
pub(crate) fn tojson(
    interp: &mut Interp,
    value: &Value,
    args: &Args,
    first: usize,
) -> Result<Value, Fault> {
    value.mark_all_used(0);
    let ascii = args.get("ensure_ascii", first).is_true();
    let indent = match args.get("indent", first + 1) {
        Value::Int(n) => Some(usize::try_from(n).unwrap_or(0)),
        _ => None,
    };
    let separators = match args.get("separators", first + 2) {
        Value::List(list) => {
            let items = list.items.borrow();
            items.iter().map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
        }
        _ => Vec::new(),
    };
    if args.get("sort_keys", first + 3).is_true() {
        return failed("tojson cannot sort keys");
    }
    let item = separators.first().map_or(if indent.is_some() { "," } else { ", " }, String::as_str);
    let key = separators.get(1).map_or(": ", String::as_str);
    let mut out = Text::default();
    json::write(value, &json::Style { indent, item, key, ascii }, &mut out)?;
    interp.budget.bytes(out.len())?;
    Ok(Value::text(out))
}

/// `value is name(args)`
pub(crate) fn test(name: &str, value: &Value, args: &Args) -> Result<bool, Fault> {
    let int = || match value {
        Value::Int(n) => Ok(*n),
        other => failed(format!("{} is neither odd nor even", other.kind())),
    };
    Ok(match name {
        "boolean" => matches!(value, Value::Bool(_)),
        "callable" => matches!(value, Value::Func(_)),
        "odd" => int()? % 2 != 0,
        "even" => int()? % 2 == 0,
        "false" => matches!(value, Value::Bool(false)),
        "true" => matches!(value, Value::Bool(true)),
        "divisibleby" => {
            let by = args.first()?.as_int().filter(|by| *by != 0);
            let by = by.ok_or_else(|| Fault::Failed("not divisible by that".to_owned()))?;
            int()?.checked_rem(by) == Some(0)
        }
        "string" => {
            if let Some(probe) = value.probe() {
                probe.asked_string.set(true);
            }
            matches!(value, Value::Str(_))
        }
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => matches!(value, Value::Int(_) | Value::Float(_)),
        "iterable" | "sequence" => {
            matches!(value, Value::Map(_) | Value::List(_) | Value::Str(_) | Value::Undefined)
        }
        "mapping" => matches!(value, Value::Map(_)),
        "lower" => !value.as_str().is_some_and(|text| text.contains(char::is_uppercase)),
        "upper" => !value.as_str().is_some_and(|text| text.contains(char::is_lowercase)),
        "none" => matches!(value, Value::None),
        "defined" => !matches!(value, Value::Undefined),
        "undefined" => matches!(value, Value::Undefined),
        "eq" | "equalto" | "==" => value.equals(args.first()?),
        "ne" | "!=" => !value.equals(args.first()?),
        "ge" | "gt" | "greaterthan" | "lt" | "lessthan" => {
            let less = lists::is_less(value, args.first()?);
            let greater = lists::is_less(args.first()?, value);
            match name {
                "ge" => !less && (greater || value.equals(args.first()?)),
                "gt" | "greaterthan" => greater,
                _ => less,
            }
        }
        "in" => ops::contains(args.first()?, value)?,
        "sameas" => same(value, args.first()?),
        _ => return failed(format!("unknown test {name}")),
    })
}

/// Whether two values are one and the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
        (Value::Map(a), Value::Map(b)) => Rc::ptr_eq(a, b),
        (Value::Str(a), Value::Str(b)) => Rc::ptr_eq(a, b),
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        _ => false,
    }
}

/// Other names of filters.
fn canonical(name: &str) -> &str {
    match name {
        "count" => "length",
        "d" => "default",
        "trim" => "strip",
        name => name,
    }
}

/// Filters that take anything for its text, if they have no arguments.
const OF_TEXT: &[&str] =
    &["capitalize", "lower", "replace", "strip", "title", "upper", "wordcount"];

/// `value | name(args)`
pub(crate) fn filter(
    interp: &mut Interp,
    name: &str,
    value: Value,
    args: &Args,
    has_parens: bool,
) -> Result<Value, Fault> {
    let name = canonical(name);
    let is_text = matches!(value, Value::Undefined | Value::Str(_));
    let value = if !has_parens && !is_text && OF_TEXT.contains(&name) {
        Value::text(value.to_text()?.unwrap_or_default())
    } else {
        value
    };
    method(interp, name, &value, args)
}

/// Whether values of this kind have a method of that name.
pub(crate) fn has_method(value: &Value, name: &str) -> bool {
    let names: &[&str] = match value {
        Value::Str(_) => strings::METHODS,
        Value::List(_) => lists::METHODS,
        Value::Map(map) if map.is_loop => &[],
        Value::Map(_) => maps::METHODS,
        _ => &[],
    };
    names.contains(&name)
}

/// Calls a method or filter.
pub(crate) fn method(
    interp: &mut Interp,
    name: &str,
    input: &Value,
    args: &Args,
) -> Result<Value, Fault> {
    input.mark_used();
    if ["select", "selectattr", "reject", "rejectattr"].contains(&name) {
        input.mark_as_list();
    }
    if let Some(value) = of_any(interp, name, input, args)? {
        return Ok(value);
    }
    let value = match input {
        Value::Str(s) => strings::method(interp, name, &s.text, args)?,
        Value::List(list) => lists::method(interp, name, list, args)?,
        Value::Map(map) => maps::method(interp, name, map, args)?,
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => number(name, input),
        Value::None | Value::Undefined => empty(name, input),
        Value::Func(_) => None,
    };
    value.map_or_else(|| failed(format!("{} has no filter or method {name}", input.kind())), Ok)
}

/// What every kind of value has.
fn of_any(
    interp: &mut Interp,
    name: &str,
    input: &Value,
    args: &Args,
) -> Result<Option<Value>, Fault> {
    Ok(match name {
        "default" => {
            let falsy = args.get("boolean", 1).is_true() && !input.is_true();
            // A string is never replaced but for `boolean`, which the other test says.
            let missing = matches!(input, Value::Undefined | Value::None);
            let other = args.get("default_value", 0);
            Some(if missing || falsy {
                if matches!(other, Value::Undefined) { Value::str("") } else { other }
            } else {
                input.clone()
            })
        }
        "tojson" => Some(tojson(interp, input, args, 0)?),
        "string" | "safe" => {
            input.mark_all_used(0);
            Some(match input {
                Value::Str(_) => input.clone(),
                Value::Float(_) => tojson(interp, input, args, 0)?,
                _ => {
                    let text = input.to_text()?.unwrap_or_default();
                    interp.budget.bytes(text.len())?;
                    Value::text(text)
                }
            })
        }
        _ => None,
    })
}

fn number(name: &str, input: &Value) -> Option<Value> {
    Some(match (name, input) {
        ("int", _) => Value::Int(input.as_int()?),
        ("float", Value::Bool(b)) => Value::Float(f64::from(u8::from(*b))),
        ("float", _) => Value::Float(input.as_number()?),
        ("abs", Value::Int(n)) => Value::Int(n.saturating_abs()),
        ("abs", Value::Float(x)) => Value::Float(x.abs()),
        _ => return None,
    })
}

/// What filters make of nothing.
fn empty(name: &str, input: &Value) -> Option<Value> {
    Some(match name {
        "items" | "map" | "reject" | "rejectattr" | "select" | "selectattr" | "unique" => {
            Value::list(Vec::new())
        }
        _ if matches!(input, Value::None) => return None,
        "list" | "reverse" | "sort" => Value::list(Vec::new()),
        "length" | "sum" | "wordcount" => Value::Int(0),
        "first" | "last" | "max" | "min" => Value::Undefined,
        "capitalize" | "join" | "lower" | "replace" | "strip" | "title" | "truncate" | "upper" => {
            Value::str("")
        }
        _ => return None,
    })
}
