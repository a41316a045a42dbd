//! Finding rows of a table by name, without a second copy of the names.
use std::hash::{BuildHasher, RandomState};

/// An index of a table whose names are all different: rows sorted by the hash of their name. The hash is seeded
/// at random, so that no file can be made of names that collide, and building it reads each name once: sorting
/// the names themselves would read long common beginnings again and again.
#[derive(Debug, Default)]
pub(crate) struct NameIndex {
    hasher: RandomState,
    /// Hash and row, sorted.
    rows: Vec<(u64, u32)>,
}

/// Two rows have one name; this is the later row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duplicate(pub(crate) usize);

impl NameIndex {
    /// Indexes the rows `0..n`, O(n log n).
    pub(crate) fn new<'a>(n: usize, name: impl Fn(usize) -> &'a [u8]) -> Result<Self, Duplicate> {
        let hasher = RandomState::new();
        let hash = |row: u32| (hasher.hash_one(name(row as usize)), row);
        let mut rows: Vec<_> = (0..n).filter_map(|row| u32::try_from(row).ok()).map(hash).collect();
        rows.sort_unstable();
        // Rows with one hash have one name, or are a coincidence of which there is hardly ever one.
        let same_hash = rows.chunk_by(|a, b| a.0 == b.0).filter(|rows| rows.len() > 1);
        let repeated = |rows: &[(u64, u32)]| {
            let names: Vec<_> = rows.iter().map(|&(_, row)| name(row as usize)).collect();
            (1..rows.len()).find(|&i| names[..i].contains(&names[i])).map(|i| rows[i].1)
        };
        match same_hash.filter_map(repeated).min() {
            Some(row) => Err(Duplicate(row as usize)),
            None => Ok(Self { hasher, rows }),
        }
    }

    /// The row of `wanted`, O(log n).
    pub(crate) fn find<'a>(
        &self,
        wanted: &[u8],
        name: impl Fn(usize) -> &'a [u8],
    ) -> Option<usize> {
        let hash = self.hasher.hash_one(wanted);
        let start = self.rows.partition_point(|&(other, _)| other < hash);
        let same_hash = self.rows.get(start..)?.iter().take_while(|&&(other, _)| other == hash);
        same_hash.map(|&(_, row)| row as usize).find(|&row| name(row) == wanted)
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
        let names = ["z", "a", "y", "z", "a", "a"].map(str::as_bytes);
        assert_eq!(NameIndex::new(6, |i| names[i]).unwrap_err(), Duplicate(3));
    }
}
