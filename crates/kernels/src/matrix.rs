//! Weight matrices in the layout that the kernels read.

use crate::{ActForm, Isa, KernelError, Team};
use dequant::GgmlType;

/// A weight matrix `[n_rows, n_cols]`, packed for an instruction set.
#[derive(Debug)]
pub struct Matrix {
    ty: GgmlType,
    n_rows: usize,
    n_cols: usize,
    packed: Vec<u8>,
}

impl Matrix {
    /// Packs the bytes of a GGUF tensor `[n_rows, n_cols]`. Takes about as many bytes as the tensor
    /// (rows are padded to a multiple of 16).
    /// # Errors
    /// An unsupported type; bytes that do not match the shape.
    pub fn pack(
        isa: Isa,
        ty: GgmlType,
        n_rows: usize,
        n_cols: usize,
        bytes: &[u8],
        team: &Team,
    ) -> Result<Self, KernelError> {
        let _ = (isa, ty, n_rows, n_cols, bytes, team);
        unimplemented!()
    }
    /// Whether [`Self::pack`] knows `ty`.
    #[must_use]
    pub fn is_supported(ty: GgmlType) -> bool {
        let _ = ty;
        unimplemented!()
    }
    /// Bytes that packing will allocate; `None` if the type is not supported or the size overflows.
    #[must_use]
    pub fn packed_bytes(ty: GgmlType, n_rows: usize, n_cols: usize) -> Option<usize> {
        let _ = (ty, n_rows, n_cols);
        unimplemented!()
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
        self.packed.len()
    }
    /// The form of the activations that [`crate::linears`] needs for this matrix.
    #[must_use]
    pub fn act_form(&self) -> ActForm {
        unimplemented!()
    }
    /// Row `i` as f32, bit-identical to `dequant::dequantize`.
    /// # Panics
    /// If `i` is no row or `out` has not `n_cols` elements.
    pub fn dequantize_row(&self, i: usize, out: &mut [f32]) {
        let _ = (i, out);
        unimplemented!()
    }
}
