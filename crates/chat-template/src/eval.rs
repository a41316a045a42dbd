//! Running a template: statements, scopes, and what expressions are.
//!
//! The meaning is that of llama.cpp's engine where it differs from Jinja's own: a macro sees the variables of whoever
//! calls it, a loop has one scope for all of its rounds, nothing is printed for `none`.
use crate::{
    ast::{Arg, Call, Expr, For, Kind, Macro, Names, Op, Stmt, Target},
    budget::{Budget, Excess, MAX_DEPTH, ROUND_STEPS},
    calls::{self, Args},
    ops,
    text::Text,
    value::{Func, Map, TooDeep, Value},
};
use chrono::NaiveDateTime;
use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

/// Why rendering stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something cannot be done.
    Failed(String),
    /// `raise_exception`
    Raised(String),
    Excess(Excess),
}

impl From<Excess> for Fault {
    fn from(excess: Excess) -> Self {
        Self::Excess(excess)
    }
}

impl From<TooDeep> for Fault {
    fn from(TooDeep: TooDeep) -> Self {
        Self::Excess(Excess::ValueDepth)
    }
}

pub(crate) fn failed<T>(problem: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Failed(problem.into()))
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// A template being run.
#[derive(Debug)]
pub(crate) struct Interp {
    scopes: Vec<HashMap<String, Value>>,
    pub(crate) budget: Budget,
    depth: usize,
    /// The expression last begun: errors name its line.
    pub(crate) pos: usize,
    pub(crate) now: NaiveDateTime,
}

impl Interp {
    pub(crate) fn new(globals: Vec<(&str, Value)>, budget: Budget, now: NaiveDateTime) -> Self {
        let mut scope: HashMap<String, Value> =
            globals.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for (name, value) in [
            ("true", Value::Bool(true)),
            ("True", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("False", Value::Bool(false)),
            ("none", Value::None),
            ("None", Value::None),
        ] {
            scope.insert(name.to_owned(), value);
        }
        Self { scopes: vec![scope], budget, depth: 0, pos: 0, now }
    }

    /// Runs a whole template.
    pub(crate) fn run(&mut self, body: &[Stmt]) -> Result<Text, Fault> {
        let mut out = Text::default();
        self.block(body, &mut out)?;
        Ok(out)
    }

    /// One level deeper.
    fn entered<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.budget.steps(1)?;
        if self.depth == MAX_DEPTH {
            return Err(Excess::Depth.into());
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn block(&mut self, body: &[Stmt], out: &mut Text) -> Result<Flow, Fault> {
        self.entered(|interp| {
            for stmt in body {
                let flow = interp.statement(stmt, out)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    /// A block whose text is a value.
    fn captured(&mut self, body: &[Stmt]) -> Result<Text, Fault> {
        let mut out = Text::default();
        match self.block(body, &mut out)? {
            Flow::Next => Ok(out),
            Flow::Break | Flow::Continue => failed("break or continue outside a loop"),
        }
    }

    fn write(&mut self, text: &Text, out: &mut Text) -> Result<(), Fault> {
        self.budget.bytes(text.len())?;
        out.push(text);
        if out.len() as u64 > self.budget.max_output {
            return Err(Excess::Output.into());
        }
        Ok(())
    }

    fn statement(&mut self, stmt: &Stmt, out: &mut Text) -> Result<Flow, Fault> {
        self.budget.steps(1)?;
        match stmt {
            Stmt::Text(text) => self.write(&Text::new(text, false), out)?,
            Stmt::Emit(expr) => {
                let value = self.eval(expr)?;
                self.emit(&value, out, 0)?;
            }
            Stmt::If(branches, otherwise) => {
                let mut body = otherwise;
                for (condition, then) in branches {
                    if self.eval(condition)?.is_true() {
                        body = then;
                        break;
                    }
                }
                // What was written before a `break` is lost, as in llama.cpp.
                let start = out.len();
                let flow = self.block(body, out)?;
                if flow != Flow::Next {
                    out.truncate(start);
                }
                return Ok(flow);
            }
            Stmt::For(stmt) => self.for_loop(stmt, out)?,
            Stmt::Set(target, value) => {
                let value = self.eval(value)?;
                self.assign(target, value)?;
            }
            Stmt::SetBlock(target, body) => {
                let text = self.captured(body)?;
                self.assign(target, Value::text(text))?;
            }
            Stmt::Macro(definition) => {
                let func = Value::Func(Rc::new(Func::Macro(Arc::clone(definition))));
                self.set(&definition.name, func);
            }
            Stmt::CallBlock { callee, args, caller } => {
                let args = self.args(args)?;
                let callee = self.eval(callee)?;
                let caller = Func::Caller(Arc::clone(caller), self.scopes.len());
                let scope = [("caller".to_owned(), Value::Func(Rc::new(caller)))].into();
                let value = self.scoped(scope, |interp| interp.call(&callee, args))?;
                self.emit(&value, out, 0)?;
            }
            Stmt::FilterBlock { filter, body } => {
                let text = Value::text(self.captured(body)?);
                let value = self.filter(text, filter)?;
                self.emit(&value, out, 0)?;
            }
            Stmt::Break => return Ok(Flow::Break),
            Stmt::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// Prints a value: a list's items one after the other; nothing for maps, functions, `none` and undefined.
    fn emit(&mut self, value: &Value, out: &mut Text, depth: usize) -> Result<(), Fault> {
        match value {
            Value::Str(s) => self.write(&s.text, out),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                let text = value.to_text()?.unwrap_or_default();
                self.write(&text, out)
            }
            Value::List(_) if depth > crate::budget::MAX_VALUE_DEPTH => {
                Err(Excess::ValueDepth.into())
            }
            Value::List(list) => {
                let items = list.items.borrow();
                items.iter().try_for_each(|item| self.emit(item, out, depth + 1))
            }
            _ => Ok(()),
        }
    }

    /// With one more scope.
    fn scoped<T>(
        &mut self,
        scope: HashMap<String, Value>,
        run: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.scopes.push(scope);
        let result = run(self);
        self.scopes.pop();
        result
    }

    fn set(&mut self, name: &str, value: Value) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), value);
        }
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<(), Fault> {
        match target {
            Target::Names(names) => self.unpack(names, value),
            Target::Attr(object, name) => match self.eval(object)? {
                Value::Map(map) => {
                    self.budget.steps(map.entries.borrow().len() as u64 / 8)?;
                    map.set(Value::str(name), value);
                    Ok(())
                }
                other => failed(format!("{} has no attributes to set", other.kind())),
            },
        }
    }

    fn unpack(&mut self, names: &Names, value: Value) -> Result<(), Fault> {
        match (names, value) {
            (Names::One(name), value) => self.set(name, value),
            (Names::Several(names), Value::List(list)) => {
                let items = list.items.borrow().clone();
                if items.len() != names.len() {
                    return failed(format!("{} values for {} names", items.len(), names.len()));
                }
                names.iter().zip(items).for_each(|(name, item)| self.set(name, item));
            }
            (Names::Several(_), other) => {
                return failed(format!("{} cannot be unpacked", other.kind()));
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, stmt: &For, out: &mut Text) -> Result<(), Fault> {
        let iterable = self.eval(&stmt.iter)?;
        iterable.mark_as_list();
        let items = match (&iterable, &stmt.target) {
            (Value::Undefined, _) => Vec::new(),
            (Value::List(list), _) => list.items.borrow().clone(),
            (Value::Map(map), Names::One(_)) => {
                map.entries.borrow().iter().map(|(key, _)| key.clone()).collect()
            }
            (Value::Map(map), Names::Several(_)) => {
                let pair =
                    |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
                map.entries.borrow().iter().map(pair).collect()
            }
            (other, _) => return failed(format!("{} cannot be looped over", other.kind())),
        };
        self.budget.steps(items.len() as u64)?;
        let n_rounds = self.scoped(HashMap::new(), |interp| {
            let items = interp.filtered(stmt, items)?;
            interp.rounds(stmt, &items, out)
        })?;
        // A round that ends by `continue` does not count for `else`, as in llama.cpp.
        if n_rounds == 0 {
            self.block(&stmt.otherwise, out)?;
        }
        Ok(())
    }

    fn filtered(&mut self, stmt: &For, items: Vec<Value>) -> Result<Vec<Value>, Fault> {
        let Some(filter) = &stmt.filter else { return Ok(items) };
        let mut kept = Vec::new();
        for item in items {
            let wanted = self.scoped(HashMap::new(), |interp| {
                interp.unpack(&stmt.target, item.clone())?;
                interp.eval(filter)
            })?;
            if wanted.is_true() {
                kept.push(item);
            }
        }
        Ok(kept)
    }

    /// The rounds of a loop; returns how many ran to their end.
    fn rounds(&mut self, stmt: &For, items: &[Value], out: &mut Text) -> Result<usize, Fault> {
        let mut n_whole = 0;
        for (i, item) in items.iter().enumerate() {
            self.budget.steps(ROUND_STEPS)?;
            let state = loop_state(items, i);
            self.set("loop", state);
            self.unpack(&stmt.target, item.clone())?;
            match self.block(&stmt.body, out)? {
                Flow::Next => n_whole += 1,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        Ok(n_whole)
    }

    fn lookup(&self, name: &str) -> Value {
        let found = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        match found {
            Some(Value::Undefined) | None => calls::global(name),
            Some(value) => {
                value.mark_used();
                value.clone()
            }
        }
    }

    pub(crate) fn eval(&mut self, expr: &Expr) -> Result<Value, Fault> {
        self.pos = expr.pos;
        self.entered(|interp| interp.eval_kind(expr))
    }

    fn eval_all(&mut self, items: &[Expr]) -> Result<Vec<Value>, Fault> {
        items.iter().map(|item| self.eval(item)).collect()
    }

    fn eval_kind(&mut self, expr: &Expr) -> Result<Value, Fault> {
        Ok(match &*expr.kind {
            Kind::Int(n) => Value::Int(*n),
            Kind::Float(x) => Value::Float(*x),
            Kind::Str(text) => {
                self.budget.bytes(text.len())?;
                Value::str(text)
            }
            Kind::Var(name) => self.lookup(name),
            Kind::List(items) => Value::list(self.eval_all(items)?),
            Kind::Tuple(items) => Value::tuple(self.eval_all(items)?),
            Kind::Map(entries) => {
                let map = Map::default();
                for (key, value) in entries {
                    let (key, value) = (self.eval(key)?, self.eval(value)?);
                    ops::check_key(&key)?;
                    map.set(key, value);
                }
                Value::Map(Rc::new(map))
            }
            Kind::Not(operand) => Value::Bool(!self.eval(operand)?.is_true()),
            Kind::Negate(operand) => ops::negate(&self.eval(operand)?)?,
            Kind::Plus(operand) => ops::plus(self.eval(operand)?)?,
            Kind::Binary(op, left, right) => self.binary(*op, left, right)?,
            Kind::Ternary(condition, then, otherwise) => {
                let chosen = if self.eval(condition)?.is_true() { then } else { otherwise };
                self.eval(chosen)?
            }
            Kind::Select(value, condition) => {
                if self.eval(condition)?.is_true() {
                    self.eval(value)?
                } else {
                    Value::Undefined
                }
            }
            Kind::Filter(value, call) => {
                let value = self.eval(value)?;
                self.filter(value, call)?
            }
            Kind::Test(value, negated, call) => {
                let value = self.eval(value)?;
                let args = self.args(&call.args)?;
                value.mark_used();
                Value::Bool(calls::test(&call.name, &value, &args)? != *negated)
            }
            Kind::Attr(object, name) => {
                let object = self.eval(object)?;
                ops::attribute(&object, name)
            }
            Kind::Item(object, key) => {
                let (object, key) = (self.eval(object)?, self.eval(key)?);
                ops::item(&object, &key)?
            }
            Kind::Slice(object, parts) => self.slice(object, parts)?,
            Kind::Call(callee, args) => {
                let args = self.args(args)?;
                let callee = self.eval(callee)?;
                self.call(&callee, args)?
            }
        })
    }

    fn binary(&mut self, op: Op, left: &Expr, right: &Expr) -> Result<Value, Fault> {
        let left = self.eval(left)?;
        match op {
            Op::And if !left.is_true() => return Ok(left),
            Op::Or if left.is_true() => return Ok(left),
            Op::And | Op::Or => return self.eval(right),
            _ => {}
        }
        let right = self.eval(right)?;
        ops::binary(op, &left, &right, &mut self.budget)
    }

    fn slice(&mut self, object: &Expr, parts: &[Option<Expr>; 3]) -> Result<Value, Fault> {
        let object = self.eval(object)?;
        let mut bounds = [None; 3];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            let Some(part) = part else { continue };
            *bound = match self.eval(part)? {
                Value::None | Value::Undefined => None,
                value => match value.as_int() {
                    Some(n) => Some(n),
                    None => return failed(format!("{} cannot bound a slice", value.kind())),
                },
            };
        }
        object.mark_used();
        ops::slice(&object, bounds, &mut self.budget)
    }

    fn filter(&mut self, value: Value, call: &Call) -> Result<Value, Fault> {
        let args = self.args(&call.args)?;
        calls::filter(self, &call.name, value, &args, call.has_parens)
    }

    fn args(&mut self, args: &[Arg]) -> Result<Args, Fault> {
        let mut out = Args::default();
        for arg in args {
            let value = self.eval(&arg.value)?;
            match &arg.name {
                Some(name) => out.named.push((name.clone(), value)),
                None => out.positional.push(value),
            }
        }
        Ok(out)
    }

    fn call(&mut self, callee: &Value, args: Args) -> Result<Value, Fault> {
        let Value::Func(func) = callee else {
            return failed(format!("{} cannot be called", callee.kind()));
        };
        match &**func {
            Func::Global(name) => calls::call_global(self, name, &args),
            Func::Method(name, input) => calls::method(self, name, input, &args),
            Func::Macro(definition) => self.run_macro(definition, args),
            Func::Caller(definition, n_scopes) => {
                // The body sees what its writer saw, not what the macro has set since.
                let hidden = self.scopes.split_off((*n_scopes).min(self.scopes.len()));
                let result = self.run_macro(definition, args);
                self.scopes.extend(hidden);
                result
            }
        }
    }

    fn run_macro(&mut self, definition: &Arc<Macro>, mut args: Args) -> Result<Value, Fault> {
        let mut scope = HashMap::new();
        let mut positional = std::mem::take(&mut args.positional).into_iter();
        for (name, default) in &definition.params {
            let value = match (args.take(name).or_else(|| positional.next()), default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default)?,
                (None, None) => {
                    return failed(format!("{} needs an argument {name}", definition.name));
                }
            };
            scope.insert(name.clone(), value);
        }
        let text = self.scoped(scope, |interp| interp.captured(&definition.body))?;
        Ok(Value::text(text))
    }
}

/// The variable `loop`.
fn loop_state(items: &[Value], i: usize) -> Value {
    let int = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let n = items.len();
    let near =
        |at: Option<usize>| at.and_then(|at| items.get(at)).cloned().unwrap_or(Value::Undefined);
    let entries = [
        ("index", int(i + 1)),
        ("index0", int(i)),
        ("revindex", int(n - i)),
        ("revindex0", int(n - i - 1)),
        ("first", Value::Bool(i == 0)),
        ("last", Value::Bool(i + 1 == n)),
        ("length", int(n)),
        ("previtem", near(i.checked_sub(1))),
        ("nextitem", near(Some(i + 1))),
    ];
    let entries = entries.into_iter().map(|(name, value)| (Value::str(name), value)).collect();
    Value::Map(Rc::new(Map { entries: RefCell::new(entries), is_loop: true, probe: None }))
}
