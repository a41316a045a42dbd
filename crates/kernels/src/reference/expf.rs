//! The exponential of ggml's four-lane paths, one lane at a time.
//!
//! The method is that of Arm's optimized routines: `x = n ln 2 + b` with `n` rounded by adding and subtracting
//! 1.5 * 2^23, a fifth-degree polynomial for `e^b - 1`, and `2^n` built in the exponent field. The lanes do not
//! depend on each other: ggml's test "is any lane out of range" only chooses between two ways to the same bits.

/// `x * y + z`, rounded twice: this build has no fused multiply-add.
#[inline]
fn madd(x: f32, y: f32, z: f32) -> f32 {
    x * y + z
}

/// 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;
/// log2(e).
const LOG2_E: f32 = f32::from_bits(0x3fb8_aa3b);
/// ln 2, upper part: few enough bits that `n * LN2_HI` is exact.
const LN2_HI: f32 = f32::from_bits(0x3f31_7200);
/// ln 2, the rest.
const LN2_LO: f32 = f32::from_bits(0x35bf_be8e);
/// Coefficients of b^1 to b^5.
const C: [f32; 5] = [
    f32::from_bits(0x3f7f_fff6),
    f32::from_bits(0x3eff_fedb),
    f32::from_bits(0x3e2a_af33),
    f32::from_bits(0x3d2b_9f17),
    f32::from_bits(0x3c07_2010),
];

/// e^x as one lane of ggml's SSE2 code computes it: infinity above 88.38, zero below -103.97.
#[inline]
pub(super) fn expf_lane(x: f32) -> f32 {
    let z = madd(x, LOG2_E, ROUND);
    let n = z - ROUND;
    let b = (x - n * LN2_HI) - n * LN2_LO;
    let e = z.to_bits() << 23;
    let u = b * b;
    let j = madd(madd(madd(C[4], b, C[3]), u, madd(C[2], b, C[1])), u, C[0] * b);
    if n.abs() > 126.0 {
        // 2^n leaves the exponent field's range: split it in two factors.
        let g = if n <= 0.0 { 0x8200_0000 } else { 0_u32 };
        let s1 = f32::from_bits(g.wrapping_add(0x7f00_0000));
        if n.abs() > 192.0 {
            return s1 * s1;
        }
        let s2 = f32::from_bits(e.wrapping_sub(g));
        return madd(s2, j, s2) * s1;
    }
    let k = f32::from_bits(e.wrapping_add(0x3f80_0000));
    madd(j, k, k)
}
