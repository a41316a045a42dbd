//! The largest header this crate reads. Real files stay far below; what is above is refused before
//! anything is allocated or looped over.

/// Metadata pairs of a file.
pub(crate) const PAIRS: u64 = 65_536;
/// Tensors of a file.
pub(crate) const TENSORS: u64 = 65_536;
/// Bytes of a key.
pub(crate) const KEY_BYTES: u64 = 65_535;
/// Bytes of a tensor name: ggml keeps 64 with the terminating zero.
pub(crate) const TENSOR_NAME_BYTES: u64 = 63;
/// Bytes of a string value.
pub(crate) const STRING_BYTES: u64 = 16 << 20;
/// Elements of an array.
pub(crate) const ARRAY_ELEMS: u64 = 16 << 20;
/// Bytes of all pairs together.
pub(crate) const METADATA_BYTES: usize = 256 << 20;
/// `general.alignment`.
pub(crate) const ALIGNMENT: u32 = 1 << 20;
/// Bytes of a tensor: more than any machine maps, and far from where sizes wrap.
pub(crate) const TENSOR_BYTES: u64 = 1 << 44;

/// A length as the format counts it; no machine has wider pointers than 64 bits.
pub(crate) fn to_u64(n: usize) -> u64 {
    n as u64
}
