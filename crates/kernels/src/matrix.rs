//! Weight matrices in the layout that the kernels read.

mod pack;

use crate::format::{self, Float, Format, Header, ROWS, with_format};
use crate::team::Piece;
use crate::{ActForm, Arena, Isa, KernelError, Team};
use dequant::GgmlType;
use std::ops::Range;

/// A weight matrix `[n_rows, n_cols]`, packed so that 16 rows lie together.
#[derive(Debug)]
pub struct Matrix {
    ty: GgmlType,
    n_rows: usize,
    n_cols: usize,
    packed: Piece,
}

impl Matrix {
    /// Packs the bytes of a GGUF tensor `[n_rows, n_cols]` for the kernels of `isa` (all present ones read the same
    /// layout) into memory of `arena`. Takes about as many bytes as the tensor: rows are padded to a multiple of 16.
    /// # Errors
    /// An unsupported type; bytes that do not match the shape; no memory.
    pub fn pack(
        isa: Isa,
        ty: GgmlType,
        n_rows: usize,
        n_cols: usize,
        bytes: &[u8],
        team: &Team,
        arena: &Arena,
    ) -> Result<Self, KernelError> {
        // A look at the shape before the memory is taken.
        let n_bytes = ty.row_bytes(n_cols).and_then(|n| n.checked_mul(n_rows));
        if Self::is_supported(ty) && n_bytes != Some(bytes.len()) {
            return Err(KernelError::MatrixShape { ty, n_rows, n_cols, n_bytes: bytes.len() });
        }
        let mut matrix = Self::zeroed(isa, ty, n_rows, n_cols, arena)?;
        matrix.pack_rows(0, bytes, team)?;
        Ok(matrix)
    }

    /// A matrix of zeros, to be filled with [`Self::pack_rows`]. Its memory is committed as it is filled.
    /// # Errors
    /// As [`Self::pack`].
    pub fn zeroed(
        isa: Isa,
        ty: GgmlType,
        n_rows: usize,
        n_cols: usize,
        arena: &Arena,
    ) -> Result<Self, KernelError> {
        let _ = isa;
        if !Self::is_supported(ty) {
            return Err(KernelError::UnsupportedType { ty });
        }
        let n_bytes = Self::packed_bytes(ty, n_rows, n_cols).ok_or(KernelError::MatrixShape {
            ty,
            n_rows,
            n_cols,
            n_bytes: 0,
        })?;
        let packed =
            arena.take(n_bytes).map_err(|source| KernelError::Memory { n_bytes, source })?;
        Ok(Self { ty, n_rows, n_cols, packed })
    }

    /// Packs some rows from `first_row` on, a multiple of 16. All but the last of the matrix are packed by 16.
    /// # Errors
    /// Bytes that are no such rows.
    pub fn pack_rows(
        &mut self,
        first_row: usize,
        bytes: &[u8],
        team: &Team,
    ) -> Result<(), KernelError> {
        let &mut Self { ty, n_rows, n_cols, .. } = self;
        let row_bytes = ty.row_bytes(n_cols).unwrap_or_default();
        let n = bytes.len().checked_div(row_bytes).unwrap_or_default();
        let end = first_row.saturating_add(n);
        let whole = n * row_bytes == bytes.len() && first_row.is_multiple_of(ROWS);
        if !whole || end > n_rows || !(end.is_multiple_of(ROWS) || end == n_rows) {
            return Err(KernelError::MatrixShape { ty, n_rows, n_cols, n_bytes: bytes.len() });
        }
        let group_bytes = self.group_bytes();
        let groups = first_row / ROWS * group_bytes..end.div_ceil(ROWS) * group_bytes;
        let packed = &mut self.packed.as_mut_slice()[groups];
        team.for_chunks_mut(packed, group_bytes, &|group, out| {
            let rows = &bytes[group * ROWS * row_bytes..];
            let rows = &rows[..rows.len().min(ROWS * row_bytes)];
            let _ = with_format!(ty, F => pack::codes::<F>(rows, row_bytes, out),
                W => pack::floats::<W>(rows, row_bytes, out));
        });
        Ok(())
    }

    /// Whether [`Self::pack`] knows `ty`.
    #[must_use]
    pub fn is_supported(ty: GgmlType) -> bool {
        with_format!(ty, F => F::K, W => W::BYTES).is_some()
    }

    /// Bytes that packing will allocate; `None` if the type is not supported, a row is no whole number of blocks, or
    /// the size overflows.
    #[must_use]
    pub fn packed_bytes(ty: GgmlType, n_rows: usize, n_cols: usize) -> Option<usize> {
        let (k, bytes) = with_format!(ty, F => (F::K, F::BYTES), W => (W::UNIT, W::UNIT_BYTES))?;
        ty.row_bytes(n_cols)?;
        n_cols.div_ceil(k).checked_mul(bytes)?.checked_mul(n_rows.div_ceil(ROWS))
    }

    /// The tensor's type.
    #[must_use]
    pub fn ty(&self) -> GgmlType {
        self.ty
    }

    /// Rows: the number of outputs.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns: the number of inputs.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Bytes allocated.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.packed.as_slice().len()
    }

    /// The form of the activations that [`crate::linears`] needs for this matrix.
    #[must_use]
    pub fn act_form(&self) -> ActForm {
        ActForm::of(self.ty)
    }

    /// Row `i` as f32, bit-identical to `dequant::dequantize`.
    /// # Panics
    /// If `i` is no row or `out` has not `n_cols` elements.
    pub fn dequantize_row(&self, i: usize, out: &mut [f32]) {
        assert!(i < self.n_rows, "row {i} of {}", self.n_rows);
        assert_eq!(out.len(), self.n_cols, "a row has as many elements as the matrix columns");
        let (group, row) = (self.group(i / ROWS), i % ROWS);
        let _ = with_format!(self.ty,
        F => dequantize_row::<F>(group, row, out),
        W => for (out, unit) in out.chunks_mut(W::UNIT).zip(group.chunks_exact(W::UNIT_BYTES)) {
            let numbers = unit[row * W::UNIT * W::BYTES..].chunks_exact(W::BYTES);
            out.iter_mut().zip(numbers).for_each(|(x, number)| *x = W::value(number));
        });
    }

    /// The packed bytes of 16 rows.
    pub(crate) fn group(&self, group: usize) -> &[u8] {
        self.groups(group..group + 1)
    }

    /// The packed bytes of some times 16 rows.
    pub(crate) fn groups(&self, groups: Range<usize>) -> &[u8] {
        let n_bytes = self.group_bytes();
        &self.packed.as_slice()[groups.start * n_bytes..groups.end * n_bytes]
    }

    /// Bytes of 16 rows.
    pub(crate) fn group_bytes(&self) -> usize {
        self.n_bytes() / self.n_rows.div_ceil(ROWS).max(1)
    }
}

/// One row of a group, with the operations (and so the bits) of `dequant`.
fn dequantize_row<F: Format>(group: &[u8], row: usize, out: &mut [f32]) {
    for (block, out) in group.chunks_exact(F::BYTES).zip(out.chunks_exact_mut(F::K)) {
        let (header, chunks) = block.split_at(F::HEADER.n_bytes());
        let header = Header::unpack(F::HEADER, header);
        let (d, m) = (header.d[row], header.m[row]);
        let chunks = chunks.chunks_exact(format::chunk_bytes(F::BITS));
        for (c, (chunk, out)) in chunks.zip(out.as_chunks_mut::<32>().0).enumerate() {
            let quads = format::unpack_chunk(F::BITS, chunk);
            for (k, x) in out.iter_mut().enumerate() {
                let q = f32::from(format::code::<F>(quads[k / 4][row * 4 + k % 4]));
                let j = (c * format::CHUNK + k) / F::GROUP;
                *x = if F::HEADER.has_mins() {
                    (d * f32::from(header.scales[j][row])) * q - m * f32::from(header.mins[j][row])
                } else if F::HEADER.has_scales() {
                    (d * f32::from(header.scales[j][row])) * q
                } else if F::HEADER.has_m() {
                    q * d + m
                } else {
                    q * d
                };
            }
        }
    }
}

#[cfg(test)]
mod tests;
