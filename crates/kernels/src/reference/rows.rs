//! Rows of blocks, taken apart once for many products.

use dequant::{
    Block, BlockBF16, BlockF16, BlockF32, BlockIQ4_NL, BlockIQ4_XS, BlockMXFP4, BlockQ2_K,
    BlockQ3_K, BlockQ4_0, BlockQ4_1, BlockQ4_K, BlockQ5_0, BlockQ5_1, BlockQ5_K, BlockQ6_K,
    BlockQ8_0, BlockQ8_1, BlockQ8_K, GgmlType, bf16_to_f32,
};

use super::f16::f16_to_f32;

/// Rows of weights or of activations as [`dots`](super::dots) reads them: codes as integers, scales as f32. Taking
/// blocks apart is most of a scalar product's work, and here it is done once a row instead of once a product.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    pub(super) ty: Option<GgmlType>,
    /// Of the float types, and of no other.
    pub(super) floats: Vec<f32>,
    /// In element order; those of K-quants times the integer scale of their group. All fit: 32 * 128 at most. What the
    /// codes stand for, where they are places in a table.
    pub(super) codes: Vec<i16>,
    /// A block's scale, and what else it has in f32: the minimum (its scale), the scaled sum; 0 where it has none.
    pub(super) scales: Vec<[f32; 2]>,
    /// Of blocks of 256 by 16 elements: the minimums of weights (of IQ4_XS the scales), the sums of activations.
    pub(super) groups: Vec<[i16; 16]>,
}

impl Rows {
    /// Takes apart `rows`, raw little-endian blocks of type `ty`.
    ///
    /// # Panics
    /// If `rows` is no whole number of blocks, or `ty` has no dot product
    /// ([`act_type`](super::act_type) is `None`) and is no type of activations either.
    #[must_use]
    pub fn new(ty: GgmlType, rows: &[u8]) -> Self {
        let mut new = Self::default();
        new.set(ty, rows);
        new
    }

    /// The same, in the memory of the rows before.
    ///
    /// # Panics
    /// As [`Self::new`] does.
    pub fn set(&mut self, ty: GgmlType, rows: &[u8]) {
        self.ty = Some(ty);
        self.floats.clear();
        self.codes.clear();
        self.scales.clear();
        self.groups.clear();
        match ty {
            GgmlType::F32 => self.floats::<BlockF32>(rows, |b| f32::from_le_bytes(b.x)),
            GgmlType::F16 => {
                self.floats::<BlockF16>(rows, |b| f16_to_f32(u16::from_le_bytes(b.x)));
            }
            GgmlType::BF16 => self.floats::<BlockBF16>(rows, |b| bf16_to_f32(b.x)),
            GgmlType::Q4_0 => self.small::<BlockQ4_0, _>(rows, |b| (b.codes(), [b.scale(), 0.0])),
            GgmlType::Q4_1 => {
                self.small::<BlockQ4_1, _>(rows, |b| (b.codes(), [b.scale(), b.min()]));
            }
            GgmlType::Q5_0 => self.small::<BlockQ5_0, _>(rows, |b| (b.codes(), [b.scale(), 0.0])),
            GgmlType::Q5_1 => {
                self.small::<BlockQ5_1, _>(rows, |b| (b.codes(), [b.scale(), b.min()]));
            }
            GgmlType::Q8_0 => self.small::<BlockQ8_0, _>(rows, |b| (b.qs, [b.scale(), 0.0])),
            GgmlType::Q8_1 => {
                self.small::<BlockQ8_1, _>(rows, |b| (b.qs, [b.scale(), b.scaled_sum()]));
            }
            GgmlType::IQ4_NL => {
                self.small::<BlockIQ4_NL, _>(rows, |b| (b.values(), [b.scale(), 0.0]));
            }
            GgmlType::MXFP4 => {
                self.small::<BlockMXFP4, _>(rows, |b| (b.values(), [b.scale(), 0.0]));
            }
            _ => self.large(ty, rows),
        }
    }

    fn large(&mut self, ty: GgmlType, rows: &[u8]) {
        // What is given once for 32 elements counts for two groups of 16.
        fn twice<T: Copy + Into<i16>>(x: [T; 8]) -> [i16; 16] {
            std::array::from_fn(|j| x[j / 2].into())
        }
        match ty {
            GgmlType::Q2_K => self.super_blocks::<BlockQ2_K, _>(rows, |b| {
                let (scales, mins) = b.scales_mins();
                let scales = scales.map(i16::from);
                (b.codes(), scales, [b.scale(), b.min_scale()], mins.map(i16::from))
            }),
            GgmlType::Q3_K => self.super_blocks::<BlockQ3_K, _>(rows, |b| {
                (b.codes(), b.scales().map(i16::from), [b.scale(), 0.0], [0; 16])
            }),
            GgmlType::Q4_K => self.super_blocks::<BlockQ4_K, _>(rows, |b| {
                let (scales, mins) = b.scales_mins();
                (b.codes(), twice(scales), [b.scale(), b.min_scale()], twice(mins))
            }),
            GgmlType::Q5_K => self.super_blocks::<BlockQ5_K, _>(rows, |b| {
                let (scales, mins) = b.scales_mins();
                (b.codes(), twice(scales), [b.scale(), b.min_scale()], twice(mins))
            }),
            GgmlType::Q6_K => self.super_blocks::<BlockQ6_K, _>(rows, |b| {
                (b.codes(), b.scales.map(i16::from), [b.scale(), 0.0], [0; 16])
            }),
            // Scales meet sums that are f32 already: they stay apart.
            GgmlType::IQ4_XS => self.super_blocks::<BlockIQ4_XS, _>(rows, |b| {
                (b.values(), [1; 16], [b.scale(), 0.0], twice(b.scales()))
            }),
            GgmlType::Q8_K => self.super_blocks::<BlockQ8_K, _>(rows, |b| {
                (b.codes(), [1; 16], [b.scale(), 0.0], b.sums())
            }),
            _ => unreachable!("no dot product for {}", ty.name()),
        }
    }

    fn floats<B: Block>(&mut self, rows: &[u8], value: impl Fn(&B) -> f32) {
        self.floats.extend(blocks(rows).iter().map(value));
    }

    /// Blocks of 32: codes, then scale and what else there is.
    fn small<B: Block, T: Copy + Into<i16>>(
        &mut self,
        rows: &[u8],
        parts: impl Fn(&B) -> ([T; 32], [f32; 2]),
    ) {
        for block in blocks(rows) {
            let (codes, scales) = parts(block);
            self.codes.extend_from_slice(&codes.map(Into::into));
            self.scales.push(scales);
        }
    }

    /// Blocks of 256: codes, the integer scales of their groups, the two f32, the groups' minimums or sums.
    fn super_blocks<B: Block, T: Copy + Into<i16>>(
        &mut self,
        rows: &[u8],
        parts: impl Fn(&B) -> ([T; 256], [i16; 16], [f32; 2], [i16; 16]),
    ) {
        for block in blocks(rows) {
            let (codes, group_scales, scales, groups) = parts(block);
            let mut codes: [i16; 256] = codes.map(Into::into);
            for (codes, scale) in codes.as_chunks_mut::<16>().0.iter_mut().zip(group_scales) {
                *codes = codes.map(|code| code.wrapping_mul(scale));
            }
            self.codes.extend_from_slice(&codes);
            self.scales.push(scales);
            self.groups.push(groups);
        }
    }
}

fn blocks<B: Block>(bytes: &[u8]) -> &[B] {
    assert!(
        bytes.len().is_multiple_of(size_of::<B>()),
        "{} bytes are no whole number of blocks",
        bytes.len()
    );
    dequant::blocks(bytes).unwrap_or_default()
}
