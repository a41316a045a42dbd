//! The tensor table.
use crate::GgmlType;

/// The shape of a tensor. GGUF stores dimensions innermost first: a matrix of 3 rows of 256 is `[256, 3]`.
///
/// Every dimension is at least 1, and the number of elements fits in an `i64` and in a `usize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    /// Innermost first; unused ones are 1.
    ne: [u64; 4],
    n_dims: usize,
}

impl Dims {
    /// A shape from 1 to 4 dimensions, innermost first; `None` if there are more or fewer, one of them is 0, or
    /// their product is no `i64` or no `usize`.
    #[must_use]
    pub fn new(ne: &[u64]) -> Option<Self> {
        let mut dims = Self { ne: [1; 4], n_dims: ne.len() };
        dims.ne.get_mut(..ne.len())?.copy_from_slice(ne);
        let n_elems = dims.ne.iter().try_fold(1_u64, |product, &n| product.checked_mul(n))?;
        let fits = i64::try_from(n_elems).is_ok() && usize::try_from(n_elems).is_ok();
        (fits && n_elems > 0 && !ne.is_empty()).then_some(dims)
    }

    /// Elements in a row: the innermost dimension.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        to_usize(self.ne[0])
    }

    /// Rows: the product of the other dimensions.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        to_usize(self.ne[1..].iter().product())
    }

    /// Number of elements.
    #[must_use]
    pub fn n_elems(&self) -> usize {
        to_usize(self.ne.iter().product())
    }

    /// Dimensions as stored, innermost first, 1 to 4 of them.
    #[must_use]
    pub fn ne(&self) -> &[u64] {
        &self.ne[..self.n_dims]
    }

    /// Bytes of a tensor of this shape; `None` if its rows are no whole number of blocks, or it does not fit in a
    /// `usize`.
    #[must_use]
    pub fn n_bytes(&self, ty: GgmlType) -> Option<usize> {
        ty.row_bytes(self.n_cols())?.checked_mul(self.n_rows())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "Dims::new proves that the product of all dimensions fits"
)]
fn to_usize(n: u64) -> usize {
    n as usize
}

/// One row of the tensor table.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Name, 1 to 63 bytes.
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
    /// The bytes, in the file's mapping: aligned to nothing, little-endian.
    pub data: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::Dims;
    use crate::GgmlType;

    #[test]
    fn shapes_are_innermost_first() {
        let dims = Dims::new(&[256, 3, 2]).unwrap();
        assert_eq!(
            (dims.n_cols(), dims.n_rows(), dims.n_elems(), dims.ne()),
            (256, 6, 1536, &[256, 3, 2][..])
        );
        assert_eq!(dims.n_bytes(GgmlType::Q4_K), Some(6 * 144));
        assert_eq!(Dims::new(&[255]).unwrap().n_bytes(GgmlType::Q4_K), None);
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let wrong: [&[u64]; 6] =
            [&[], &[0], &[1, 1, 1, 1, 1], &[1 << 63], &[1 << 32, 1 << 32], &[u64::MAX, u64::MAX]];
        for ne in wrong {
            assert_eq!(Dims::new(ne), None, "{ne:?}");
        }
        assert_eq!(Dims::new(&[1 << 61]).unwrap().n_bytes(GgmlType::F64), None, "2^64 bytes");
    }
}
