//! Methods and filters of maps.
use crate::{
    calls::Args,
    eval::{Fault, Interp},
    lists,
    value::{Map, Value},
};

pub(crate) const METHODS: &[&str] =
    &["dictsort", "get", "items", "keys", "length", "string", "tojson", "values"];

/// `None` for a method that there is not.
pub(crate) fn method(
    interp: &mut Interp,
    name: &str,
    map: &Map,
    args: &Args,
) -> Result<Option<Value>, Fault> {
    let entries = map.entries.borrow();
    interp.budget.steps(entries.len() as u64)?;
    let each = |part: fn(&(Value, Value)) -> Value| Value::list(entries.iter().map(part).collect());
    Ok(Some(match name {
        "get" => {
            let default = args.positional.get(1).cloned().unwrap_or(Value::None);
            map.get(args.first()?).inspect(Value::mark_used).unwrap_or(default)
        }
        "keys" | "list" => each(|(key, _)| key.clone()),
        "values" => each(|(_, value)| value.clone()),
        "items" => each(|(key, value)| Value::tuple(vec![key.clone(), value.clone()])),
        "length" => Value::Int(i64::try_from(entries.len()).unwrap_or(i64::MAX)),
        "dictsort" => {
            let by_value = args.get("by", 1).as_str() == Some("value");
            let reverse = args.get("reverse", 2).is_true();
            let key = |(key, value): &(Value, Value)| if by_value { value } else { key }.clone();
            Value::map(lists::sorted(interp, entries.clone(), key, reverse)?)
        }
        _ => return Ok(None),
    }))
}
