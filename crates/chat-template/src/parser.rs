//! Tokens to a tree. The grammar is that of llama.cpp's engine, which is a part of Jinja's: no inheritance, no imports.
use crate::{
    ast::{Arg, Call, Expr, For, Kind, Macro, Names, Op, Stmt, Target},
    budget::{MAX_HEIGHT, MAX_NESTING},
    lexer::{Problem, Token, tokenize},
};
use std::sync::Arc;

/// Parses a template.
pub(crate) fn parse(source: &str) -> Result<Vec<Stmt>, Problem> {
    let tokens = tokenize(source)?;
    let mut parser = Parser { tokens, at: 0, depth: 0, end: source.len() };
    let body = parser.block(&[])?;
    Ok(body)
}

type Parsed<T> = Result<T, Problem>;

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    end: usize,
}

/// What stands between operands, loosest first; `not` and tests have levels of their own.
const LEVELS: &[&[(&str, Op)]] = &[
    &[("or", Op::Or)],
    &[("and", Op::And)],
    &[
        ("==", Op::Eq),
        ("!=", Op::Ne),
        ("<", Op::Lt),
        (">", Op::Gt),
        ("<=", Op::Le),
        (">=", Op::Ge),
        ("in", Op::In),
    ],
    &[("+", Op::Add), ("-", Op::Sub), ("~", Op::Concat)],
    &[("*", Op::Mul), ("/", Op::Div), ("%", Op::Rem)],
];
const COMPARISON: usize = 2;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn pos(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(pos, _)| *pos)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn fail<T>(&self, wanted: &str) -> Parsed<T> {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(Token::Text(_)) => "text".to_owned(),
            Some(Token::Ident(name)) => name.clone(),
            Some(Token::Str(_)) => "a string".to_owned(),
            Some(Token::Sign(sign)) => (*sign).to_owned(),
            Some(Token::Int(_) | Token::Float(_)) => "a number".to_owned(),
            Some(Token::OpenExpr) => "{{".to_owned(),
            Some(Token::CloseExpr) => "}}".to_owned(),
            Some(Token::OpenStmt) => "{%".to_owned(),
            Some(Token::CloseStmt) => "%}".to_owned(),
        };
        Err((self.pos(), format!("expected {wanted}, found {found}")))
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(found)) if *found == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Ident(found)) if found == word)
    }

    fn skip_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> Parsed<()> {
        if self.skip_sign(sign) { Ok(()) } else { self.fail(sign) }
    }

    fn name(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Ident(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.fail("a name"),
        }
    }

    fn close(&mut self) -> Parsed<()> {
        if self.peek() == Some(&Token::CloseStmt) {
            self.at += 1;
            Ok(())
        } else {
            self.fail("%}")
        }
    }

    /// One level deeper, if that is allowed.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err((self.pos(), format!("nested more than {MAX_NESTING} levels deep")));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// An expression over others that are `below` levels high, if it does not grow too high.
    fn node(&self, pos: usize, below: usize, kind: Kind) -> Parsed<Expr> {
        if below >= MAX_HEIGHT {
            return Err((pos, format!("an expression of more than {MAX_HEIGHT} levels")));
        }
        Ok(Expr { pos, height: below + 1, kind: Box::new(kind) })
    }

    /// Statements up to `{% one of ends`, which is consumed but for its `%}`; without `ends`, to the end.
    fn block(&mut self, ends: &[&str]) -> Parsed<Vec<Stmt>> {
        self.nested(|p| {
            let mut body = Vec::new();
            loop {
                match p.peek() {
                    None if ends.is_empty() => return Ok(body),
                    None => return p.fail(&ends.join(" or ")),
                    Some(Token::Text(text)) => {
                        body.push(Stmt::Text(text.clone()));
                        p.at += 1;
                    }
                    Some(Token::OpenExpr) => {
                        p.at += 1;
                        body.push(Stmt::Emit(p.expr()?));
                        if p.next() != Some(Token::CloseExpr) {
                            p.at -= 1;
                            return p.fail("}}");
                        }
                    }
                    Some(Token::OpenStmt) => {
                        p.at += 1;
                        if ends.iter().any(|end| p.is_word(end)) {
                            return Ok(body);
                        }
                        body.extend(p.statement()?);
                    }
                    Some(_) => return p.fail("text or a tag"),
                }
            }
        })
    }

    /// A block that has one end, and the end.
    fn block_to(&mut self, end: &str) -> Parsed<Vec<Stmt>> {
        let body = self.block(&[end])?;
        self.at += 1;
        self.close()?;
        Ok(body)
    }

    fn statement(&mut self) -> Parsed<Option<Stmt>> {
        let pos = self.pos();
        let name = self.name()?;
        Ok(Some(match name.as_str() {
            "if" => self.if_statement()?,
            "for" => self.for_statement()?,
            "set" => self.set_statement()?,
            "macro" => {
                let name = self.name()?;
                Stmt::Macro(Arc::new(self.callable(name, "endmacro")?))
            }
            "call" => self.call_statement()?,
            "filter" => {
                let filter = self.call()?;
                self.close()?;
                Stmt::FilterBlock { filter, body: self.block_to("endfilter")? }
            }
            "break" | "continue" => {
                self.close()?;
                if name == "break" { Stmt::Break } else { Stmt::Continue }
            }
            // Marks what a model is trained on; nothing to a prompt.
            "generation" | "endgeneration" => {
                self.close()?;
                return Ok(None);
            }
            _ => return Err((pos, format!("unknown statement {name}"))),
        }))
    }

    fn if_statement(&mut self) -> Parsed<Stmt> {
        let mut branches = Vec::new();
        loop {
            let condition = self.expr()?;
            self.close()?;
            let body = self.block(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            if !self.skip_word("elif") {
                break;
            }
        }
        let otherwise = if self.skip_word("else") {
            self.close()?;
            self.block(&["endif"])?
        } else {
            Vec::new()
        };
        self.at += 1;
        self.close()?;
        Ok(Stmt::If(branches, otherwise))
    }

    fn for_statement(&mut self) -> Parsed<Stmt> {
        let target = self.names()?;
        if !self.skip_word("in") {
            return self.fail("in");
        }
        let iter = self.expr()?;
        let (iter, filter) = match *iter.kind {
            Kind::Select(iter, filter) => (iter, Some(filter)),
            kind => (Expr { kind: Box::new(kind), ..iter }, None),
        };
        self.close()?;
        let body = self.block(&["else", "endfor"])?;
        let otherwise = if self.skip_word("else") {
            self.close()?;
            self.block(&["endfor"])?
        } else {
            Vec::new()
        };
        self.at += 1;
        self.close()?;
        Ok(Stmt::For(For { target, iter, filter, body, otherwise }))
    }

    /// `a` or `a, b` or `(a, b)`.
    fn names(&mut self) -> Parsed<Names> {
        let in_parens = self.skip_sign("(");
        let mut names = vec![self.name()?];
        while self.skip_sign(",") {
            names.push(self.name()?);
        }
        if in_parens {
            self.sign(")")?;
        }
        Ok(match (names.len(), names.pop()) {
            (1, Some(name)) => Names::One(name),
            (_, last) => {
                names.extend(last);
                Names::Several(names)
            }
        })
    }

    fn set_statement(&mut self) -> Parsed<Stmt> {
        let start = self.at;
        let mut target = Target::Names(self.names()?);
        if self.is_sign(".") || self.is_sign("[") {
            self.at = start;
            let pos = self.pos();
            let member = self.postfix()?;
            let Kind::Attr(object, name) = *member.kind else {
                return Err((pos, "only names and attributes can be set".to_owned()));
            };
            target = Target::Attr(object, name);
        }
        if self.skip_sign("=") {
            let value = self.sequence()?;
            self.close()?;
            return Ok(Stmt::Set(target, value));
        }
        self.close()?;
        Ok(Stmt::SetBlock(target, self.block_to("endset")?))
    }

    /// Parameters and body of a macro or of a call's caller.
    fn callable(&mut self, name: String, end: &str) -> Parsed<Macro> {
        let params = self.params()?;
        self.close()?;
        let body = self.block_to(end)?;
        Ok(Macro { name, params, body })
    }

    fn params(&mut self) -> Parsed<Vec<(String, Option<Expr>)>> {
        self.sign("(")?;
        let mut params = Vec::new();
        while !self.skip_sign(")") {
            let name = self.name()?;
            let default = if self.skip_sign("=") { Some(self.expr()?) } else { None };
            params.push((name, default));
            if !self.skip_sign(",") && !self.is_sign(")") {
                return self.fail(", or )");
            }
        }
        Ok(params)
    }

    fn call_statement(&mut self) -> Parsed<Stmt> {
        let params = if self.is_sign("(") { self.params()? } else { Vec::new() };
        let callee_pos = self.pos();
        let name = self.name()?;
        let callee = self.node(callee_pos, 0, Kind::Var(name))?;
        let args = self.args()?;
        self.close()?;
        let body = self.block_to("endcall")?;
        let caller = Arc::new(Macro { name: "caller".to_owned(), params, body });
        Ok(Stmt::CallBlock { callee, args, caller })
    }

    /// One expression, or a tuple of several.
    fn sequence(&mut self) -> Parsed<Expr> {
        let pos = self.pos();
        let first = self.expr()?;
        if !self.is_sign(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_sign(",") {
            if self.is_sign(")") || self.peek() == Some(&Token::CloseStmt) {
                break;
            }
            items.push(self.expr()?);
        }
        self.node(pos, highest(&items), Kind::Tuple(items))
    }

    fn expr(&mut self) -> Parsed<Expr> {
        self.nested(Self::ternary)
    }

    fn ternary(&mut self) -> Parsed<Expr> {
        let pos = self.pos();
        let value = self.binary(0)?;
        if !self.skip_word("if") {
            return Ok(value);
        }
        let condition = self.binary(0)?;
        let below = value.height.max(condition.height);
        if !self.skip_word("else") {
            return self.node(pos, below, Kind::Select(value, condition));
        }
        let otherwise = self.expr()?;
        let below = below.max(otherwise.height);
        self.node(pos, below, Kind::Ternary(condition, value, otherwise))
    }

    fn operator(&mut self, level: usize) -> Option<Op> {
        if level == COMPARISON && self.is_word("not") {
            let behind = self.tokens.get(self.at + 1).map(|(_, token)| token);
            if matches!(behind, Some(Token::Ident(word)) if word == "in") {
                self.at += 2;
                return Some(Op::NotIn);
            }
        }
        let found =
            LEVELS.get(level)?.iter().find(|(text, _)| self.is_sign(text) || self.is_word(text));
        self.at += usize::from(found.is_some());
        found.map(|(_, op)| *op)
    }

    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        if level == LEVELS.len() {
            return self.tested();
        }
        if level == COMPARISON && self.is_word("not") {
            let pos = self.pos();
            self.at += 1;
            let operand = self.nested(|p| p.binary(COMPARISON))?;
            return self.node(pos, operand.height, Kind::Not(operand));
        }
        let mut left = self.binary(level + 1)?;
        loop {
            let pos = self.pos();
            let Some(op) = self.operator(level) else { return Ok(left) };
            // `a and not b`: what stands right of `and` and `or` is of the level above.
            let right = self.binary(level + 1)?;
            let below = left.height.max(right.height);
            left = self.node(pos, below, Kind::Binary(op, left, right))?;
        }
    }

    /// Tests and filters, which bind closer than any operator: `-n | abs` is `(-n) | abs`.
    fn tested(&mut self) -> Parsed<Expr> {
        let mut value = self.filtered()?;
        while self.is_word("is") {
            let pos = self.pos();
            self.at += 1;
            let negated = self.skip_word("not");
            let mut test = self.call()?;
            if !test.has_parens && self.begins_argument() {
                let argument = self.unary()?;
                test.args.push(Arg { name: None, value: argument });
            }
            let below = value.height.max(highest_arg(&test.args));
            value = self.node(pos, below, Kind::Test(value, negated, test))?;
        }
        Ok(value)
    }

    /// Whether a test goes on with an argument: `n is divisibleby 3`.
    fn begins_argument(&self) -> bool {
        match self.peek() {
            Some(Token::Int(_) | Token::Float(_) | Token::Str(_)) => true,
            Some(Token::Sign(sign)) => ["{", "["].contains(sign),
            Some(Token::Ident(word)) => {
                !["and", "or", "else", "if", "is", "in", "not"].contains(&word.as_str())
            }
            _ => false,
        }
    }

    fn filtered(&mut self) -> Parsed<Expr> {
        let mut value = self.unary()?;
        while self.is_sign("|") {
            let pos = self.pos();
            self.at += 1;
            let filter = self.call()?;
            let below = value.height.max(highest_arg(&filter.args));
            value = self.node(pos, below, Kind::Filter(value, filter))?;
        }
        Ok(value)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let pos = self.pos();
        let make = if self.skip_sign("-") {
            Kind::Negate
        } else if self.skip_sign("+") {
            Kind::Plus
        } else {
            return self.postfix();
        };
        let operand = self.nested(Self::unary)?;
        self.node(pos, operand.height, make(operand))
    }

    /// `a.b[c](d)`.
    fn postfix(&mut self) -> Parsed<Expr> {
        let mut value = self.primary()?;
        loop {
            let pos = self.pos();
            let below = value.height;
            value = if self.skip_sign(".") {
                if let Some(Token::Int(index)) = self.peek().cloned() {
                    self.at += 1;
                    let index = self.node(pos, 0, Kind::Int(index))?;
                    self.node(pos, below, Kind::Item(value, index))?
                } else {
                    let name = self.name()?;
                    self.node(pos, below, Kind::Attr(value, name))?
                }
            } else if self.skip_sign("[") {
                self.subscript(pos, value)?
            } else if self.is_sign("(") {
                let args = self.args()?;
                self.node(pos, below.max(highest_arg(&args)), Kind::Call(value, args))?
            } else {
                return Ok(value);
            }
        }
    }

    /// What stands behind `[`: an index, or `start:stop:step`.
    fn subscript(&mut self, pos: usize, value: Expr) -> Parsed<Expr> {
        let mut parts = [None, None, None];
        let mut n_colons = 0;
        while !self.skip_sign("]") {
            if n_colons < 2 && self.skip_sign(":") {
                n_colons += 1;
            } else if parts.get(n_colons).is_some_and(Option::is_none) {
                let part = self.expr()?;
                if let Some(place) = parts.get_mut(n_colons) {
                    *place = Some(part);
                }
            } else {
                return self.fail("]");
            }
        }
        let below = parts.iter().flatten().map(|part| part.height).max().unwrap_or(0);
        let below = below.max(value.height);
        match parts {
            [Some(index), _, _] if n_colons == 0 => self.node(pos, below, Kind::Item(value, index)),
            _ if n_colons == 0 => Err((pos, "empty subscript".to_owned())),
            parts => self.node(pos, below, Kind::Slice(value, parts)),
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let pos = self.pos();
        let Some(token) = self.next() else {
            return self.fail("an expression");
        };
        match token {
            Token::Int(n) => self.node(pos, 0, Kind::Int(n)),
            Token::Float(x) => self.node(pos, 0, Kind::Float(x)),
            Token::Str(mut text) => {
                // Strings side by side are one.
                while let Some(Token::Str(more)) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                self.node(pos, 0, Kind::Str(text))
            }
            Token::Ident(name) => self.node(pos, 0, Kind::Var(name)),
            Token::Sign("(") if self.skip_sign(")") => self.node(pos, 0, Kind::Tuple(Vec::new())),
            Token::Sign("(") => {
                let value = self.nested(Self::sequence)?;
                self.sign(")")?;
                Ok(value)
            }
            Token::Sign("[") => {
                let mut items = Vec::new();
                while !self.skip_sign("]") {
                    items.push(self.expr()?);
                    if !self.skip_sign(",") && !self.is_sign("]") {
                        return self.fail(", or ]");
                    }
                }
                self.node(pos, highest(&items), Kind::List(items))
            }
            Token::Sign("{") => self.map(pos),
            _ => {
                self.at -= 1;
                self.fail("an expression")
            }
        }
    }

    fn map(&mut self, pos: usize) -> Parsed<Expr> {
        let mut entries = Vec::new();
        while !self.skip_sign("}") {
            let key = self.expr()?;
            self.sign(":")?;
            entries.push((key, self.expr()?));
            if !self.skip_sign(",") && !self.is_sign("}") {
                return self.fail(", or }");
            }
        }
        let below = entries.iter().map(|(key, value)| key.height.max(value.height)).max();
        self.node(pos, below.unwrap_or(0), Kind::Map(entries))
    }

    /// The name of a filter or test, and its arguments if it has some.
    fn call(&mut self) -> Parsed<Call> {
        let name = self.name()?;
        let has_parens = self.is_sign("(");
        let args = if has_parens { self.args()? } else { Vec::new() };
        Ok(Call { name, args, has_parens })
    }

    fn args(&mut self) -> Parsed<Vec<Arg>> {
        self.sign("(")?;
        let mut args = Vec::new();
        while !self.skip_sign(")") {
            let value = self.expr()?;
            let name = match &*value.kind {
                Kind::Var(name) if self.is_sign("=") => Some(name.clone()),
                _ => None,
            };
            let value = if name.is_some() {
                self.at += 1;
                self.expr()?
            } else {
                value
            };
            args.push(Arg { name, value });
            if !self.skip_sign(",") && !self.is_sign(")") {
                return self.fail(", or )");
            }
        }
        Ok(args)
    }
}

fn highest(items: &[Expr]) -> usize {
    items.iter().map(|item| item.height).max().unwrap_or(0)
}

fn highest_arg(args: &[Arg]) -> usize {
    args.iter().map(|arg| arg.value.height).max().unwrap_or(0)
}
