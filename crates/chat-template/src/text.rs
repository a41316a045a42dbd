//! Text that knows which of its bytes somebody else wrote.
use std::ops::Range;

/// A string in runs: what the template wrote, and what came in with the conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    text: String,
    /// Where each run ends, and whether it came in with the conversation. No run is empty; neighbors differ.
    runs: Vec<(usize, bool)>,
}

impl Text {
    /// Text of one kind.
    pub(crate) fn new(text: &str, is_input: bool) -> Self {
        let mut out = Self::default();
        out.push_str(text, is_input);
        out
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn push_str(&mut self, text: &str, is_input: bool) {
        if text.is_empty() {
            return;
        }
        self.text.push_str(text);
        match self.runs.last_mut() {
            Some((end, kind)) if *kind == is_input => *end = self.text.len(),
            _ => self.runs.push((self.text.len(), is_input)),
        }
    }

    pub(crate) fn push(&mut self, other: &Self) {
        for (range, is_input) in other.runs() {
            self.push_str(&other.text[range], is_input);
        }
    }

    /// The runs in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (Range<usize>, bool)> + '_ {
        let mut start = 0;
        self.runs.iter().map(move |(end, is_input)| {
            let range = start..*end;
            start = *end;
            (range, *is_input)
        })
    }

    /// A part, which begins and ends between characters.
    pub(crate) fn slice(&self, wanted: Range<usize>) -> Self {
        let mut out = Self::default();
        for (range, is_input) in self.runs() {
            let (start, end) = (range.start.max(wanted.start), range.end.min(wanted.end));
            if start < end {
                out.push_str(&self.text[start..end], is_input);
            }
        }
        out
    }

    /// Forgets what stands behind `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len < self.len() {
            *self = self.slice(0..len);
        }
    }

    /// The same runs over a text of the same length.
    pub(crate) fn map_ascii(&self, map: impl Fn(&str) -> String) -> Self {
        let text = map(&self.text);
        debug_assert_eq!(text.len(), self.text.len(), "ASCII letters keep their length");
        Self { text, runs: self.runs.clone() }
    }

    /// Bytes picked one by one; what is no UTF-8 afterwards becomes U+FFFD.
    pub(crate) fn pick(&self, bytes: impl Iterator<Item = usize>) -> Self {
        let mut out = Self::default();
        let mut run: (Vec<u8>, bool) = (Vec::new(), false);
        for at in bytes {
            let Some(byte) = self.text.as_bytes().get(at) else { continue };
            let is_input = self.is_input(at);
            if is_input != run.1 {
                out.push_str(&String::from_utf8_lossy(&std::mem::take(&mut run.0)), run.1);
                run.1 = is_input;
            }
            run.0.push(*byte);
        }
        out.push_str(&String::from_utf8_lossy(&run.0), run.1);
        out
    }

    /// Whether the byte at `at` came in with the conversation.
    fn is_input(&self, at: usize) -> bool {
        let run = self.runs.partition_point(|(end, _)| *end <= at);
        self.runs.get(run).is_some_and(|(_, is_input)| *is_input)
    }

    /// Where the conversation's text stands.
    pub(crate) fn into_parts(self) -> (String, Vec<Range<usize>>) {
        let input = self.runs().filter(|(_, is_input)| *is_input).map(|(range, _)| range).collect();
        (self.text, input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Text {
        let mut text = Text::new("<|user|>", false);
        text.push_str("Hi", true);
        text.push_str(" you", true);
        text.push_str("<|end|>", false);
        text
    }

    /// The text, and where the conversation's begins and ends.
    fn parts(text: Text) -> (String, Vec<(usize, usize)>) {
        let (text, input) = text.into_parts();
        (text, input.into_iter().map(|range| (range.start, range.end)).collect())
    }

    #[test]
    fn runs_follow_their_bytes() {
        assert_eq!(parts(sample()), ("<|user|>Hi you<|end|>".to_owned(), vec![(8, 14)]));
        let part = sample().slice(6..10);
        assert_eq!(parts(part), ("|>Hi".to_owned(), vec![(2, 4)]));
        let mut short = sample();
        short.truncate(9);
        assert_eq!(parts(short), ("<|user|>H".to_owned(), vec![(8, 9)]));
    }

    #[test]
    fn picked_bytes_keep_their_kind() {
        let back = sample().pick((7..15).rev());
        assert_eq!(parts(back), ("<uoy iH>".to_owned(), vec![(1, 7)]));
        let broken = Text::new("é", true).pick(0..1);
        assert_eq!(broken.as_str(), "\u{fffd}");
    }
}
