//! Dot products of the K-quants, with activations of type Q8_K.
//!
//! ```text
//! Q8_K: d f32, qs 256 (i8), bsums 16 (i16: sums of 16 codes)
//! Q2_K: scales 16 (low half: scale, high half: minimum), qs 64, d f16, dmin f16
//! Q3_K: hmask 32, qs 64, scales 12 (16 of 6 bits, minus 32), d f16
//! Q4_K: d f16, dmin f16, scales 12 (8 scales and 8 minimums of 6 bits), qs 128
//! Q5_K: d f16, dmin f16, scales 12, qh 32, qs 128
//! Q6_K: ql 128, qh 64, scales 16 (i8), d f16
//! ```
//! All but Q2_K share one shape: eight integer sums per block (element index modulo 8), scaled in f32 and added
//! to eight f32 sums that meet only at the end of the row.

use super::dot::{blocks, f16_at};

/// Bytes of a Q8_K block.
const Q8_K: usize = 292;

/// Scale of the activation block.
#[inline]
fn d8(a: &[u8; Q8_K]) -> f32 {
    f32::from_le_bytes([a[0], a[1], a[2], a[3]])
}

/// Activation code `i`.
#[inline]
fn q8(a: &[u8; Q8_K], i: usize) -> i32 {
    i32::from(a[4 + i].cast_signed())
}

/// The sum of codes `16 j .. 16 j + 16`, as stored.
#[inline]
fn bsum(a: &[u8; Q8_K], j: usize) -> i32 {
    i32::from(i16::from_le_bytes([a[260 + 2 * j], a[261 + 2 * j]]))
}

/// The sums of a row.
struct Sums {
    /// By element index modulo 8.
    lanes: [f32; 8],
    /// What the minimums take away.
    minimums: f32,
}

impl Sums {
    const ZERO: Self = Self { lanes: [0.0; 8], minimums: 0.0 };

    /// Adds a block: codes, one integer scale per 16 of them, and their common factor.
    #[inline]
    fn add(mut self, codes: &[i8; 256], scales: &[i32; 16], d: f32, a: &[u8; Q8_K]) -> Self {
        let mut sums = [0_i32; 8];
        for (j, &scale) in scales.iter().enumerate() {
            for (l, sum) in sums.iter_mut().enumerate() {
                let (i, k) = (16 * j + l, 16 * j + 8 + l);
                sums[l] +=
                    scale * (i32::from(codes[i]) * q8(a, i) + i32::from(codes[k]) * q8(a, k));
            }
        }
        for (lane, sum) in self.lanes.iter_mut().zip(sums) {
            *lane += d * sum as f32;
        }
        self
    }

    /// Takes the minimums of a block away.
    #[inline]
    fn sub_minimums(mut self, mins: &[i32; 8], dmin: f32, a: &[u8; Q8_K]) -> Self {
        let sum: i32 = (0..16).map(|j| bsum(a, j) * mins[j / 2]).sum();
        self.minimums -= dmin * sum as f32;
        self
    }

    fn total(self) -> f32 {
        self.lanes.into_iter().fold(self.minimums, |sum, lane| sum + lane)
    }
}

/// Scales and minimums of Q4_K and Q5_K: eight of 6 bits each, in 12 bytes.
#[inline]
fn scales_and_mins(b: &[u8]) -> ([i32; 8], [i32; 8]) {
    let scale =
        |j: usize| if j < 4 { b[j] & 63 } else { (b[j + 4] & 0xf) | ((b[j - 4] >> 6) << 4) };
    let min = |j: usize| if j < 4 { b[j + 4] & 63 } else { (b[j + 4] >> 4) | ((b[j] >> 6) << 4) };
    (std::array::from_fn(|j| i32::from(scale(j))), std::array::from_fn(|j| i32::from(min(j))))
}

/// The scales of Q3_K: sixteen of 6 bits in 12 bytes, minus 32.
#[inline]
fn scales_q3(b: &[u8]) -> [i32; 16] {
    std::array::from_fn(|j| {
        let low = if j < 8 { b[j] & 0xf } else { b[j - 8] >> 4 };
        let high = (b[8 + j % 4] >> (2 * (j / 4))) & 3;
        i32::from(low | (high << 4)) - 32
    })
}

pub(super) fn q2_k(w: &[u8], a: &[u8]) -> f32 {
    blocks::<84, Q8_K>(w, a).fold(0.0, |sum, (w, a)| {
        let mins: i32 = (0..16).map(|j| bsum(a, j) * i32::from(w[j] >> 4)).sum();
        let dot: i32 = (0..16)
            .map(|j| {
                // Group j: half j / 8 of the block, 2-bit plane j % 8 / 2 of its bytes, bytes 16 (j % 2) and on.
                let shift = 2 * (j % 8 / 2);
                let byte = 16 + 32 * (j / 8) + 16 * (j % 2);
                let group: i32 = (0..16)
                    .map(|l| i32::from((w[byte + l] >> shift) & 3) * q8(a, 16 * j + l))
                    .sum();
                i32::from(w[j] & 0xf) * group
            })
            .sum();
        let (d, dmin) = (d8(a) * f16_at(w, 80), d8(a) * f16_at(w, 82));
        sum + (d * dot as f32 - dmin * mins as f32)
    })
}

pub(super) fn q3_k(w: &[u8], a: &[u8]) -> f32 {
    let sums = blocks::<110, Q8_K>(w, a).fold(Sums::ZERO, |sums, (w, a)| {
        let codes = std::array::from_fn(|i| {
            // Plane i / 32 of the high bits, plane i / 32 % 4 of the low ones.
            let low = (w[32 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
            let high = (w[i % 32] >> (i / 32)) & 1;
            (low | (high << 2)).cast_signed() - 4
        });
        sums.add(&codes, &scales_q3(&w[96..108]), f16_at(w, 108) * d8(a), a)
    });
    sums.total()
}

pub(super) fn q4_k(w: &[u8], a: &[u8]) -> f32 {
    let sums = blocks::<144, Q8_K>(w, a).fold(Sums::ZERO, |sums, (w, a)| {
        let codes = std::array::from_fn(|i| {
            ((w[16 + 32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 0xf).cast_signed()
        });
        add_with_minimums(sums, &codes, w, a)
    });
    sums.total()
}

pub(super) fn q5_k(w: &[u8], a: &[u8]) -> f32 {
    let sums = blocks::<176, Q8_K>(w, a).fold(Sums::ZERO, |sums, (w, a)| {
        let codes = std::array::from_fn(|i| {
            let low = (w[48 + 32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 0xf;
            let high = (w[16 + i % 32] >> (i / 32)) & 1;
            (low | (high << 4)).cast_signed()
        });
        add_with_minimums(sums, &codes, w, a)
    });
    sums.total()
}

/// A block of Q4_K or Q5_K, whose first 16 bytes are alike.
#[inline]
fn add_with_minimums(sums: Sums, codes: &[i8; 256], w: &[u8], a: &[u8; Q8_K]) -> Sums {
    let (scales, mins) = scales_and_mins(&w[4..16]);
    sums.add(codes, &std::array::from_fn(|j| scales[j / 2]), f16_at(w, 0) * d8(a), a).sub_minimums(
        &mins,
        f16_at(w, 2) * d8(a),
        a,
    )
}

pub(super) fn q6_k(w: &[u8], a: &[u8]) -> f32 {
    let sums = blocks::<210, Q8_K>(w, a).fold(Sums::ZERO, |sums, (w, a)| {
        let codes = std::array::from_fn(|i| {
            let (half, plane, l) = (i / 128, i / 32 % 4, i % 32);
            let low = (w[64 * half + 32 * (plane % 2) + l] >> (4 * (plane / 2))) & 0xf;
            let high = (w[128 + 32 * half + l] >> (2 * plane)) & 3;
            (low | (high << 4)).cast_signed() - 32
        });
        let scales = std::array::from_fn(|j| i32::from(w[192 + j].cast_signed()));
        sums.add(&codes, &scales, f16_at(w, 208) * d8(a), a)
    });
    sums.total()
}
