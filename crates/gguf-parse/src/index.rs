//! Positions of a table, sorted by name: lookups in O(log n) without a second copy of the names.

/// An index of a table whose names are all different.
#[derive(Debug, Default)]
pub(crate) struct NameIndex(Vec<u32>);

/// Two rows have one name; this is the later row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duplicate(pub(crate) usize);

impl NameIndex {
    /// Sorts the rows `0..n`, O(n log n).
    pub(crate) fn new<'a>(n: usize, name: impl Fn(usize) -> &'a [u8]) -> Result<Self, Duplicate> {
        let mut rows: Vec<u32> = (0..n).filter_map(|row| u32::try_from(row).ok()).collect();
        let name = |row: u32| name(row as usize);
        // Stable: of rows with one name, the first in the file stays first.
        rows.sort_by(|&a, &b| name(a).cmp(name(b)));
        let doubles =
            rows.windows(2).filter(|pair| name(pair[0]) == name(pair[1])).map(|pair| pair[1]);
        match doubles.min() {
            Some(row) => Err(Duplicate(row as usize)),
            None => Ok(Self(rows)),
        }
    }

    /// The row of `wanted`.
    pub(crate) fn find<'a>(
        &self,
        wanted: &[u8],
        name: impl Fn(usize) -> &'a [u8],
    ) -> Option<usize> {
        let at = self.0.binary_search_by(|&row| name(row as usize).cmp(wanted)).ok()?;
        self.0.get(at).map(|&row| row as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::{Duplicate, NameIndex};

    #[test]
    fn finds_every_name_and_no_other() {
        let names = ["b", "", "abc", "ab", "é"].map(str::as_bytes);
        let index = NameIndex::new(names.len(), |i| names[i]).unwrap();
        for (i, name) in names.iter().enumerate() {
            assert_eq!(index.find(name, |i| names[i]), Some(i));
        }
        assert_eq!(index.find(b"a", |i| names[i]), None);
    }

    #[test]
    fn names_the_first_repetition_in_file_order() {
        let names = ["z", "a", "z", "a"].map(str::as_bytes);
        assert_eq!(NameIndex::new(4, |i| names[i]).unwrap_err(), Duplicate(2));
    }
}
