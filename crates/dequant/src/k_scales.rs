//! Eight scales and eight minimums of 6 bits in 12 bytes, as Q4_K and Q5_K hold them.
//!
//! ```text
//! byte j, j = 0..4:       bits 0-5 scale j          bits 6-7 high bits of scale j + 4
//! byte 4 + j, j = 0..4:   bits 0-5 minimum j        bits 6-7 high bits of minimum j + 4
//! byte 8 + j, j = 0..4:   bits 0-3 low bits of scale j + 4, bits 4-7 low bits of minimum j + 4
//! ```
//! Source: `get_scale_min_k4` in ggml's `ggml-quants.c`.

use crate::fit::{self, Search};
use crate::{f16_to_f32, f32_to_f16};

/// (scales, minimums), each 0..=63.
#[inline]
pub(crate) fn unpack(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for j in 0..4 {
        let [a, b, c] = [packed[j], packed[j + 4], packed[j + 8]];
        scales[j] = a & 63;
        mins[j] = b & 63;
        scales[j + 4] = c & 15 | a >> 6 << 4;
        mins[j + 4] = c >> 4 | b >> 6 << 4;
    }
    (scales, mins)
}

/// The weights of a block: `(d * scale) * q - dmin * minimum`, sub-block by sub-block of 32.
#[inline]
pub(crate) fn decode(
    d: f32,
    dmin: f32,
    (scales, mins): ([u8; 8], [u8; 8]),
    codes: &[u8; 256],
) -> [f32; 256] {
    let mut out = [0.0; 256];
    let groups = out.as_chunks_mut::<32>().0.iter_mut().zip(codes.as_chunks::<32>().0);
    for (j, (out, codes)) in groups.enumerate() {
        let (dl, ml) = (d * f32::from(scales[j]), dmin * f32::from(mins[j]));
        *out = codes.map(|q| dl * f32::from(q) - ml);
    }
    out
}

/// The packed form of (scales, minimums), each 0..=63.
pub(crate) fn pack(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = scales[j] | scales[j + 4] >> 4 << 6;
        packed[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        packed[j + 8] = scales[j + 4] & 15 | (mins[j + 4] & 15) << 4;
    }
    packed
}

/// A block before its codes are packed.
pub(crate) struct Fitted {
    /// Scale of the scales, F16.
    pub(crate) d: [u8; 2],
    /// Scale of the minimums, F16.
    pub(crate) dmin: [u8; 2],
    /// Packed scales and minimums.
    pub(crate) scales: [u8; 12],
    /// Codes, sub-block by sub-block.
    pub(crate) codes: [[u8; 32]; 8],
}

/// Fits every sub-block, rounds the eight scales and minimums to 6 bits, then rounds the weights once more with the
/// scales that this leaves.
pub(crate) fn fit(x: &[f32; 256], search: Search) -> Fitted {
    let groups = x.as_chunks::<32>().0;
    let fit::ScalesMins { scales, mins, mut codes } = fit::scales_mins(groups, search);
    let max_scale = scales.iter().fold(0.0_f32, |max, &v| if v > max { v } else { max });
    let max_min = mins.iter().fold(0.0_f32, |max, &v| if v > max { v } else { max });
    let six_bits = |v: f32, max: f32| {
        let inverse = if max > 0.0 { 63.0 / max } else { 0.0 };
        // The low byte first: a negative scale (a fit may give one) becomes 63.
        fit::nearest_int(inverse * v).to_le_bytes()[0].min(63)
    };
    let scales = scales.map(|v| six_bits(v, max_scale));
    let mins = mins.map(|v| six_bits(v, max_min));
    let (d, dmin) = (f32_to_f16(max_scale / 63.0), f32_to_f16(max_min / 63.0));
    for (j, (x, codes)) in groups.iter().zip(&mut codes).enumerate() {
        let dl = f16_to_f32(d) * f32::from(scales[j]);
        if dl == 0.0 {
            continue; // The codes of the fit stay; nothing reads them.
        }
        let ml = f16_to_f32(dmin) * f32::from(mins[j]);
        *codes = x.map(|v| {
            fit::nearest_int((v + ml) / dl).clamp(0, i32::from(search.nmax)).to_le_bytes()[0]
        });
    }
    Fitted { d, dmin, scales: pack(&scales, &mins), codes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_round_trips() {
        let scales = [0, 63, 1, 32, 16, 15, 48, 63];
        let mins = [63, 0, 33, 2, 47, 31, 1, 62];
        assert_eq!(unpack(&pack(&scales, &mins)), (scales, mins));
    }
}
