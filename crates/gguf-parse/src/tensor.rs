//! The tensor table.
use crate::GgmlType;

/// Dimensions, innermost first as GGUF stores them; unused ones are 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    pub(crate) ne: [u64; 4],
    pub(crate) n_dims: usize,
}

impl Dims {
    /// Elements in a row: the innermost dimension.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        unimplemented!()
    }
    /// Rows: the product of the other dimensions.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        unimplemented!()
    }
    /// Number of elements.
    #[must_use]
    pub fn n_elems(&self) -> usize {
        unimplemented!()
    }
    /// Dimensions as stored, innermost first, `n_dims` of them.
    #[must_use]
    pub fn ne(&self) -> &[u64] {
        &self.ne[..self.n_dims]
    }
}

/// One row of the tensor table.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Name, at most 63 bytes.
    pub name: String,
    /// Element type.
    pub ty: GgmlType,
    /// Dimensions.
    pub dims: Dims,
    /// Offset in the data section of its shard.
    pub offset: u64,
    /// Size in bytes; proven to fit in `usize` and in the file.
    pub n_bytes: usize,
    /// Which file of a split model holds it; 0 for the first.
    pub shard: usize,
}

/// A tensor's bytes with their meaning. `data.len()` matches `dims` and `ty`.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Element type.
    pub ty: GgmlType,
    /// Dimensions.
    pub dims: Dims,
    /// The bytes, in the file's mapping.
    pub data: &'a [u8],
}
