//! Operators, subscripts and slices.
use crate::{
    ast::Op,
    budget::Budget,
    calls,
    eval::{Fault, failed},
    text::Text,
    value::{Func, Value, to_int},
};
use std::rc::Rc;

/// Everything but `and` and `or`, whose right side may not be looked at.
pub(crate) fn binary(
    op: Op,
    left: &Value,
    right: &Value,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    match op {
        Op::Eq => return Ok(Value::Bool(left.equals(right))),
        Op::Ne => return Ok(Value::Bool(!left.equals(right))),
        Op::In => return Ok(Value::Bool(contains(right, left)?)),
        Op::NotIn => return Ok(Value::Bool(!contains(right, left)?)),
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.as_number(), right.as_number())
        && let Some(value) = numbers(op, a, b, is_float(left) || is_float(right))
    {
        return Ok(value);
    }
    match (op, left, right) {
        (Op::Add, Value::List(a), Value::List(b)) => {
            let mut items = a.items.borrow().clone();
            items.extend(b.items.borrow().iter().cloned());
            budget.steps(items.len() as u64)?;
            Ok(Value::list(items))
        }
        (Op::Add | Op::Concat, a, b) if is_str(a) || is_str(b) || op == Op::Concat => {
            concat(a, b, budget)
        }
        (Op::Mul, Value::Str(s), Value::Int(n)) | (Op::Mul, Value::Int(n), Value::Str(s)) => {
            let n = usize::try_from(*n).unwrap_or(0);
            budget.bytes(s.text.len().saturating_mul(n))?;
            budget.steps(n as u64)?;
            let mut out = Text::default();
            (0..n).for_each(|_| out.push(&s.text));
            Ok(Value::text(out))
        }
        (Op::Lt | Op::Gt | Op::Le | Op::Ge, Value::Str(a), Value::Str(b)) => {
            let order = a.text.as_str().cmp(b.text.as_str());
            Ok(Value::Bool(match op {
                Op::Lt => order.is_lt(),
                Op::Gt => order.is_gt(),
                Op::Le => order.is_le(),
                _ => order.is_ge(),
            }))
        }
        _ => failed(format!("no such operation between {} and {}", left.kind(), right.kind())),
    }
}

fn is_str(value: &Value) -> bool {
    matches!(value, Value::Str(_))
}

fn is_float(value: &Value) -> bool {
    matches!(value, Value::Float(_))
}

/// Calculates in doubles; integers stay integers but for `/`.
fn numbers(op: Op, a: f64, b: f64, floats: bool) -> Option<Value> {
    let number = |x: f64| if floats { Value::Float(x) } else { Value::Int(to_int(x)) };
    Some(match op {
        Op::Add => number(a + b),
        Op::Sub => number(a - b),
        Op::Mul => number(a * b),
        Op::Div => Value::Float(a / b),
        Op::Rem => number(a % b),
        Op::Lt => Value::Bool(a < b),
        Op::Gt => Value::Bool(a > b),
        Op::Le => Value::Bool(a <= b),
        Op::Ge => Value::Bool(a >= b),
        _ => return None,
    })
}

/// `+` and `~` of strings; beside a string, `none` and undefined are empty.
fn concat(left: &Value, right: &Value, budget: &mut Budget) -> Result<Value, Fault> {
    let mut out = Text::default();
    for (value, other) in [(left, right), (right, left)] {
        let text = match value {
            Value::None | Value::Undefined if is_str(other) => continue,
            Value::None => None,
            value => value.to_text()?,
        };
        let Some(text) = text else {
            return failed(format!("{} cannot be joined to {}", value.kind(), other.kind()));
        };
        budget.bytes(text.len())?;
        out.push(&text);
    }
    Ok(Value::text(out))
}

/// `needle in haystack`
pub(crate) fn contains(haystack: &Value, needle: &Value) -> Result<bool, Fault> {
    match (haystack, needle) {
        (Value::Undefined, _) => Ok(false),
        (Value::List(list), _) => Ok(list.items.borrow().iter().any(|item| item.equals(needle))),
        (Value::Str(s), Value::Str(part)) => Ok(s.text.as_str().contains(part.text.as_str())),
        (Value::Map(map), _) => Ok(map.get(needle).is_some()),
        _ => failed(format!("{} cannot be in {}", needle.kind(), haystack.kind())),
    }
}

pub(crate) fn negate(value: &Value) -> Result<Value, Fault> {
    match value {
        Value::Int(n) => Ok(Value::Int(n.saturating_neg())),
        Value::Float(x) => Ok(Value::Float(-x)),
        other => failed(format!("{} cannot be negated", other.kind())),
    }
}

pub(crate) fn plus(value: Value) -> Result<Value, Fault> {
    match value {
        Value::Int(_) | Value::Float(_) => Ok(value),
        other => failed(format!("{} is no number", other.kind())),
    }
}

/// What may be a key of a map.
pub(crate) fn check_key(key: &Value) -> Result<(), Fault> {
    match key {
        Value::List(list) if !list.is_tuple => failed("a list cannot be a key"),
        Value::Map(_) | Value::Func(_) | Value::Undefined => {
            failed(format!("{} cannot be a key", key.kind()))
        }
        _ => Ok(()),
    }
}

/// `object.name`: a method goes before a key of the same name, as in Jinja.
pub(crate) fn attribute(object: &Value, name: &str) -> Value {
    object.mark_used();
    if calls::has_method(object, name) {
        return Value::Func(Rc::new(Func::Method(name.to_owned(), object.clone())));
    }
    let value = match object {
        Value::Map(map) => map.get(&Value::str(name)).unwrap_or(Value::Undefined),
        _ => Value::Undefined,
    };
    value.mark_used();
    value
}

/// `object[key]`
pub(crate) fn item(object: &Value, key: &Value) -> Result<Value, Fault> {
    if matches!(key, Value::Undefined) || matches!(object, Value::Undefined) {
        return Ok(Value::Undefined);
    }
    check_key(key)?;
    if matches!(key, Value::Int(_) | Value::Bool(_)) && !matches!(object, Value::Map(_)) {
        object.mark_as_list();
    } else {
        object.mark_used();
    }
    let method = |name: &str| {
        if calls::has_method(object, name) {
            Value::Func(Rc::new(Func::Method(name.to_owned(), object.clone())))
        } else {
            Value::Undefined
        }
    };
    let value = match (object, key) {
        (Value::Map(map), key) => match (map.get(key), key.as_str()) {
            (Some(value), _) => value,
            (None, Some(name)) => method(name),
            (None, None) => Value::Undefined,
        },
        (Value::List(list), Value::Int(_) | Value::Bool(_)) => {
            let items = list.items.borrow();
            let at = key.as_int().and_then(|n| index(n, items.len()));
            at.and_then(|at| items.get(at)).cloned().unwrap_or(Value::Undefined)
        }
        (Value::Str(s), Value::Int(_) | Value::Bool(_)) => {
            match key.as_int().and_then(|n| index(n, s.text.len())) {
                Some(at) => Value::text(s.text.pick(at..at + 1)),
                None => Value::Undefined,
            }
        }
        (_, key) => match key.as_str() {
            Some(name) => method(name),
            None if matches!(object, Value::List(_) | Value::Str(_)) => Value::Undefined,
            None => return failed(format!("{} has no items", object.kind())),
        },
    };
    value.mark_used();
    Ok(value)
}

/// An index from the front or, if negative, from the back.
fn index(n: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let at = if n < 0 { n.checked_add(len)? } else { n };
    usize::try_from(at).ok().filter(|at| i64::try_from(*at).is_ok_and(|at| at < len))
}

/// `object[start:stop:step]`; of strings, bytes are counted.
pub(crate) fn slice(
    object: &Value,
    bounds: [Option<i64>; 3],
    budget: &mut Budget,
) -> Result<Value, Fault> {
    match object {
        Value::List(list) => {
            let items = list.items.borrow();
            let places = places(items.len(), bounds)?;
            budget.steps(items.len() as u64)?;
            let items = places.filter_map(|at| items.get(at).cloned()).collect();
            Ok(if list.is_tuple { Value::tuple(items) } else { Value::list(items) })
        }
        Value::Str(s) => {
            let text = &s.text;
            budget.bytes(text.len())?;
            Ok(Value::text(text.pick(places(text.len(), bounds)?)))
        }
        Value::Undefined => failed("undefined cannot be sliced"),
        other => failed(format!("{} cannot be sliced", other.kind())),
    }
}

/// The indices of a slice, as Python counts them.
fn places(
    len: usize,
    [start, stop, step]: [Option<i64>; 3],
) -> Result<impl Iterator<Item = usize>, Fault> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return failed("a slice cannot have a step of 0");
    }
    let n = i64::try_from(len).unwrap_or(i64::MAX);
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let bound = |given: Option<i64>, default: i64| match given {
        None => default,
        Some(at) if at < 0 => at.saturating_add(n).clamp(low, high),
        Some(at) => at.clamp(low, high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (start, stop) = (bound(start, first), bound(stop, last));
    let mut at = start;
    Ok(std::iter::from_fn(move || {
        let inside = if step > 0 { at < stop } else { at > stop };
        let place = if inside { usize::try_from(at).ok() } else { None };
        at = at.saturating_add(step);
        place
    }))
}
