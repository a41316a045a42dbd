//! A set of positions.

/// Positions below a fixed length, one bit each.
#[derive(Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

const WORD: usize = 64;

impl Bits {
    /// The empty set, for positions below `len`.
    pub(crate) fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(WORD)] }
    }

    /// Whether `position` is in the set.
    pub(crate) fn contains(&self, position: usize) -> bool {
        self.words.get(position / WORD).is_some_and(|word| word >> (position % WORD) & 1 == 1)
    }

    /// The lowest position from `start` to before `end` that is in the set.
    pub(crate) fn first_in(&self, start: usize, end: usize) -> Option<usize> {
        let mut at = start;
        while at < end {
            let rest = self.words.get(at / WORD)? >> (at % WORD);
            if rest != 0 {
                let found = at + rest.trailing_zeros() as usize;
                return (found < end).then_some(found);
            }
            at = (at / WORD + 1) * WORD;
        }
        None
    }

    /// Adds the positions from `start` to before `end`.
    pub(crate) fn insert_range(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let next = ((at / WORD + 1) * WORD).min(end);
            if let Some(word) = self.words.get_mut(at / WORD) {
                *word |= (u64::MAX >> (WORD - (next - at))) << (at % WORD);
            }
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_against_a_list_of_bools() {
        let n = 300;
        for (start, end) in
            [(0, 1), (0, 64), (0, 300), (63, 65), (64, 128), (100, 100), (130, 299), (299, 300)]
        {
            let mut bits = Bits::new(n);
            bits.insert_range(start, end);
            for at in 0..n {
                assert_eq!(bits.contains(at), (start..end).contains(&at), "{start}..{end}: {at}");
                for until in [at, at + 1, at + 70, n] {
                    let first = (at..until.min(n)).find(|&p| (start..end).contains(&p));
                    assert_eq!(
                        bits.first_in(at, until.min(n)),
                        first,
                        "{start}..{end}: {at}..{until}"
                    );
                }
            }
            assert!(!bits.contains(n), "past the end");
        }
    }
}
