//! Source to tokens, with the white space rules of chat templates: `trim_blocks` and `lstrip_blocks` are on.

/// What can stand in a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Text(String),
    OpenStmt,
    CloseStmt,
    OpenExpr,
    CloseExpr,
    Ident(String),
    Int(i64),
    Float(f64),
    Str(String),
    /// Punctuation and operators.
    Sign(&'static str),
}

/// A problem and the byte at which it is.
pub(crate) type Problem = (usize, String);

/// Longer ones first.
const SIGNS: &[&str] = &[
    "<=", ">=", "==", "!=", "(", ")", "{", "}", "[", "]", ",", ".", ":", "|", "<", ">", "+", "-",
    "~", "*", "/", "%", "=",
];

/// Tokens with the byte of the source at which each begins. Lines of the source end with `\n`.
pub(crate) fn tokenize(source: &str) -> Result<Vec<(usize, Token)>, Problem> {
    // One newline at the end is not part of the template.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut lexer = Lexer { source, pos: 0, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    pos: usize,
    tokens: Vec<(usize, Token)>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.pos..]
    }

    fn push(&mut self, token: Token, len: usize) {
        self.tokens.push((self.pos, token));
        self.pos += len;
    }

    fn skip(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        self.pos += if found { what.len() } else { 0 };
        found
    }

    fn run(&mut self) -> Result<(), Problem> {
        while self.pos < self.source.len() {
            self.text();
            let start = self.pos;
            if self.skip("{#") {
                let end = self.rest().find("#}");
                let end = end.ok_or_else(|| (start, "the comment has no end".to_owned()))?;
                self.pos += end + 2;
            } else if self.rest().starts_with("{%") {
                self.push(Token::OpenStmt, 2);
                self.skip("-");
                self.inside("%}", &Token::CloseStmt, start)?;
            } else if self.rest().starts_with("{{") {
                self.push(Token::OpenExpr, 2);
                self.skip("-");
                self.inside("}}", &Token::CloseExpr, start)?;
            }
        }
        Ok(())
    }

    /// Text up to the next tag, without the white space that the tags on both sides take.
    fn text(&mut self) {
        let (start, rest) = (self.pos, self.rest());
        let tag = |at: usize| rest[at..].starts_with(['%', '{', '#']);
        let mut opens = rest.match_indices('{').map(|(at, _)| at);
        let end = opens.find(|at| tag(at + 1)).unwrap_or(rest.len());
        let mut text = &rest[..end];
        self.pos = start + end;
        let (before, after) = (&self.source[..start], &self.source[self.pos..]);
        // lstrip_blocks: a statement or comment alone on its line takes the spaces in front of it.
        if after.starts_with("{%") || after.starts_with("{#") {
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            let is_line_start = line > 0 || start == 0;
            if is_line_start && text[line..].chars().all(|c| c.is_ascii_whitespace() || c == '\x0b')
            {
                text = &text[..line];
            }
        }
        // trim_blocks: and the newline behind it.
        if before.ends_with("%}") || before.ends_with("#}") {
            text = text.strip_prefix('\n').unwrap_or(text);
        }
        const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
        if ["-%}", "-}}", "-#}"].iter().any(|tag| before.ends_with(tag)) {
            text = text.trim_start_matches(SPACE);
        }
        if ["{%-", "{{-", "{#-"].iter().any(|tag| after.starts_with(tag)) {
            text = text.trim_end_matches(SPACE);
        }
        if !text.is_empty() {
            self.tokens.push((start, Token::Text(text.to_owned())));
        }
    }

    /// The tokens of a tag, up to its end.
    fn inside(&mut self, close: &str, token: &Token, start: usize) -> Result<(), Problem> {
        let mut braces = 0usize;
        loop {
            let blank = self.rest().len() - self.rest().trim_start().len();
            self.pos += blank;
            let rest = self.rest();
            let Some(first) = rest.chars().next() else {
                return Err((start, format!("the tag has no {close}")));
            };
            // `}}` within a map literal ends two maps.
            if braces == 0 || close == "%}" {
                let dash = usize::from(rest.starts_with('-'));
                if rest[dash..].starts_with(close) {
                    self.push(token.clone(), dash + close.len());
                    return Ok(());
                }
            }
            match first {
                '\'' | '"' => self.string(first)?,
                '0'..='9' => self.number()?,
                c if c.is_ascii_alphanumeric() || c == '_' => {
                    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    self.push(Token::Ident(rest[..len].to_owned()), len);
                }
                _ => {
                    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                    let sign = sign.ok_or_else(|| (self.pos, format!("unexpected {first:?}")))?;
                    match *sign {
                        "{" => braces += 1,
                        "}" => braces = braces.saturating_sub(1),
                        _ => {}
                    }
                    self.push(Token::Sign(sign), sign.len());
                }
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<(), Problem> {
        let start = self.pos;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.push(Token::Str(text), at + 1);
                return Ok(());
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let Some((at, escaped)) = chars.next() else { break };
            text.push(match escaped {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\x08',
                'f' => '\x0c',
                'v' => '\x0b',
                '\\' | '\'' | '"' => escaped,
                _ => return Err((start + at, format!("unknown escape \\{escaped}"))),
            });
        }
        Err((start, "the string has no end".to_owned()))
    }

    fn number(&mut self) -> Result<(), Problem> {
        let rest = self.rest();
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let mut len = digits(rest);
        let fraction = rest[len..].strip_prefix('.').map_or(0, digits);
        let token = if fraction > 0 {
            len += 1 + fraction;
            rest[..len].parse().ok().map(Token::Float)
        } else {
            rest[..len].parse().ok().map(Token::Int)
        };
        let token = token.ok_or_else(|| (self.pos, "the number is too large".to_owned()))?;
        self.push(token, len);
        Ok(())
    }
}
