//! The packed layouts: how 16 rows of a matrix lie together so that SIMD lanes are rows.
//!
//! # Codes
//! A *quad line* is 64 bytes: 16 rows of 4 consecutive columns, one row a 32-bit lane. A dot-product instruction
//! multiplies it with 4 activations repeated in all lanes, and no sum ever crosses lanes. Codes of fewer than 8
//! bits lie in planes that unpack into quad lines by shifts and masks; a *chunk*, 32 columns of 16 rows, is
//!
//! ```text
//! bits 3..0   4 lines; line g: quad 2 g in the low nibbles, quad 2 g + 1 in the high ones    (4, 5, 6 bits)
//! 2 bits      2 lines; line g: quad 4 g + j in bits 2 j, 2 j + 1                  (low bits of 2, 3; high of 6)
//! 1 bit       1 line: quad j in bit j                                             (high bit of 3, 5)
//! 8 bits      8 lines: the quads                                                  (8 bits, signed)
//! ```
//!
//! in this order, so a chunk of b-bit codes has 64 b bytes, as many as in the file. Codes that are places in a table stay
//! places; kernels look them up.
//!
//! # Blocks
//! A block of 32 or 256 columns is a header of scales followed by its chunks; a group of 16 rows is its blocks in
//! ascending order, one sequential stream; groups follow each other. Headers, each element for 16 rows:
//!
//! ```text
//! Plain         d f16                                                        Q4_0 Q5_0 Q8_0 IQ4_NL
//! Exponent      e u8, d is 2^(e - 128)                                       MXFP4
//! PlainMin      d f16, m f16                                                 Q4_1 Q5_1
//! Signed8       d f16, 16 x scale i8                                         Q3_K Q6_K
//! Signed8x8     d f16, 8 x scale i8                                          IQ4_XS
//! Nibbles       d f16, dmin f16, 16 x (scale | min << 4)                     Q2_K
//! SixBits       d f16, dmin f16, 8 x (scale & 15 | (min & 15) << 4),
//!               4 x (scale >> 4 | min >> 4 << 2 of sub-block 2 j, << 4 of 2 j + 1)    Q4_K Q5_K
//! ```
//!
//! F32 and F16 have neither: column after column, 16 rows each. BF16: pairs of columns, two columns a row, 16 rows
//! each; a last single column has a zero beside it.
//!
//! A new type of at most 8 bits needs an entry in the table below, and a header kind if its scales are of a new
//! sort; the kernels are generic over [`Format`].

#![expect(non_camel_case_types, reason = "ggml's spelling of its types")]

mod codes;
mod header;
mod words;

pub(crate) use codes::{chunk_bytes, pack_row, unpack_chunk};
pub(crate) use header::{Header, HeaderKind};

use dequant::{
    BlockBF16, BlockF16, BlockF32, BlockIQ4_NL, BlockIQ4_XS, BlockMXFP4, BlockQ2_K, BlockQ3_K,
    BlockQ4_0, BlockQ4_1, BlockQ4_K, BlockQ5_0, BlockQ5_1, BlockQ5_K, BlockQ6_K, BlockQ8_0,
    IQ4_VALUES, MXFP4_VALUES,
};

/// Rows that lie together.
pub(crate) const ROWS: usize = 16;
/// Columns of a chunk.
pub(crate) const CHUNK: usize = 32;
/// 16 rows of 4 columns.
pub(crate) type Quad = [u8; 64];

/// The scales of one row's block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scales {
    /// Scale, F16; or its exponent and a zero.
    pub(crate) d: [u8; 2],
    /// Minimum (or its scale), F16.
    pub(crate) m: [u8; 2],
    /// Integer scales of the sub-blocks.
    pub(crate) scales: [i8; 16],
    /// Integer minimums of the sub-blocks.
    pub(crate) mins: [u8; 16],
}

impl Scales {
    /// Zero everywhere.
    pub(crate) const ZERO: Self = Self { d: [0; 2], m: [0; 2], scales: [0; 16], mins: [0; 16] };
}

/// A type with integer codes.
pub(crate) trait Format: Copy + Send + Sync + 'static {
    /// The file's block.
    type Block: dequant::Block;
    /// Bits of a code. 8 bits are signed.
    const BITS: usize;
    /// What codes are places in, if they are.
    const TABLE: Option<[i8; 16]>;
    /// To be subtracted from a stored code, or from what the table has.
    const BIAS: i32;
    /// Columns with one integer scale (the block's columns if there are none).
    const GROUP: usize;
    /// Scales in front of the codes.
    const HEADER: HeaderKind;

    /// Whether codes (or what the table has) are signed bytes. Others are below 128.
    #[cfg(target_arch = "x86_64")]
    const SIGNED: bool = Self::BITS == 8 || Self::TABLE.is_some() && Self::BIAS == 0;
    /// Columns of a block.
    const K: usize = <Self::Block as dequant::Block>::N_ELEMS;
    /// Chunks of a block.
    const CHUNKS: usize = Self::K / CHUNK;
    /// Bytes of 16 rows of a block.
    const BYTES: usize = Self::HEADER.n_bytes() + Self::CHUNKS * chunk_bytes(Self::BITS);

    /// A block's codes, 8 columns a word, the first in the lowest byte.
    type Words: AsRef<[u64]>;
    /// The codes as stored: unsigned with the format's bias added, places in the table, or the bits of signed bytes.
    fn words(block: &Self::Block) -> Self::Words;
    /// The scales.
    fn scales(block: &Self::Block) -> Scales;
}

/// The floating-point types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatKind {
    F32,
    F16,
    BF16,
}

/// A type whose elements are floating-point numbers.
pub(crate) trait Float: Copy + Send + Sync + 'static {
    /// The file's block: one element.
    type Block: dequant::Block;
    /// Which of the three it is.
    const KIND: FloatKind;
    /// Bytes of an element.
    const BYTES: usize = size_of::<Self::Block>();
    /// Columns that lie together.
    const UNIT: usize = if matches!(Self::KIND, FloatKind::BF16) { 2 } else { 1 };
    /// Bytes of 16 rows of a unit of columns.
    const UNIT_BYTES: usize = ROWS * Self::UNIT * Self::BYTES;
    /// The value.
    fn value(bytes: &[u8]) -> f32;
}

/// The code that a stored one stands for.
#[inline]
pub(crate) fn code<F: Format>(stored: u8) -> i8 {
    let seen = match F::TABLE {
        Some(table) => table[usize::from(stored & 15)],
        None => stored.cast_signed(),
    };
    // There is no bias but below 64: every code fits.
    seen.wrapping_sub(F::BIAS.to_le_bytes()[0].cast_signed())
}

/// The table, if there is one.
const fn one_of<const N: usize>(tables: [[i8; 16]; N]) -> Option<[i8; 16]> {
    if N == 0 { None } else { Some(tables[0]) }
}

/// A table with a bias added.
const fn biased(mut table: [i8; 16], bias: i8) -> [i8; 16] {
    let mut i = 0;
    while i < 16 {
        table[i] += bias;
        i += 1;
    }
    table
}

/// Scales of fewer sub-blocks with zeros behind them.
#[inline]
fn sixteen<T: Copy + Default, const N: usize>(values: [T; N]) -> [T; 16] {
    std::array::from_fn(|j| values.get(j).copied().unwrap_or_default())
}

macro_rules! formats {
    ($($name:ident: $block:ident, $bits:literal bits $(in $table:expr)? ; - $bias:literal, by $group:literal, $header:ident,
       |$b:ident| $words:expr, $scales:expr;)*) => {$(
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name;
        impl Format for $name {
            type Block = $block;
            const BITS: usize = $bits;
            const TABLE: Option<[i8; 16]> = one_of([$($table)?]);
            const BIAS: i32 = $bias;
            const GROUP: usize = $group;
            const HEADER: HeaderKind = HeaderKind::$header;
            type Words = [u64; Self::K / 8];
            #[inline]
            fn words($b: &$block) -> Self::Words {
                $words
            }
            #[inline]
            fn scales($b: &$block) -> Scales {
                $scales
            }
        }
    )*};
}

formats! {
    Q4_0: BlockQ4_0, 4 bits; - 8, by 32, Plain, |b| words::nibbles(&b.qs), plain(b.d);
    Q4_1: BlockQ4_1, 4 bits; - 0, by 32, PlainMin, |b| words::nibbles(&b.qs), plain_min(b.d, b.m);
    Q5_0: BlockQ5_0, 5 bits; - 16, by 32, Plain, |b| words::nibbles_and_bits(&b.qs, b.qh), plain(b.d);
    Q5_1: BlockQ5_1, 5 bits; - 0, by 32, PlainMin, |b| words::nibbles_and_bits(&b.qs, b.qh), plain_min(b.d, b.m);
    Q8_0: BlockQ8_0, 8 bits; - 0, by 32, Plain, |b| words::bytes(&b.qs), plain(b.d);
    Q2_K: BlockQ2_K, 2 bits; - 0, by 16, Nibbles,
        |b| words::k_two_bits(&b.qs), with_mins(b.d, b.dmin, b.scales_mins());
    Q3_K: BlockQ3_K, 3 bits; - 4, by 16, Signed8,
        |b| words::k_two_bits_and_one(&b.qs, &b.hmask), Scales { scales: b.scales(), ..plain(b.d) };
    Q4_K: BlockQ4_K, 4 bits; - 0, by 32, SixBits,
        |b| words::k_nibbles(&b.qs), with_mins(b.d, b.dmin, b.scales_mins());
    Q5_K: BlockQ5_K, 5 bits; - 0, by 32, SixBits,
        |b| words::k_nibbles_and_bits(&b.qs, &b.qh), with_mins(b.d, b.dmin, b.scales_mins());
    Q6_K: BlockQ6_K, 6 bits; - 32, by 16, Signed8,
        |b| words::k_six_bits(&b.ql, &b.qh), Scales { scales: b.scales, ..plain(b.d) };
    IQ4_NL: BlockIQ4_NL, 4 bits in IQ4_VALUES; - 0, by 32, Plain, |b| words::nibbles(&b.qs), plain(b.d);
    IQ4_XS: BlockIQ4_XS, 4 bits in IQ4_VALUES; - 0, by 32, Signed8x8,
        |b| words::iq_nibbles(&b.qs), Scales { scales: sixteen(b.scales()), ..plain(b.d) };
    MXFP4: BlockMXFP4, 4 bits in biased(MXFP4_VALUES, 16); - 16, by 32, Exponent,
        |b| words::nibbles(&b.qs), plain([b.e, 0]);
}

#[inline]
fn plain(d: [u8; 2]) -> Scales {
    Scales { d, ..Scales::ZERO }
}

#[inline]
fn plain_min(d: [u8; 2], m: [u8; 2]) -> Scales {
    Scales { d, m, ..Scales::ZERO }
}

#[inline]
fn with_mins<const N: usize>(d: [u8; 2], m: [u8; 2], (scales, mins): ([u8; N], [u8; N])) -> Scales {
    Scales { d, m, scales: sixteen(scales).map(u8::cast_signed), mins: sixteen(mins) }
}

macro_rules! floats {
    ($($name:ident: $block:ident, |$b:ident| $value:expr;)*) => {$(
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name;
        impl Float for $name {
            type Block = $block;
            const KIND: FloatKind = FloatKind::$name;
            #[inline]
            fn value(bytes: &[u8]) -> f32 {
                let $b = bytes;
                $value
            }
        }
    )*};
}

floats! {
    F32: BlockF32, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    F16: BlockF16, |b| dequant::f16_to_f32([b[0], b[1]]);
    BF16: BlockBF16, |b| dequant::bf16_to_f32([b[0], b[1]]);
}

/// Runs `$quant` with `$F` naming the [`Format`] of `$ty`, or `$float` with `$W` naming its [`Float`], as `Some`;
/// `None` for any other type. The one table of the types that matrices may have.
macro_rules! with_format {
    ($ty:expr, $F:ident => $quant:expr, $W:ident => $float:expr) => {
        $crate::format::with_format!(@match $ty, $F => $quant, $W => $float,
            [Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4], [F32 F16 BF16])
    };
    (@match $ty:expr, $F:ident => $quant:expr, $W:ident => $float:expr, [$($q:ident)*], [$($f:ident)*]) => {
        match $ty {
            $(dequant::GgmlType::$q => { type $F = $crate::format::$q; Some($quant) })*
            $(dequant::GgmlType::$f => { type $W = $crate::format::$f; Some($float) })*
            _ => None,
        }
    };
}
pub(crate) use with_format;
