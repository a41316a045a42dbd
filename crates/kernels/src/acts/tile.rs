//! A tile's activations as kernels see them whose sums begin with [`Codes::minus`].

use super::{Codes, Pair, groups};
use crate::format::Format;

/// Where a tile's activations are. What is there is for the kernels to know; nothing is read here.
#[derive(Clone, Copy)]
pub(crate) struct TileActs {
    pub(crate) codes: *const i8,
    pub(crate) minus: *const i32,
    pub(crate) sums: *const Pair,
    pub(crate) d: *const f32,
    pub(crate) s: *const f32,
}

impl TileActs {
    /// Whether `acts` has all that [`Self::new`] may point to, for codes with a bias or without.
    pub(crate) fn complete<F: Format>(acts: &Codes, biased: bool) -> bool {
        let n = acts.d.len();
        acts.codes.len() == n * F::K
            && (!biased || acts.minus.len() == n * groups(F::K))
            && (!F::HEADER.has_m() || acts.s.len() == n)
            && (!F::HEADER.has_mins() || Self::sums::<F>(acts).len() == n * F::K / F::GROUP / 2)
    }

    fn sums<F: Format>(acts: &Codes) -> &[Pair] {
        if F::GROUP == 16 { &acts.sums16 } else { &acts.sums32 }
    }

    /// The tile that begins at token `first`, from block `block` on.
    pub(crate) fn new<F: Format>(acts: &Codes, block: usize, first: usize) -> Self {
        let at = acts.base(block, first);
        // Arrays that the format does not use may be empty: their pointers are not followed.
        Self {
            codes: acts.codes.as_ptr().wrapping_add(at * F::K),
            minus: acts.minus.as_ptr().wrapping_add(at * groups(F::K)),
            sums: Self::sums::<F>(acts).as_ptr().wrapping_add(at * (F::K / F::GROUP / 2)),
            d: acts.d.as_ptr().wrapping_add(at),
            s: acts.s.as_ptr().wrapping_add(at),
        }
    }

    /// The same tile of `t` tokens, one block on.
    #[inline]
    pub(crate) fn next<F: Format>(self, t: usize) -> Self {
        Self {
            codes: self.codes.wrapping_add(t * F::K),
            minus: self.minus.wrapping_add(t * groups(F::K)),
            sums: self.sums.wrapping_add(t * (F::K / F::GROUP / 2)),
            d: self.d.wrapping_add(t),
            s: self.s.wrapping_add(t),
        }
    }
}
