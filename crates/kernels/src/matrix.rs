//! Weight matrices in the layout that the kernels read.

use crate::format::{self, Float, Format, Header, Parts, ROWS, with_format};
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
        let _ = isa;
        let shape_error = || KernelError::MatrixShape { ty, n_rows, n_cols, n_bytes: bytes.len() };
        if !Self::is_supported(ty) {
            return Err(KernelError::UnsupportedType { ty });
        }
        let row_bytes = ty.row_bytes(n_cols).ok_or_else(shape_error)?;
        if row_bytes.checked_mul(n_rows) != Some(bytes.len()) {
            return Err(shape_error());
        }
        let n_bytes = Self::packed_bytes(ty, n_rows, n_cols).ok_or_else(shape_error)?;
        let mut packed =
            arena.take(n_bytes).map_err(|source| KernelError::Memory { n_bytes, source })?;
        if n_bytes > 0 {
            let group_bytes = n_bytes / n_rows.div_ceil(ROWS);
            team.for_chunks_mut(packed.as_mut_slice(), group_bytes, &|group, out| {
                let rows = &bytes[group * ROWS * row_bytes..];
                let rows = rows.chunks_exact(row_bytes).take(ROWS);
                let _ = with_format!(ty, F => pack_group::<F>(rows, out), W => pack_floats::<W>(rows, out));
            });
        }
        Ok(Self { ty, n_rows, n_cols, packed })
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

/// Packs up to 16 rows of a file into a zeroed group.
fn pack_group<'a, F: Format>(rows: impl Iterator<Item = &'a [u8]>, out: &mut [u8]) {
    let rows: Vec<&[F::Block]> =
        rows.map(|row| dequant::blocks::<F::Block>(row).unwrap_or_default()).collect();
    for (b, out) in out.chunks_exact_mut(F::BYTES).enumerate() {
        let parts: [Parts; ROWS] =
            std::array::from_fn(|r| rows.get(r).map_or(Parts::ZERO, |row| F::parts(&row[b])));
        let (header, chunks) = out.split_at_mut(F::HEADER.n_bytes());
        Header::pack(F::HEADER, &parts, header);
        for (c, chunk) in chunks.chunks_exact_mut(format::chunk_bytes(F::BITS)).enumerate() {
            let quads = std::array::from_fn(|quad| {
                let column = c * format::CHUNK + quad * 4;
                std::array::from_fn(|i| parts[i / 4].codes[column + i % 4])
            });
            format::pack_chunk(F::BITS, &quads, chunk);
        }
    }
}

/// Transposes up to 16 rows of a file into a zeroed group.
fn pack_floats<'a, W: Float>(rows: impl Iterator<Item = &'a [u8]>, out: &mut [u8]) {
    for (r, row) in rows.enumerate() {
        let units = row.chunks(W::UNIT * W::BYTES).zip(out.chunks_exact_mut(W::UNIT_BYTES));
        for (x, unit) in units {
            unit[r * W::UNIT * W::BYTES..][..x.len()].copy_from_slice(x);
        }
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
                let q = format::code::<F>(quads[k / 4][row * 4 + k % 4]) as f32;
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
