//! A template as a tree.
use std::sync::Arc;

/// An expression, and where it stands in the source.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) pos: usize,
    /// Levels of the tree below, itself included.
    pub(crate) height: usize,
    pub(crate) kind: Box<Kind>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Int(i64),
    Float(f64),
    Str(String),
    Var(String),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Not(Expr),
    Negate(Expr),
    Plus(Expr),
    Binary(Op, Expr, Expr),
    /// Condition, then, else.
    Ternary(Expr, Expr, Expr),
    /// `value if condition`; after `in` of a loop, a filter of its items.
    Select(Expr, Expr),
    Filter(Expr, Call),
    Test(Expr, bool, Call),
    Attr(Expr, String),
    Item(Expr, Expr),
    Slice(Expr, [Option<Expr>; 3]),
    Call(Expr, Vec<Arg>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    And,
    Or,
    Eq,
    Ne,
    Lt,
    Gt,
    Le,
    Ge,
    In,
    NotIn,
    Add,
    Sub,
    Concat,
    Mul,
    Div,
    Rem,
}

/// An argument, perhaps with a name.
#[derive(Debug)]
pub(crate) struct Arg {
    pub(crate) name: Option<String>,
    pub(crate) value: Expr,
}

/// A filter or test with its arguments.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) args: Vec<Arg>,
    /// Whether arguments were written, if only `()`.
    pub(crate) has_parens: bool,
}

#[derive(Debug)]
pub(crate) enum Stmt {
    Text(String),
    Emit(Expr),
    If(Vec<(Expr, Vec<Self>)>, Vec<Self>),
    For(For),
    Set(Target, Expr),
    SetBlock(Target, Vec<Self>),
    Macro(Arc<Macro>),
    CallBlock { callee: Expr, args: Vec<Arg>, caller: Arc<Macro> },
    FilterBlock { filter: Call, body: Vec<Self> },
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct For {
    pub(crate) target: Names,
    pub(crate) iter: Expr,
    pub(crate) filter: Option<Expr>,
    pub(crate) body: Vec<Stmt>,
    pub(crate) otherwise: Vec<Stmt>,
}

/// One name, or several that a list is unpacked into.
#[derive(Debug)]
pub(crate) enum Names {
    One(String),
    Several(Vec<String>),
}

/// What is assigned to.
#[derive(Debug)]
pub(crate) enum Target {
    Names(Names),
    /// `{% set ns.name = … %}`
    Attr(Expr, String),
}

#[derive(Debug)]
pub(crate) struct Macro {
    pub(crate) name: String,
    pub(crate) params: Vec<(String, Option<Expr>)>,
    pub(crate) body: Vec<Stmt>,
}
