//! Packed weights, matmul, attention, norms and rope for CPUs.
//!
//! Numbers in, numbers out: operations take slices whose shapes they assert (documented under `# Panics`),
//! do not fail; only building things ([`Team`], [`Matrix`], [`KvCache`],
//! [`RopeTable`]) returns errors. Parallelism lives inside the operations, through a [`Team`].
//!
//! # The same bits, always
//! Every output element has one fixed sequence of operations: integers are summed exactly inside a block,
//! then one fixed f32 step is made per block in ascending order. Work is split over rows, heads and queries,
//! never over the terms of a sum. So results do not depend on the number of threads, on how many tokens are
//! computed at once, or on the instruction set ([`Isa`]).

mod acts;
mod attention;
mod buffer;
mod error;
mod format;
mod isa;
mod kv_cache;
mod linear;
pub mod math;
mod matrix;
mod norm;
pub mod peak;
pub mod reference;
mod rope;
mod scalar;
mod team;
#[cfg(test)]
mod testing;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use acts::{ActForm, ActForms, Acts};
pub use attention::{Attention, attention};
pub use error::KernelError;
pub use isa::Isa;
#[cfg(target_arch = "aarch64")]
pub use isa::Neon;
#[cfg(target_arch = "x86_64")]
pub use isa::{Avx2, Avx512};
pub use kv_cache::number::KvType;
pub use kv_cache::{KvCache, KvShape, Rotation};
pub use linear::{Gate, Gated, Linear, gated, linears};
pub use matrix::{Matrix, Rows};
pub use norm::{
    LayerNorm, RowNorm, add, geglu, gelu, layer_norm, relu, rms_norm, rms_norm_in_place, scale,
    silu, soft_max, swiglu, tanh,
};
pub use rope::{RopeAngles, RopeKind, RopeParams, RopeScaling, RopeTable, rope};
pub use team::{Arena, Team};
