//! Weight matrices in the layout that the kernels read.

mod pack;

use crate::buffer::Aligned;
use crate::format::{self, Float, Format, Header, ROWS, with_format};
use crate::team::Piece;
use crate::{ActForm, Arena, Isa, KernelError, Team};
use dequant::GgmlType;
use std::fmt;
use std::ops::Range;

/// A weight matrix `[n_rows, n_cols]`, packed so that 16 rows lie together: all of it once, or what is read whenever it is
/// read.
#[derive(Debug)]
pub struct Matrix {
    ty: GgmlType,
    n_rows: usize,
    n_cols: usize,
    /// Packed bytes of 16 rows.
    group_bytes: usize,
    panels: Panels,
}

/// Where the packed groups are.
#[derive(Debug)]
pub(crate) enum Panels {
    /// All of them, one behind the other.
    Resident(Piece),
    /// Nowhere: threads pack them from a tensor's bytes just before they read them.
    OnDemand(Box<dyn Rows>),
}

/// The bytes of a GGUF tensor, wherever they are.
pub trait Rows: fmt::Debug + Send + Sync {
    /// All rows. At each call they are as many.
    fn bytes(&self) -> &[u8];
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
        Self::check(ty, n_rows, n_cols, bytes)?;
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
        let group_bytes = Self::group_bytes_of(ty, n_rows, n_cols)?;
        // That it does not overflow was seen.
        let n_bytes = n_rows.div_ceil(ROWS) * group_bytes;
        let packed =
            arena.take(n_bytes).map_err(|source| KernelError::Memory { n_bytes, source })?;
        Ok(Self { ty, n_rows, n_cols, group_bytes, panels: Panels::Resident(packed) })
    }

    /// A matrix that stays where it is: its rows are packed by those who multiply with it, panel by panel, each time. The
    /// products are the same bits.
    /// # Errors
    /// An unsupported type; bytes that do not match the shape.
    pub fn on_demand(
        isa: Isa,
        ty: GgmlType,
        n_rows: usize,
        n_cols: usize,
        rows: Box<dyn Rows>,
    ) -> Result<Self, KernelError> {
        let _ = isa;
        Self::check(ty, n_rows, n_cols, rows.bytes())?;
        let group_bytes = Self::group_bytes_of(ty, n_rows, n_cols)?;
        Ok(Self { ty, n_rows, n_cols, group_bytes, panels: Panels::OnDemand(rows) })
    }

    /// Fails if `bytes` are not those of such a matrix. (The type is looked at later.)
    fn check(ty: GgmlType, n_rows: usize, n_cols: usize, bytes: &[u8]) -> Result<(), KernelError> {
        let n_bytes = ty.row_bytes(n_cols).and_then(|n| n.checked_mul(n_rows));
        if Self::is_supported(ty) && n_bytes != Some(bytes.len()) {
            return Err(KernelError::MatrixShape { ty, n_rows, n_cols, n_bytes: bytes.len() });
        }
        Ok(())
    }

    /// Packed bytes of 16 rows of a matrix that can be packed.
    fn group_bytes_of(ty: GgmlType, n_rows: usize, n_cols: usize) -> Result<usize, KernelError> {
        if !Self::is_supported(ty) {
            return Err(KernelError::UnsupportedType { ty });
        }
        let n_bytes = Self::packed_bytes(ty, n_rows, n_cols);
        let n_bytes = n_bytes.ok_or(KernelError::MatrixShape { ty, n_rows, n_cols, n_bytes: 0 })?;
        Ok(n_bytes / n_rows.div_ceil(ROWS).max(1))
    }

    /// Packs some rows from `first_row` on, a multiple of 16. All but the last of the matrix are packed by 16.
    /// # Errors
    /// Bytes that are no such rows, or a matrix [`Self::on_demand`], which has no room for any.
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
        let error = KernelError::MatrixShape { ty, n_rows, n_cols, n_bytes: bytes.len() };
        let whole = n * row_bytes == bytes.len() && first_row.is_multiple_of(ROWS);
        if !whole || end > n_rows || !(end.is_multiple_of(ROWS) || end == n_rows) {
            return Err(error);
        }
        let group_bytes = self.group_bytes;
        let groups = first_row / ROWS * group_bytes..end.div_ceil(ROWS) * group_bytes;
        let Panels::Resident(packed) = &mut self.panels else { return Err(error) };
        let packed = &mut packed.as_mut_slice()[groups];
        team.for_chunks_mut(packed, group_bytes, &|group, out| {
            let rows = &bytes[group * ROWS * row_bytes..];
            let rows = &rows[..rows.len().min(ROWS * row_bytes)];
            pack::group(ty, rows, row_bytes, out);
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
        match &self.panels {
            Panels::Resident(packed) => packed.as_slice().len(),
            Panels::OnDemand(_) => 0,
        }
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
        let (group, row) = match &self.panels {
            Panels::Resident(packed) => {
                (self.groups(packed.as_slice(), i / ROWS..i / ROWS + 1), i % ROWS)
            }
            Panels::OnDemand(rows) => {
                let row = &rows.bytes()[self.bytes_of(i..i + 1)];
                let done = dequant::dequantize(self.ty, row, out);
                debug_assert!(done.is_ok(), "type and shape were checked: {done:?}");
                return;
            }
        };
        let _ = with_format!(self.ty,
        F => dequantize_row::<F>(group, row, out),
        W => for (out, unit) in out.chunks_mut(W::UNIT).zip(group.chunks_exact(W::UNIT_BYTES)) {
            let numbers = unit[row * W::UNIT * W::BYTES..].chunks_exact(W::BYTES);
            out.iter_mut().zip(numbers).for_each(|(x, number)| *x = W::value(number));
        });
    }

    /// Where the packed groups are.
    pub(crate) fn panels(&self) -> &Panels {
        &self.panels
    }

    /// The bytes of some groups, counted from the first in `packed`.
    pub(crate) fn groups<'a>(&self, packed: &'a [u8], groups: Range<usize>) -> &'a [u8] {
        &packed[groups.start * self.group_bytes..groups.end * self.group_bytes]
    }

    /// Packs some rows, which begin at a group, of all the rows that a matrix is to be packed from.
    pub(crate) fn pack_panel<'a>(
        &self,
        all: &[u8],
        rows: Range<usize>,
        panel: &'a mut Panel,
    ) -> &'a [u8] {
        let row_bytes = self.bytes_of(0..1).len();
        let rows = &all[self.bytes_of(rows)];
        let panel = panel.sized(rows.len().div_ceil((row_bytes * ROWS).max(1)) * self.group_bytes);
        let groups = panel.chunks_exact_mut(self.group_bytes.max(1));
        for (rows, group) in rows.chunks((row_bytes * ROWS).max(1)).zip(groups) {
            // What packing leaves as it is has to be zeros, and here are other rows, packed before.
            if rows.len() < row_bytes * ROWS || self.has_odd_column() {
                group.fill(0);
            }
            pack::group(self.ty, rows, row_bytes, group);
        }
        panel
    }

    /// Whether the last column has zeros beside it.
    fn has_odd_column(&self) -> bool {
        with_format!(self.ty, F => !self.n_cols.is_multiple_of(F::K), W => !self.n_cols.is_multiple_of(W::UNIT))
            .unwrap_or_default()
    }

    /// The bytes of some rows in those of the tensor.
    fn bytes_of(&self, rows: Range<usize>) -> Range<usize> {
        // As long as the shape says: that was checked.
        let row_bytes = self.ty.row_bytes(self.n_cols).unwrap_or_default();
        rows.start * row_bytes..rows.end * row_bytes
    }

    /// Packed bytes of 16 rows.
    pub(crate) fn group_bytes(&self) -> usize {
        self.group_bytes
    }
}

/// A thread's packed rows of a matrix that is packed on demand.
#[derive(Debug, Default)]
pub(crate) struct Panel(Option<Aligned<u8>>);

impl Panel {
    /// Room for `n` bytes, with anything in it.
    fn sized(&mut self, n: usize) -> &mut [u8] {
        let bytes = self.0.take().filter(|bytes| bytes.as_slice().len() >= n);
        let bytes = self.0.insert(bytes.unwrap_or_else(|| Aligned::zeroed(n)));
        &mut bytes.as_mut_slice()[..n]
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
