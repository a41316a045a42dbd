//! Operations of [`crate::scalar`] without register tiles, compiled for AVX-512.
#![expect(
    unsafe_code,
    reason = "calls of functions compiled for AVX-512; the proof is an argument"
)]

use crate::norm::LayerNorm;
use crate::{Avx512, scalar};
use std::ops::Range;

crate::x86_64::elementwise::elementwise!(
    Avx512,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"
);
