//! Operations of [`crate::scalar`] without register tiles, compiled for more instructions: the compiler finds the vectors by
//! itself.
#![expect(unsafe_code, reason = "calls of functions compiled for AVX2; the proof is an argument")]

use crate::norm::LayerNorm;
use crate::{Avx2, scalar};
use std::ops::Range;

/// Functions for an instruction set whose proof is a `$token`.
macro_rules! compile {
    ($token:ident, $features:literal: $($module:ident::$name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        pub(crate) fn $name(_: $token, $($arg: $ty),*) {
            #[target_feature(enable = $features)]
            fn inner($($arg: $ty),*) {
                scalar::$module::$name($($arg),*);
            }
            // SAFETY: the token proves that the CPU has these instructions.
            unsafe { inner($($arg),*) }
        }
    )*};
}

/// The operations that every instruction set has.
macro_rules! elementwise {
    ($token:ident, $features:literal) => {
        $crate::x86_64::elementwise::compile! { $token, $features:
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
            elementwise::round_f16(x: &[f32], out: &mut [f32]);
            elementwise::pair_bf16(x: &[f32], out: &mut [u32]);
            elementwise::geglu_in_place(gate: &mut [f32], up: &[f32]);
            attention::merge(part: &[f32], state: &mut [f32]);
            attention::divide(state: &[f32], out: &mut [f32]);
        }
    };
}

pub(crate) use {compile, elementwise};

elementwise!(Avx2, "avx2,fma,f16c");
compile! { Avx2, "avx2,fma,f16c":
    attention::soften(
        scores: &mut [f32], seen: &Range<usize>, scale: f32, softcap: Option<f32>, result: &mut (f32, f32)
    );
    elementwise::swiglu_in_place(gate: &mut [f32], up: &[f32]);
    elementwise::rotate_halves(a: &mut [f32], b: &mut [f32], cos: &[f32], sin: &[f32]);
    elementwise::rotate_pairs(x: &mut [f32], cos: &[f32], sin: &[f32]);
}
