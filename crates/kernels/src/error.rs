//! The crate's error type.

use dequant::GgmlType;

/// An error of this crate. Operations on matching shapes do not fail; only building things does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No packed layout exists for the type.
    #[error("no matrix kernel for tensor type {}", ty.name())]
    UnsupportedType {
        /// The type.
        ty: GgmlType,
    },
    /// A matrix's bytes do not match its shape, or the shape is no whole number of blocks.
    #[error("{} matrix of {n_rows} x {n_cols} does not match {n_bytes} bytes", ty.name())]
    MatrixShape {
        /// The type.
        ty: GgmlType,
        /// Rows.
        n_rows: usize,
        /// Columns.
        n_cols: usize,
        /// Bytes given.
        n_bytes: usize,
    },
    /// The system has no memory for a matrix.
    #[error("no memory for {n_bytes} bytes of weights")]
    Memory {
        /// Bytes asked for.
        n_bytes: usize,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The number of threads is zero or the threads could not be started.
    #[error("cannot start a team of {n_threads} threads")]
    Threads {
        /// Threads asked for.
        n_threads: usize,
        /// What the operating system said.
        #[source]
        source: Option<rayon::ThreadPoolBuildError>,
    },
    /// A key-value cache of this shape is empty or has more bytes than can be addressed.
    #[error("a key-value cache of shape {shape:?} cannot be made")]
    CacheShape {
        /// The shape.
        shape: crate::KvShape,
    },
    /// A sequence or position outside the key-value cache.
    #[error("sequence {seq}, {len} positions: the cache holds {n_seq} sequences of {n_ctx}")]
    CacheRange {
        /// The sequence.
        seq: usize,
        /// Positions needed of it.
        len: usize,
        /// Sequences of the cache.
        n_seq: usize,
        /// Positions of a sequence.
        n_ctx: usize,
    },
    /// Parameters of rotary embeddings that have no meaning.
    #[error("rotary embedding: {field} is {value}")]
    RopeParams {
        /// The parameter.
        field: &'static str,
        /// Its value.
        value: f64,
    },
}
