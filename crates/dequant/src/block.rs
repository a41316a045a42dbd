//! The table of block types, the trait they share, and the casts between bytes and blocks.
//!
//! All `unsafe` of this crate is here.
#![expect(unsafe_code, reason = "bytes are viewed as blocks; each use says why it is sound")]

use crate::{
    BlockBF16, BlockF16, BlockF32, BlockIQ4_NL, BlockIQ4_XS, BlockMXFP4, BlockQ2_K, BlockQ3_K,
    BlockQ4_0, BlockQ4_1, BlockQ4_K, BlockQ5_0, BlockQ5_1, BlockQ5_K, BlockQ6_K, BlockQ8_0,
    BlockQ8_1, BlockQ8_K, DequantError,
};
use gguf_parse::GgmlType;

/// The block of one tensor type: a fixed number of elements in a fixed number of bytes.
///
/// # Safety
/// An implementing type consists of bytes only (`u8`, `i8`, arrays of those or of such arrays): alignment 1, no
/// padding, every bit pattern valid, size equal to `Self::TYPE.block_bytes()`.
pub unsafe trait Block: Copy + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The tensor type.
    const TYPE: GgmlType;
    /// Elements in a block.
    const N_ELEMS: usize;
    /// Writes the block's elements, bit-identical to ggml's scalar code.
    /// # Panics
    /// If `out` has not [`Self::N_ELEMS`] elements.
    fn dequantize(&self, out: &mut [f32]);
    /// Whether the scales (of a float type: the value) are neither infinite nor NaN.
    fn is_finite(&self) -> bool;
}

/// A block that can be made from f32.
pub trait Quantize: Block {
    /// The block for `x`, byte-identical to ggml's without an importance matrix.
    /// # Panics
    /// If `x` has not [`Block::N_ELEMS`] elements.
    fn quantize(x: &[f32]) -> Self;
}

macro_rules! blocks {
    ($($block:ident: $ty:ident, $($scale:ident)*;)*) => {$(
        const _: () = assert!(
            size_of::<$block>() == GgmlType::$ty.block_bytes() && align_of::<$block>() == 1,
            "a block is its bytes and nothing else"
        );
        // SAFETY: repr(C) structs of bytes; size and alignment are asserted above.
        unsafe impl Block for $block {
            const TYPE: GgmlType = GgmlType::$ty;
            const N_ELEMS: usize = GgmlType::$ty.block_elems();
            #[inline]
            fn dequantize(&self, out: &mut [f32]) {
                out.copy_from_slice(&self.decode());
            }
            #[inline]
            fn is_finite(&self) -> bool {
                $(self.$scale().is_finite())&&*
            }
        }
    )*};
}

macro_rules! quantizers {
    ($($block:ident)*) => {$(
        impl Quantize for $block {
            #[inline]
            fn quantize(x: &[f32]) -> Self {
                let (rows, rest) = x.as_chunks::<{ GgmlType::block_elems(<Self as Block>::TYPE) }>();
                assert!(rows.len() == 1 && rest.is_empty(), "one block has {} elements, not {}", Self::N_ELEMS, x.len());
                Self::encode(&rows[0])
            }
        }
    )*};
}

blocks! {
    BlockF32: F32, value;
    BlockF16: F16, value;
    BlockBF16: BF16, value;
    BlockQ4_0: Q4_0, scale;
    BlockQ4_1: Q4_1, scale min;
    BlockQ5_0: Q5_0, scale;
    BlockQ5_1: Q5_1, scale min;
    BlockQ8_0: Q8_0, scale;
    BlockQ8_1: Q8_1, scale scaled_sum;
    BlockQ2_K: Q2_K, scale min_scale;
    BlockQ3_K: Q3_K, scale;
    BlockQ4_K: Q4_K, scale min_scale;
    BlockQ5_K: Q5_K, scale min_scale;
    BlockQ6_K: Q6_K, scale;
    BlockQ8_K: Q8_K, scale;
    BlockIQ4_NL: IQ4_NL, scale;
    BlockIQ4_XS: IQ4_XS, scale;
    BlockMXFP4: MXFP4, scale_or_nan;
}

quantizers! {
    BlockF32 BlockF16 BlockBF16 BlockQ4_0 BlockQ4_1 BlockQ5_0 BlockQ5_1 BlockQ8_0 BlockQ8_1
    BlockQ4_K BlockQ5_K BlockQ6_K BlockQ8_K
}

/// Runs `$body` with `$B` naming the block type of `$ty`, as `Some`; `None` for a type not in the table. The tables
/// here are the one place that maps types to blocks: `tensor` has every type a tensor may have, `target` those that
/// it may be quantized to.
macro_rules! with_block {
    (tensor $ty:expr, $B:ident => $body:expr) => {
        $crate::block::with_block!(@match $ty, $B => $body,
            F32 BlockF32, F16 BlockF16, BF16 BlockBF16, Q4_0 BlockQ4_0, Q4_1 BlockQ4_1, Q5_0 BlockQ5_0,
            Q5_1 BlockQ5_1, Q8_0 BlockQ8_0, Q2_K BlockQ2_K, Q3_K BlockQ3_K, Q4_K BlockQ4_K, Q5_K BlockQ5_K,
            Q6_K BlockQ6_K, IQ4_NL BlockIQ4_NL, IQ4_XS BlockIQ4_XS, MXFP4 BlockMXFP4)
    };
    (target $ty:expr, $B:ident => $body:expr) => {
        $crate::block::with_block!(@match $ty, $B => $body,
            F32 BlockF32, F16 BlockF16, BF16 BlockBF16, Q4_0 BlockQ4_0, Q4_1 BlockQ4_1, Q5_0 BlockQ5_0,
            Q5_1 BlockQ5_1, Q8_0 BlockQ8_0, Q4_K BlockQ4_K, Q5_K BlockQ5_K, Q6_K BlockQ6_K)
    };
    (@match $ty:expr, $B:ident => $body:expr, $($variant:ident $block:ident),*) => {
        match $ty {
            $(gguf_parse::GgmlType::$variant => { type $B = $crate::$block; Some($body) })*
            _ => None,
        }
    };
}
pub(crate) use with_block;

/// Bytes as blocks, in place.
/// # Errors
/// [`DequantError::PartialBlock`] if the bytes are no whole number of blocks.
pub fn blocks<B: Block>(bytes: &[u8]) -> Result<&[B], DequantError> {
    let n = n_blocks::<B>(bytes.len())?;
    // SAFETY: `Block` promises alignment 1, no padding and that every bit pattern is valid; `n` blocks are exactly
    // the bytes borrowed, and the result borrows them just as long.
    Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), n) })
}

/// Bytes as blocks to be written, in place.
/// # Errors
/// [`DequantError::PartialBlock`] if the bytes are no whole number of blocks.
pub fn blocks_mut<B: Block>(bytes: &mut [u8]) -> Result<&mut [B], DequantError> {
    let n = n_blocks::<B>(bytes.len())?;
    // SAFETY: as in `blocks`; and a block has no padding, so whatever is stored leaves every byte initialized.
    Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), n) })
}

/// The bytes of blocks, as a file holds them.
#[must_use]
pub fn as_bytes<B: Block>(blocks: &[B]) -> &[u8] {
    // SAFETY: a block has no padding, so all its bytes are initialized; the length is the slice's own size.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), size_of_val(blocks)) }
}

fn n_blocks<B: Block>(n_bytes: usize) -> Result<usize, DequantError> {
    if n_bytes.is_multiple_of(size_of::<B>()) {
        Ok(n_bytes / size_of::<B>())
    } else {
        Err(DequantError::PartialBlock { ty: B::TYPE, n_bytes })
    }
}

/// The low byte of `x` truncated to an integer: C's `(int8_t)x` as x86-64 compilers have it, out of range included
/// (where C leaves it open: the conversion to i32 gives its minimum, of which the low byte is 0).
#[inline]
pub(crate) fn low_byte(x: f32) -> u8 {
    // Too small is the minimum in Rust too; NaN fails the comparison.
    #[expect(clippy::cast_possible_truncation, reason = "the truncation is the purpose")]
    let whole = if x < 2_147_483_648.0 { x as i32 } else { 0 };
    whole.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_are_the_identity_on_bytes() {
        // An odd offset: no alignment helps.
        let bytes: Vec<u8> = (0..=255).cycle().take(1 + 3 * 210).collect();
        let blocks_view = blocks::<BlockQ6_K>(&bytes[1..]).unwrap();
        assert_eq!(blocks_view.len(), 3, "whole blocks");
        assert_eq!(blocks_view[1].ql[0], bytes[211], "first byte of the second block");
        assert_eq!(blocks_view[2].d, [bytes[629], bytes[630]], "last bytes of the last block");
        assert_eq!(as_bytes(blocks_view), &bytes[1..], "there and back");
    }

    #[test]
    fn writing_through_the_cast_reaches_the_bytes() {
        let mut bytes = vec![0; 68];
        blocks_mut::<BlockQ8_0>(&mut bytes).unwrap()[1].qs[31] = -1;
        assert_eq!(bytes[67], 255, "the last code of the last block");
        assert!(bytes[..67].iter().all(|&b| b == 0), "nothing else changed");
    }

    #[test]
    fn partial_blocks_are_refused() {
        let want = DequantError::PartialBlock { ty: GgmlType::Q4_0, n_bytes: 19 };
        assert_eq!(blocks::<BlockQ4_0>(&[0; 19]), Err(want));
        assert_eq!(blocks_mut::<BlockQ4_0>(&mut [0; 19]), Err(want));
        assert_eq!(blocks::<BlockQ4_0>(&[]), Ok(&[][..]));
    }

    #[test]
    fn low_byte_is_the_truncating_conversion() {
        for (x, want) in
            [(0.99, 0), (-0.99, 0), (8.5, 8), (255.9, 255), (256.0, 0), (-1.0, 255), (-128.0, 128)]
        {
            assert_eq!(low_byte(x), want, "{x}");
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2_147_483_648.0, 3e9, -3e9] {
            assert_eq!(low_byte(x), 0, "{x}");
        }
    }
}
