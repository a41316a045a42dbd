//! Row-wise and element-wise operations. They are inlined into functions compiled for wider instruction sets too:
//! the compiler may not change the order of operations, so the bits stay.

use crate::math;

/// The sum of squares in 16 lanes and a tree.
#[inline(always)]
fn sum_of_squares(x: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (rows, rest) = x.as_chunks::<16>();
    for row in rows {
        for (lane, &x) in lanes.iter_mut().zip(row) {
            *lane = x.mul_add(x, *lane);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = x.mul_add(x, *lane);
    }
    tree_sum(&lanes)
}

/// The sum of 16 lanes: halves onto halves.
#[inline(always)]
pub(crate) fn tree_sum(lanes: &[f32; 16]) -> f32 {
    let mut lanes = *lanes;
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

/// The factor that RMS norm scales a row with.
#[inline(always)]
fn rms_scale(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of_squares(x) / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let n = weight.len();
    for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        let scale = rms_scale(x, eps);
        for ((out, &x), &w) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * w;
        }
    }
}

#[inline(always)]
pub(crate) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    for x in x.chunks_exact_mut(weight.len()) {
        let scale = rms_scale(x, eps);
        for (x, &w) in x.iter_mut().zip(weight) {
            *x = *x * scale * w;
        }
    }
}

#[inline(always)]
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[inline(always)]
pub(crate) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + math::exp(-gate)) * up;
    }
}

/// sqrt(2 / pi)
const GELU_SCALE: f32 = 0.797_884_6;

#[inline(always)]
pub(crate) fn geglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &x), &up) in out.iter_mut().zip(gate).zip(up) {
        let inner = GELU_SCALE * x * (x * x).mul_add(0.044_715, 1.0);
        *out = 0.5 * x * (1.0 + math::tanh(inner)) * up;
    }
}

/// Rotates the pairs `(a[i], b[i])` by the angles whose cosines and sines are given.
#[inline(always)]
pub(crate) fn rotate_halves(a: &mut [f32], b: &mut [f32], cos: &[f32], sin: &[f32]) {
    for (((a, b), &cos), &sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

/// Rotates the pairs `(x[2 i], x[2 i + 1])`.
#[inline(always)]
pub(crate) fn rotate_pairs(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    for (([a, b], &cos), &sin) in x.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}
