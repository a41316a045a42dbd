//! The two products of attention for NEON. The operations and their order are those of [`crate::attention`].
//!
//! Lanes are positions in the first (keys lie in lines of 16 positions) and dimensions in the second. A tile of
//! queries shares the conversion of the cache's numbers.
#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::unpack::{halves, widen};
use crate::Neon;
use crate::attention::CHUNK;
use crate::attention::frame::{self, Values};
use crate::kv_cache::BLOCK;
use crate::kv_cache::number::{F16, F32, GROUP, Number, Numbers, Q8_0};
use std::arch::aarch64::*;
use std::ops::Range;

/// Queries of a register tile.
const TILE: usize = 4;

/// Numbers of the cache, 8 at a time.
pub(crate) trait Eight: Number {
    /// # Safety
    /// 8 codes are readable.
    unsafe fn load(codes: *const u8, scales: [float32x4_t; 2]) -> [float32x4_t; 2];
}

impl Eight for F32 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(codes: *const u8, _: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: the caller's promise; bytes need no alignment.
        let (low, high) = unsafe { (vld1q_u8(codes), vld1q_u8(codes.add(16))) };
        [vreinterpretq_f32_u8(low), vreinterpretq_f32_u8(high)]
    }
}

impl Eight for F16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(codes: *const u8, _: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: as above.
        widen(vreinterpretq_u16_u8(unsafe { vld1q_u8(codes) }))
    }
}

impl Eight for Q8_0 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(codes: *const u8, scales: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: as above.
        let codes = vmovl_s8(vreinterpret_s8_u8(unsafe { vld1_u8(codes) }));
        let low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(codes)));
        let high = vcvtq_f32_s32(vmovl_s16(vget_high_s16(codes)));
        [vmulq_f32(low, scales[0]), vmulq_f32(high, scales[1])]
    }
}

/// As [`crate::scalar::attention::scores`].
pub(crate) fn scores<T: Eight>(
    _: Neon,
    q: &[f32],
    keys: Numbers<'_>,
    dk: usize,
    at: usize,
    out: &mut [f32],
) {
    let n_blocks = frame::check_scores::<T>(q, keys, dk, at, out);
    for (q, out) in q.chunks(TILE * dk).zip(out.chunks_mut(TILE * CHUNK)) {
        let (n, q, out) = (q.len() / dk, q.as_ptr(), out[at..].as_mut_ptr());
        // SAFETY: the proof; as many queries, with as many rows of output.
        unsafe {
            match n {
                1 => score_blocks::<T, 1, 4>(q, keys, dk, n_blocks, out),
                2 => score_blocks::<T, 2, 2>(q, keys, dk, n_blocks, out),
                3 => score_blocks::<T, 3, 1>(q, keys, dk, n_blocks, out),
                _ => score_blocks::<T, TILE, 1>(q, keys, dk, n_blocks, out),
            }
        }
    }
}

/// All `n_blocks` for `Q` queries, `B` at a time: enough independent chains.
///
/// # Safety
/// `q` holds `Q` queries; `out` has `Q` rows, [`CHUNK`] apart, with room for the blocks, which are there.
#[target_feature(enable = "neon")]
unsafe fn score_blocks<T: Eight, const Q: usize, const B: usize>(
    q: *const f32,
    keys: Numbers<'_>,
    dk: usize,
    n_blocks: usize,
    out: *mut f32,
) {
    let mut b = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while b + B <= n_blocks {
            score::<T, Q, B>(q, keys.rows::<T>(b..b + B, BLOCK * dk), dk, out.add(b * BLOCK));
            b += B;
        }
        while b < n_blocks {
            score::<T, Q, 1>(q, keys.rows::<T>(b..b + 1, BLOCK * dk), dk, out.add(b * BLOCK));
            b += 1;
        }
    }
}

/// `B` blocks of 16 positions for `Q` queries.
///
/// # Safety
/// As [`score_blocks`]; `keys` are the `B` blocks.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn score<T: Eight, const Q: usize, const B: usize>(
    q: *const f32,
    keys: Numbers<'_>,
    dk: usize,
    out: *mut f32,
) {
    let (codes, scales) = (keys.codes.as_ptr(), keys.scales.as_ptr());
    let mut acc = [[[[vdupq_n_f32(0.0); 2]; 2]; B]; Q];
    for first in (0..dk).step_by(GROUP) {
        let mut of_group = [[vdupq_n_f32(0.0); 4]; B];
        if T::SCALED {
            for (b, of_block) in of_group.iter_mut().enumerate() {
                // SAFETY: the block's scales of this group, 16 halves.
                *of_block = unsafe { halves(scales.add((b * dk + first) / GROUP * BLOCK * 2)) };
            }
        }
        for d in first..dk.min(first + GROUP) {
            for (b, s) in of_group.iter().enumerate() {
                // SAFETY: line `d` of each block, dimension `d` of each query.
                unsafe {
                    let line = codes.add((b * dk + d) * BLOCK * T::BYTES);
                    let low = T::load(line, [s[0], s[1]]);
                    let high = T::load(line.add(8 * T::BYTES), [s[2], s[3]]);
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let q = *q.add(i * dk + d);
                        for (acc, k) in acc[b].iter_mut().zip([low, high]) {
                            acc[0] = vfmaq_n_f32(acc[0], k[0], q);
                            acc[1] = vfmaq_n_f32(acc[1], k[1], q);
                        }
                    }
                }
            }
        }
    }
    for (i, acc) in acc.iter().enumerate() {
        for (j, acc) in acc.as_flattened().as_flattened().iter().enumerate() {
            // SAFETY: vector `j` of the blocks' scores in row `i`.
            unsafe { vst1q_f32(out.add(i * CHUNK + 4 * j), *acc) };
        }
    }
}

/// As [`crate::scalar::attention::values`].
pub(crate) fn values<T: Eight>(
    _: Neon,
    p: &[f32],
    values: Numbers<'_>,
    dv: usize,
    seen: &[Range<usize>],
    out: &mut [f32],
) {
    frame::values::<T>(p, values, dv, seen, out, TILE, |v| {
        // SAFETY: the proof; as many queries.
        unsafe {
            match v.n_queries() {
                1 => weigh::<T, 1, 8>(v),
                2 => weigh::<T, 2, 4>(v),
                3 => weigh::<T, 3, 2>(v),
                _ => weigh::<T, TILE, 2>(v),
            }
        }
    });
}

/// Continues the sums of `Q` queries, `D` times 8 dimensions at a time.
///
/// # Safety
/// There are `Q` queries.
#[target_feature(enable = "neon")]
unsafe fn weigh<T: Eight, const Q: usize, const D: usize>(mut values: Values<'_>) {
    let (dv, mut d) = (values.dv(), 0);
    // SAFETY: dimensions below `dv`.
    unsafe {
        while d + 8 * D <= dv {
            vectors::<T, Q, D>(&mut values, d);
            d += 8 * D;
        }
        while d + 8 <= dv {
            vectors::<T, Q, 1>(&mut values, d);
            d += 8;
        }
    }
    values.rest::<T>(d);
}

/// # Safety
/// As [`weigh`]; `d + 8 D <= dv`, and `d` is a multiple of `8 D`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn vectors<T: Eight, const Q: usize, const D: usize>(values: &mut Values<'_>, d: usize) {
    let (p, range, width) = (values.p(), values.range(), values.dv() + 2);
    let mut acc = [[[vdupq_n_f32(0.0); 2]; D]; Q];
    // SAFETY: rows and dimensions are there.
    unsafe {
        let out = values.out().add(2 + d);
        for (i, acc) in acc.iter_mut().enumerate() {
            for (j, acc) in acc.as_flattened_mut().iter_mut().enumerate() {
                *acc = vld1q_f32(out.add(i * width + 4 * j));
            }
        }
        for pos in range {
            let first = pos * values.dv() + d;
            let mut scale = [vdupq_n_f32(0.0); 2];
            for j in 0..D {
                if T::SCALED && (8 * j).is_multiple_of(GROUP) {
                    let half = values.scales().add((first + 8 * j) / GROUP * 2);
                    scale = widen(vdupq_n_u16(half.cast::<u16>().read_unaligned()));
                }
                let v = T::load(values.codes().add((first + 8 * j) * T::BYTES), scale);
                for (i, acc) in acc.iter_mut().enumerate() {
                    let p = *p.add(i * CHUNK + pos);
                    acc[j][0] = vfmaq_n_f32(acc[j][0], v[0], p);
                    acc[j][1] = vfmaq_n_f32(acc[j][1], v[1], p);
                }
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            for (j, acc) in acc.as_flattened().iter().enumerate() {
                vst1q_f32(out.add(i * width + 4 * j), *acc);
            }
        }
    }
}
