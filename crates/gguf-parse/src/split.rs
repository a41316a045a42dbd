//! Split models: `NAME-00001-of-0000N.gguf` and its siblings. Every shard is a whole GGUF file with the keys
//! `split.no`, `split.count` (u16) and, in the first, `split.tensors.count` (i32); the model's metadata is in the
//! first, and each tensor in one of them.
use crate::file::Shard;
use crate::index::{Duplicate, NameIndex};
use crate::limits::{self, to_u64};
use crate::{Escaped, GgufError, Metadata, TensorInfo};
use std::path::{Path, PathBuf};

const NO: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS_COUNT: &str = "split.tensors.count";

/// The files of a model, and one table of the tensors of all of them.
pub(crate) type Opened = (Vec<Shard>, Vec<TensorInfo>, NameIndex);

/// Opens the file at `path` and, if it is the first of several, the others.
pub(crate) fn open(path: &Path) -> Result<Opened, GgufError> {
    let mut first = Shard::open(path)?;
    let count = count(&first.metadata())?;
    if count == 1 {
        let (tensors, index) = first.header.take_tensors();
        return Ok((vec![first], tensors, index));
    }
    let names = Names::of_first(path, first.metadata().get(NO)?, count)?;
    let shards = open_siblings(first, &names)?;
    join_tables(shards, &names)
}

/// A model in memory has no siblings.
pub(crate) fn refuse_in_memory(metadata: &Metadata<'_>) -> Result<(), GgufError> {
    match count(metadata)? {
        1 => Ok(()),
        count => Err(GgufError::SplitInMemory { count: count.into() }),
    }
}

/// Number of files of the model this metadata belongs to; 1 if it does not say.
fn count(metadata: &Metadata<'_>) -> Result<u16, GgufError> {
    match metadata.get_opt::<u16>(COUNT)?.unwrap_or(1) {
        0 => Err(GgufError::BadSplit { key: COUNT, found: 0, expected: "at least 1".to_string() }),
        count => Ok(count),
    }
}

/// How the files of a split model are called: after the first, and beside it. Nothing in a file leads elsewhere.
struct Names<'a> {
    first: &'a Path,
    prefix: String,
    count: u16,
}

impl<'a> Names<'a> {
    /// From the path of the first shard, which says of itself that it is number `no` of `count`.
    fn of_first(first: &'a Path, no: u16, count: u16) -> Result<Self, GgufError> {
        let name = first.file_name().unwrap_or_default().to_string_lossy();
        let ending = Self::ending(no, count);
        let Some(prefix) = name.strip_suffix(&ending) else {
            return Err(GgufError::SplitName { found: name.to_string(), expected: ending });
        };
        if no != 0 {
            let first = format!("{prefix}{}", Self::ending(0, count));
            let expected = format!("0: open the first shard, {}", Escaped(&first));
            return Err(GgufError::BadSplit { key: NO, found: no.into(), expected });
        }
        Ok(Self { first, prefix: prefix.to_string(), count })
    }

    /// `-00002-of-00004.gguf` for shard 1 of 4.
    fn ending(no: u16, count: u16) -> String {
        format!("-{:05}-of-{count:05}.gguf", u32::from(no) + 1)
    }

    fn path(&self, no: u16) -> PathBuf {
        self.first.with_file_name(format!("{}{}", self.prefix, Self::ending(no, self.count)))
    }
}

/// `first` and its siblings.
fn open_siblings(first: Shard, names: &Names<'_>) -> Result<Vec<Shard>, GgufError> {
    let n_tensors = first.metadata().get::<i32>(TENSORS_COUNT)?;
    let mut found = to_u64(first.header.tensors.len());
    let mut shards = vec![first];
    for no in 1..names.count {
        let path = names.path(no);
        let shard = Shard::open(&path).and_then(|shard| check_shard(shard, no, names.count));
        let shard = shard.map_err(|error| error.in_shard(&path))?;
        found = found.saturating_add(to_u64(shard.header.tensors.len()));
        shards.push(shard);
        if found > limits::TENSORS {
            let expected = format!("at most {}", limits::TENSORS);
            return Err(GgufError::BadSplit { key: "the number of tensors", found, expected });
        }
    }
    if u64::try_from(n_tensors).ok() != Some(found) {
        let expected = format!("{n_tensors}, which is {TENSORS_COUNT}");
        return Err(GgufError::BadSplit { key: "the number of tensors", found, expected });
    }
    Ok(shards)
}

/// A shard must say of itself what its name says.
fn check_shard(shard: Shard, no: u16, count: u16) -> Result<Shard, GgufError> {
    for (key, expected) in [(NO, no), (COUNT, count)] {
        let found = shard.metadata().get::<u16>(key)?;
        if found != expected {
            return Err(GgufError::BadSplit {
                key,
                found: found.into(),
                expected: expected.to_string(),
            });
        }
    }
    Ok(shard)
}

fn join_tables(mut shards: Vec<Shard>, names: &Names<'_>) -> Result<Opened, GgufError> {
    let mut tensors = Vec::new();
    let mut rows_at = Vec::new();
    for (no, shard) in (0_u16..).zip(&mut shards) {
        let rows = shard.header.take_tensors().0;
        tensors.extend(rows.into_iter().map(|row| TensorInfo { shard: no.into(), ..row }));
        rows_at.extend(shard.header.rows_at.iter().map(|&byte| (no, byte)));
    }
    let index = NameIndex::new(tensors.len(), |row| tensors[row].name.as_bytes()).map_err(
        |Duplicate(row)| {
            let (no, byte) = rows_at[row];
            GgufError::DuplicateTensor { name: tensors[row].name.clone(), byte }
                .in_shard(&names.path(no))
        },
    )?;
    Ok((shards, tensors, index))
}
