//! Methods and filters of lists.
use crate::{
    calls::{self, Args},
    eval::{Fault, Interp, failed},
    text::Text,
    value::{List, Value},
};
use std::cmp::Ordering;

pub(crate) const METHODS: &[&str] = &[
    "append",
    "default",
    "first",
    "join",
    "last",
    "length",
    "list",
    "map",
    "max",
    "min",
    "pop",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "tojson",
    "unique",
];

/// `None` for a method that there is not.
pub(crate) fn method(
    interp: &mut Interp,
    name: &str,
    list: &List,
    args: &Args,
) -> Result<Option<Value>, Fault> {
    if name == "append" {
        let item = args.first()?.clone();
        list.items.borrow_mut().push(item);
        return Ok(Some(Value::None));
    }
    if name == "pop" {
        return pop(list, args).map(Some);
    }
    let items = list.items.borrow().clone();
    interp.budget.steps(items.len() as u64)?;
    let again = |items| if list.is_tuple { Value::tuple(items) } else { Value::list(items) };
    Ok(Some(match name {
        "list" => Value::list(items),
        "first" => items.first().cloned().unwrap_or(Value::Undefined),
        "last" => items.last().cloned().unwrap_or(Value::Undefined),
        "length" => Value::Int(i64::try_from(items.len()).unwrap_or(i64::MAX)),
        "reverse" => again(items.into_iter().rev().collect()),
        "join" => join(interp, &items, args)?,
        "map" => {
            let attribute = args.get("attribute", usize::MAX);
            if matches!(attribute, Value::Undefined) {
                return mapped(interp, items, args).map(Some);
            }
            let default = args.get("default", usize::MAX);
            again(items.iter().map(|item| attribute_or(item, &attribute, &default)).collect())
        }
        "select" | "selectattr" => select(&items, name, args, true)?,
        "reject" | "rejectattr" => select(&items, name, args, false)?,
        "sort" => {
            let reverse = args.get("reverse", 0).is_true();
            let attribute = args.get("attribute", 2);
            again(sorted(interp, items, |item| key(item, &attribute), reverse)?)
        }
        "min" | "max" => extreme(&items, args, name == "max"),
        "unique" => {
            let mut kept: Vec<Value> = Vec::new();
            for item in items {
                interp.budget.steps(kept.len() as u64 / 8)?;
                if !kept.iter().any(|other| other.equals(&item)) {
                    kept.push(item);
                }
            }
            Value::list(kept)
        }
        "sum" => {
            let numbers = items.iter().map(|item| item.as_number().unwrap_or(0.0));
            let sum = numbers.sum::<f64>();
            let floats = items.iter().any(|item| matches!(item, Value::Float(_)));
            if floats { Value::Float(sum) } else { Value::Int(crate::value::to_int(sum)) }
        }
        _ => return Ok(None),
    }))
}

fn pop(list: &List, args: &Args) -> Result<Value, Fault> {
    let mut items = list.items.borrow_mut();
    let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let at = args.get("index", 0).as_int().unwrap_or(-1);
    let at = if at < 0 { at.saturating_add(len) } else { at };
    match usize::try_from(at) {
        Ok(at) if at < items.len() => Ok(items.remove(at)),
        _ => failed("pop from a place where the list has nothing"),
    }
}

fn join(interp: &mut Interp, items: &[Value], args: &Args) -> Result<Value, Fault> {
    let between = args.get("d", 0);
    let between = match &between {
        Value::Str(s) => s.text.clone(),
        _ => Text::default(),
    };
    let attribute = args.get("attribute", 1);
    let mut out = Text::default();
    for (i, item) in items.iter().enumerate() {
        let item = key(item, &attribute);
        if !matches!(item, Value::Str(_) | Value::Int(_) | Value::Float(_)) {
            return failed(format!("join takes strings and numbers, not {}", item.kind()));
        }
        if i > 0 {
            out.push(&between);
        }
        let text = item.to_text()?.unwrap_or_default();
        interp.budget.bytes(between.len() + text.len())?;
        out.push(&text);
    }
    Ok(Value::text(out))
}

/// `map("filter", args)`
fn mapped(interp: &mut Interp, items: Vec<Value>, args: &Args) -> Result<Value, Fault> {
    let name = args.str(0)?.to_owned();
    let rest = Args { positional: args.positional[1..].to_vec(), named: args.named.clone() };
    let each = |item| calls::filter(interp, &name, item, &rest, false);
    Ok(Value::list(items.into_iter().map(each).collect::<Result<_, _>>()?))
}

/// `select(test)`, `selectattr(name)`, `selectattr(name, test, argument)` and their opposites.
fn select(items: &[Value], name: &str, args: &Args, wanted: bool) -> Result<Value, Fault> {
    let (attribute, rest) = match args.positional.split_first() {
        Some((first, rest)) if name.ends_with("attr") => (first.clone(), rest),
        _ => (Value::Undefined, args.positional.as_slice()),
    };
    let mut kept = Vec::new();
    for item in items {
        let value = key(item, &attribute);
        let passes = match rest.split_first() {
            None => value.is_true(),
            Some((test, rest)) => {
                let Some(test) = test.as_str() else {
                    return failed(format!("the test is {}, not a name", test.kind()));
                };
                let args = Args { positional: rest.to_vec(), named: Vec::new() };
                calls::test(test, &value, &args)?
            }
        };
        if passes == wanted {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(kept))
}

/// The item, or its attribute if one is given.
fn key(item: &Value, attribute: &Value) -> Value {
    if matches!(attribute, Value::Undefined) {
        return item.clone();
    }
    attribute_or(item, attribute, &Value::Undefined)
}

fn attribute_or(item: &Value, attribute: &Value, default: &Value) -> Value {
    let found = match (item, attribute) {
        (Value::Map(map), key) => map.get(key),
        (Value::List(list), key) => {
            let at = key.as_int().or_else(|| key.as_str().and_then(|text| text.parse().ok()));
            let at = at.and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| list.items.borrow().get(at).cloned())
        }
        _ => None,
    };
    found.inspect(Value::mark_used).unwrap_or_else(|| default.clone())
}

/// Sorts: numbers by their size if all keys are some, else everything by its text.
pub(crate) fn sorted<T>(
    interp: &mut Interp,
    items: Vec<T>,
    key: impl Fn(&T) -> Value,
    reverse: bool,
) -> Result<Vec<T>, Fault> {
    let n = items.len() as u64;
    interp.budget.steps(n * u64::from(n.max(1).ilog2() + 1))?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        let key = key(&item);
        let text = key.to_text()?.unwrap_or_default();
        interp.budget.bytes(text.len())?;
        keyed.push((key.as_number(), text, item));
    }
    let all_numbers = keyed.iter().all(|(number, _, _)| number.is_some());
    keyed.sort_by(|(a, c, _), (b, d, _)| {
        let order = match (a, b) {
            (Some(a), Some(b)) if all_numbers => a.total_cmp(b),
            _ => c.as_str().cmp(d.as_str()),
        };
        if reverse { order.reverse() } else { order }
    });
    Ok(keyed.into_iter().map(|(_, _, item)| item).collect())
}

/// Numbers by their size, all else by text; what has no order is equal.
fn compare(a: &Value, b: &Value) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_number(), b.as_number()) {
        return a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    }
    let text = |value: &Value| match value {
        Value::Str(_) | Value::Int(_) | Value::Float(_) => value.to_text().ok().flatten(),
        _ => None,
    };
    match (text(a), text(b)) {
        (Some(a), Some(b)) => a.as_str().cmp(b.as_str()),
        _ => Ordering::Equal,
    }
}

pub(crate) fn is_less(a: &Value, b: &Value) -> bool {
    compare(a, b) == Ordering::Less
}

fn extreme(items: &[Value], args: &Args, largest: bool) -> Value {
    let attribute = args.get("attribute", 1);
    let mut best: Option<&Value> = None;
    for item in items {
        let better = best.is_none_or(|best| {
            let order = compare(&key(item, &attribute), &key(best, &attribute));
            order == if largest { Ordering::Greater } else { Ordering::Less }
        });
        best = if better { Some(item) } else { best };
    }
    best.cloned().unwrap_or(Value::Undefined)
}
