//! What a template computes with.
use crate::{ast::Macro, budget::MAX_VALUE_DEPTH, text::Text};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Rc<Str>),
    List(Rc<List>),
    Map(Rc<Map>),
    Func(Rc<Func>),
}

/// How a template used a value of the conversation: what it can do is found out by watching it (`caps.rs`).
#[derive(Debug, Default)]
pub(crate) struct Probe {
    pub(crate) used: Cell<bool>,
    /// Iterated, indexed or filtered like a list.
    pub(crate) as_list: Cell<bool>,
    /// Asked whether it is a string.
    pub(crate) asked_string: Cell<bool>,
}

#[derive(Debug, Default)]
pub(crate) struct Str {
    pub(crate) text: Text,
    pub(crate) probe: Option<Rc<Probe>>,
}

#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) items: RefCell<Vec<Value>>,
    pub(crate) is_tuple: bool,
    pub(crate) probe: Option<Rc<Probe>>,
}

#[derive(Debug, Default)]
pub(crate) struct Map {
    /// In the order of insertion.
    pub(crate) entries: RefCell<Vec<(Value, Value)>>,
    /// The variable `loop` has attributes, but no methods.
    pub(crate) is_loop: bool,
    pub(crate) probe: Option<Rc<Probe>>,
}

#[derive(Debug)]
pub(crate) enum Func {
    /// `range`, `namespace`, …
    Global(&'static str),
    /// A method with what it belongs to.
    Method(String, Value),
    Macro(Arc<Macro>),
    /// The body of a `call` block, and the number of scopes that it sees.
    Caller(Arc<Macro>, usize),
}

/// Lists in lists in lists: what holds the last reference frees them one by one, not by recursion.
impl Drop for List {
    fn drop(&mut self) {
        free(std::mem::take(self.items.get_mut()));
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        let entries = std::mem::take(self.entries.get_mut());
        free(entries.into_iter().flat_map(|(key, value)| [key, value]).collect());
    }
}

impl Drop for Func {
    fn drop(&mut self) {
        if let Self::Method(_, value) = self {
            free(vec![std::mem::replace(value, Value::Undefined)]);
        }
    }
}

fn free(mut values: Vec<Value>) {
    while let Some(value) = values.pop() {
        match value {
            Value::List(list) => {
                if let Some(mut list) = Rc::into_inner(list) {
                    values.append(list.items.get_mut());
                }
            }
            Value::Map(map) => {
                if let Some(mut map) = Rc::into_inner(map) {
                    let entries = std::mem::take(map.entries.get_mut());
                    values.extend(entries.into_iter().flat_map(|(key, value)| [key, value]));
                }
            }
            Value::Func(func) => {
                if let Some(mut func) = Rc::into_inner(func)
                    && let Func::Method(_, value) = &mut func
                {
                    values.push(std::mem::replace(value, Value::Undefined));
                }
            }
            _ => {}
        }
    }
}

/// A value that is nested too deeply to be looked at as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooDeep;

impl Value {
    /// Text of the template's own.
    pub(crate) fn str(text: &str) -> Self {
        Self::text(Text::new(text, false))
    }

    pub(crate) fn text(text: Text) -> Self {
        Self::Str(Rc::new(Str { text, probe: None }))
    }

    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(List { items: RefCell::new(items), is_tuple: false, probe: None }))
    }

    pub(crate) fn tuple(items: Vec<Self>) -> Self {
        Self::List(Rc::new(List { items: RefCell::new(items), is_tuple: true, probe: None }))
    }

    pub(crate) fn map(entries: Vec<(Self, Self)>) -> Self {
        Self::Map(Rc::new(Map { entries: RefCell::new(entries), is_loop: false, probe: None }))
    }

    /// What errors call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::None => "none",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Str(_) => "a string",
            Self::List(list) if list.is_tuple => "a tuple",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Func(_) => "a function",
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(n) => *n != 0,
            Self::Float(x) => *x != 0.0,
            Self::Str(s) => !s.text.is_empty(),
            Self::List(list) => !list.items.borrow().is_empty(),
            Self::Map(map) => !map.entries.borrow().is_empty(),
            Self::Func(_) => true,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::Str(s) = self { Some(s.text.as_str()) } else { None }
    }

    /// Integers, and what the engine takes for them.
    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Bool(b) => Some(i64::from(*b)),
            Self::Float(x) => Some(to_int(*x)),
            _ => None,
        }
    }

    /// A number (not a boolean) as one that can be calculated with.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "llama.cpp calculates in doubles, too")]
            Self::Int(n) => Some(*n as f64),
            Self::Float(x) => Some(*x),
            _ => None,
        }
    }

    pub(crate) fn probe(&self) -> Option<&Probe> {
        match self {
            Self::Str(s) => s.probe.as_deref(),
            Self::List(list) => list.probe.as_deref(),
            Self::Map(map) => map.probe.as_deref(),
            _ => None,
        }
    }

    /// Remembers that the template used this value.
    pub(crate) fn mark_used(&self) {
        if let Some(probe) = self.probe() {
            probe.used.set(true);
        }
    }

    /// And that it used it as a list.
    pub(crate) fn mark_as_list(&self) {
        if let Some(probe) = self.probe() {
            probe.used.set(true);
            probe.as_list.set(true);
        }
    }

    /// And all that is in it.
    pub(crate) fn mark_all_used(&self, depth: usize) {
        self.mark_used();
        if depth == MAX_VALUE_DEPTH || self.probe().is_none() {
            return;
        }
        match self {
            Self::List(list) => {
                list.items.borrow().iter().for_each(|item| item.mark_all_used(depth + 1));
            }
            Self::Map(map) => {
                map.entries.borrow().iter().for_each(|(_, value)| value.mark_all_used(depth + 1));
            }
            _ => {}
        }
    }

    /// `==` as llama.cpp has it: lists and maps are equal if they hold nothing but equal plain values.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        let number = |value: &Self| match value {
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            _ => value.as_number(),
        };
        let plain = |value: &Self| !matches!(value, Self::List(_) | Self::Map(_) | Self::Func(_));
        match (self, other) {
            (Self::Undefined, Self::Undefined) | (Self::None, Self::None) => true,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => a.text.as_str() == b.text.as_str(),
            (Self::List(a), Self::List(b)) => {
                let (c, d) = (a.items.borrow(), b.items.borrow());
                let same = |(x, y): (&Self, &Self)| plain(x) && plain(y) && x.equals(y);
                a.is_tuple == b.is_tuple && c.len() == d.len() && c.iter().zip(d.iter()).all(same)
            }
            (Self::Map(a), Self::Map(b)) => {
                let (c, d) = (a.entries.borrow(), b.entries.borrow());
                let same = |((k, x), (l, y)): (&(Self, Self), &(Self, Self))| {
                    k.equals(l) && plain(x) && plain(y) && x.equals(y)
                };
                c.len() == d.len() && c.iter().zip(d.iter()).all(same)
            }
            _ => match (number(self), number(other)) {
                #[expect(clippy::float_cmp, reason = "the language's own comparison")]
                (Some(a), Some(b)) => a == b,
                _ => false,
            },
        }
    }

    /// The text that `{{ value ~ "" }}` gives; nothing for what has none.
    pub(crate) fn to_text(&self) -> Result<Option<Text>, TooDeep> {
        Ok(Some(match self {
            Self::Undefined | Self::Func(_) => return Ok(None),
            Self::None => Text::new("None", false),
            Self::Bool(b) => Text::new(if *b { "True" } else { "False" }, false),
            Self::Int(n) => Text::new(&n.to_string(), false),
            Self::Float(x) => Text::new(&float(*x), false),
            Self::Str(s) => s.text.clone(),
            Self::List(_) | Self::Map(_) => {
                let mut out = Text::default();
                self.repr(&mut out, 0)?;
                out
            }
        }))
    }

    /// As Python shows it within a list.
    fn repr(&self, out: &mut Text, depth: usize) -> Result<(), TooDeep> {
        if depth > MAX_VALUE_DEPTH {
            return Err(TooDeep);
        }
        match self {
            Self::Str(s) if s.text.as_str().contains('\'') => crate::json::string(&s.text, out),
            Self::Str(s) => {
                out.push_str("'", false);
                out.push(&s.text);
                out.push_str("'", false);
            }
            Self::List(list) => {
                let (open, close) = if list.is_tuple { ("(", ")") } else { ("[", "]") };
                out.push_str(open, false);
                let items = list.items.borrow();
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" }, false);
                    item.repr(out, depth + 1)?;
                }
                out.push_str(if list.is_tuple && items.len() == 1 { "," } else { "" }, false);
                out.push_str(close, false);
            }
            Self::Map(map) => {
                out.push_str("{", false);
                for (i, (key, value)) in map.entries.borrow().iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" }, false);
                    key.repr(out, depth + 1)?;
                    out.push_str(": ", false);
                    value.repr(out, depth + 1)?;
                }
                out.push_str("}", false);
            }
            _ => {
                if let Some(text) = self.to_text()? {
                    out.push(&text);
                }
            }
        }
        Ok(())
    }
}

impl Map {
    pub(crate) fn get(&self, key: &Value) -> Option<Value> {
        let entries = self.entries.borrow();
        entries.iter().find(|(k, _)| k.equals(key)).map(|(_, value)| value.clone())
    }

    pub(crate) fn set(&self, key: Value, value: Value) {
        let mut entries = self.entries.borrow_mut();
        match entries.iter_mut().find(|(k, _)| k.equals(&key)) {
            Some((_, place)) => *place = value,
            None => entries.push((key, value)),
        }
    }
}

/// A float as an integer: cut off, and within its bounds.
#[expect(clippy::cast_possible_truncation, reason = "`as` is that conversion")]
pub(crate) fn to_int(x: f64) -> i64 {
    x as i64
}

/// Six digits behind the point, without zeros at the end but one.
fn float(x: f64) -> String {
    let text = format!("{x:.6}");
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}
