//! Row-wise and element-wise operations. They are inlined into functions compiled for wider instruction sets too:
//! the compiler may not change the order of operations, so the bits stay.

use crate::math;
use crate::norm::LayerNorm;

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
    let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
    for i in 0..8 {
        eight[i] = lanes[i] + lanes[i + 8];
    }
    for i in 0..4 {
        four[i] = eight[i] + eight[i + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The largest of 16 lanes, none of which is a NaN.
#[inline(always)]
pub(crate) fn tree_max(lanes: &[f32; 16]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
    for i in 0..8 {
        eight[i] = larger(lanes[i], lanes[i + 8]);
    }
    for i in 0..4 {
        four[i] = larger(eight[i], eight[i + 4]);
    }
    larger(larger(four[0], four[2]), larger(four[1], four[3]))
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

/// The sum in 16 lanes and a tree.
#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (rows, rest) = x.as_chunks::<16>();
    for row in rows {
        for (lane, &x) in lanes.iter_mut().zip(row) {
            *lane += x;
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    tree_sum(&lanes)
}

/// The rows of `x` begin at element `first` of all rows.
#[inline(always)]
pub(crate) fn layer_norm(x: &[f32], norm: &LayerNorm<'_>, first: usize, out: &mut [f32]) {
    let n = norm.n;
    let n_weights = norm.weight.len() / n;
    for (i, (x, out)) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)).enumerate() {
        let mean = sum(x) / n as f32;
        for (out, &x) in out.iter_mut().zip(x) {
            *out = x - mean;
        }
        let scale = 1.0 / (sum_of_squares(out) / n as f32 + norm.eps).sqrt();
        let weight = &norm.weight[(first / n + i) % n_weights * n..][..n];
        for (out, &w) in out.iter_mut().zip(weight) {
            *out = *out * scale * w;
        }
        if let Some(bias) = norm.bias {
            add(out, bias);
        }
    }
}

/// Rounded to the numbers that F16 has.
#[inline(always)]
pub(crate) fn round_f16(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = math::round_to_f16(x);
    }
}

/// Pairs of BF16, the first of a pair in the low half; zero where the second is missing.
#[inline(always)]
pub(crate) fn pair_bf16(x: &[f32], out: &mut [u32]) {
    let (pairs, rest) = x.as_chunks::<2>();
    let pair = |x: [f32; 2]| {
        let [[a, b], [c, d]] = x.map(dequant::f32_to_bf16);
        u32::from_le_bytes([a, b, c, d])
    };
    for (out, &x) in out.iter_mut().zip(pairs) {
        *out = pair(x);
    }
    if let (Some(out), Some(&x)) = (out.get_mut(pairs.len()), rest.first()) {
        *out = pair([x, 0.0]);
    }
}

#[inline(always)]
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[inline(always)]
fn silu_of(x: f32) -> f32 {
    x / (1.0 + math::exp(-x))
}

#[inline(always)]
pub(crate) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = silu_of(gate) * up;
    }
}

#[inline(always)]
pub(crate) fn swiglu_in_place(gate: &mut [f32], up: &[f32]) {
    for (gate, &up) in gate.iter_mut().zip(up) {
        *gate = silu_of(*gate) * up;
    }
}

#[inline(always)]
pub(crate) fn scale(x: &mut [f32], by: f32) {
    for x in x {
        *x *= by;
    }
}

#[inline(always)]
pub(crate) fn tanh(x: &mut [f32]) {
    for x in x {
        *x = math::tanh(*x);
    }
}

#[inline(always)]
pub(crate) fn soft_max(x: &mut [f32], n: usize) {
    for row in x.chunks_exact_mut(n) {
        let mut max = f32::NEG_INFINITY;
        for &x in row.iter() {
            max = if x > max { x } else { max };
        }
        let mut sum = 0.0;
        for x in row.iter_mut() {
            *x = math::exp(*x - max);
            sum += *x;
        }
        for x in row {
            *x /= sum;
        }
    }
}

#[inline(always)]
pub(crate) fn silu(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = silu_of(x);
    }
}

#[inline(always)]
pub(crate) fn relu(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        // A NaN stays, to be found.
        *out = if x < 0.0 { 0.0 } else { x };
    }
}

/// sqrt(2 / pi)
const GELU_SCALE: f32 = 0.797_884_6;

#[inline(always)]
fn gelu_of(x: f32) -> f32 {
    let inner = GELU_SCALE * x * (x * x).mul_add(0.044_715, 1.0);
    0.5 * x * (1.0 + math::tanh(inner))
}

#[inline(always)]
pub(crate) fn gelu(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = gelu_of(x);
    }
}

#[inline(always)]
pub(crate) fn geglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &x), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = gelu_of(x) * up;
    }
}

#[inline(always)]
pub(crate) fn geglu_in_place(gate: &mut [f32], up: &[f32]) {
    for (gate, &up) in gate.iter_mut().zip(up) {
        *gate = gelu_of(*gate) * up;
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
