//! Operations of [`crate::scalar`] without register tiles, compiled for AVX-512: the compiler finds the vectors by itself.
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512; the proof is an argument"
)]

use crate::norm::LayerNorm;
use crate::{Avx512, scalar};
use std::ops::Range;

macro_rules! compile_for_avx512 {
    ($($module:ident::$name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        pub(crate) fn $name(_: Avx512, $($arg: $ty),*) {
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn inner($($arg: $ty),*) {
                scalar::$module::$name($($arg),*);
            }
            // SAFETY: an `Avx512` value proves that the CPU has these instructions.
            unsafe { inner($($arg),*) }
        }
    )*};
}

compile_for_avx512! {
    elementwise::rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
    elementwise::rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32);
    elementwise::layer_norm(x: &[f32], norm: &LayerNorm<'_>, first: usize, out: &mut [f32]);
    elementwise::add(x: &mut [f32], y: &[f32]);
    elementwise::scale(x: &mut [f32], by: f32);
    elementwise::tanh(x: &mut [f32]);
    elementwise::soft_max(x: &mut [f32], n: usize);
    elementwise::silu(x: &[f32], out: &mut [f32]);
    elementwise::gelu(x: &[f32], out: &mut [f32]);
    elementwise::relu(x: &[f32], out: &mut [f32]);
    elementwise::swiglu(gate: &[f32], up: &[f32], out: &mut [f32]);
    elementwise::geglu(gate: &[f32], up: &[f32], out: &mut [f32]);
    elementwise::swiglu_in_place(gate: &mut [f32], up: &[f32]);
    elementwise::geglu_in_place(gate: &mut [f32], up: &[f32]);
    attention::soften(scores: &mut [f32], seen: &Range<usize>, scale: f32, softcap: Option<f32>, result: &mut (f32, f32));
    attention::merge(part: &[f32], state: &mut [f32]);
    attention::divide(state: &[f32], out: &mut [f32]);
}
