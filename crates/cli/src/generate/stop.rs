//! Stop strings: found wherever they stand, also across tokens, and never shown, not even in part.

/// Watches a text that arrives in pieces.
#[derive(Debug)]
pub(super) struct StopStrings<'s> {
    stops: &'s [String],
    /// Text that was not given out: the beginning, maybe, of a stop string.
    held: String,
    /// What the last call gave out.
    out: String,
    found: bool,
}

impl<'s> StopStrings<'s> {
    pub(super) fn new(stops: &'s [String]) -> Self {
        Self { stops, held: String::new(), out: String::new(), found: false }
    }

    /// Takes a piece; returns what certainly stands in front of any stop string.
    pub(super) fn push(&mut self, piece: &str) -> &str {
        self.out.clear();
        if self.found {
            return "";
        }
        self.held.push_str(piece);
        // The one that begins first; of two, it does not matter which.
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        self.found = first.is_some();
        let end = first.unwrap_or_else(|| self.held.len() - self.n_suspect());
        self.out.push_str(&self.held[..end]);
        self.held.drain(..end);
        &self.out
    }

    /// The end of the text: what was held back is no stop string.
    pub(super) fn finish(&mut self) -> &str {
        if self.found { "" } else { &self.held }
    }

    /// Whether a stop string was found.
    pub(super) fn found(&self) -> bool {
        self.found
    }

    /// Bytes at the end that a stop string may begin with.
    fn n_suspect(&self) -> usize {
        let begins = |stop: &String| {
            let mut ends = self.held.char_indices().map(|(at, _)| &self.held[at..]);
            ends.find(|end| stop.starts_with(end)).map_or(0, str::len)
        };
        self.stops.iter().map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of `text` in pieces of `n` characters, and whether it was stopped.
    fn shown(text: &str, n: usize, stops: &[String]) -> (String, bool) {
        let mut watch = StopStrings::new(stops);
        let chars: Vec<char> = text.chars().collect();
        let mut all = String::new();
        for piece in chars.chunks(n) {
            all += watch.push(&piece.iter().collect::<String>());
        }
        all += watch.finish();
        (all, watch.found())
    }

    #[test]
    fn found_however_the_text_is_cut() {
        let stops = ["User:", "\n\n", "aab", "é!"].map(str::to_owned);
        for (text, before) in [
            ("Hello.\nUser: Hi", Some("Hello.\n")),
            ("one\n\ntwo", Some("one")),
            ("aaab", Some("a")),
            ("aaaab\n\n", Some("aa")),
            ("caf\u{e9}! User:", Some("caf")),
            ("User", None),
            ("Use r:\n", None),
            ("aa", None),
            ("", None),
        ] {
            for n in 1..=text.len().max(1) {
                let wanted = (before.unwrap_or(text).to_owned(), before.is_some());
                assert_eq!(shown(text, n, &stops), wanted, "{text:?} by {n}");
            }
        }
    }

    #[test]
    fn only_what_may_be_a_beginning_is_held_back() {
        let stops = ["</end>".to_owned()];
        let mut watch = StopStrings::new(&stops);
        assert_eq!(watch.push("a < b"), "a < b");
        assert_eq!(watch.push("x</e"), "x");
        assert_eq!(watch.push("m>"), "</em>");
        assert_eq!(watch.push("</end>rest"), "");
        assert!(watch.found() && watch.push("more").is_empty());
    }
}
