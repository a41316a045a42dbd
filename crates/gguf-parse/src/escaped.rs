//! Text of a file, made safe to print.
use std::fmt::{self, Display, Write};

/// How many characters of a name are shown.
const MAX_SHOWN: usize = 64;

/// Text that came from a file, quoted for a message: control characters (an escape sequence would reach
/// the terminal) and invisible ones are written as Rust escapes, and at most 64 characters are shown.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut shown = 0;
        for c in self.0.chars() {
            // `escape_debug` leaves a printable character as it is: most are one wide, `\u{1b}` is six.
            let escape = c.escape_debug();
            shown += escape.len();
            if shown > MAX_SHOWN {
                f.write_char('…')?;
                break;
            }
            if c == '\'' { f.write_char(c)? } else { Display::fmt(&escape, f)? }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(Escaped("a\u{1b}[2J\nb\u{202e}").to_string(), r#""a\u{1b}[2J\nb\u{202e}""#);
    }

    #[test]
    fn long_names_are_clipped() {
        assert_eq!(Escaped(&"é".repeat(64)).to_string(), format!("\"{}\"", "é".repeat(64)));
        assert_eq!(Escaped(&"a".repeat(1 << 20)).to_string(), format!("\"{}…\"", "a".repeat(64)));
        assert!(
            Escaped(&"\u{1b}".repeat(1 << 20)).to_string().len() <= 64 + 5,
            "escapes count too"
        );
    }
}
