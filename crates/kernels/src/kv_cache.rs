//! Keys and values of past positions.
//!
//! ```text
//! keys     [layer][sequence][head][block of 16 positions][dimension][16]    F16
//! values   [layer][sequence][head][position][dimension]                     F16
//! ```
//!
//! A line of 16 positions of one dimension of the keys is multiplied with one element of a query: scores come
//! out position by position in SIMD lanes, without a sum across lanes.

use crate::buffer::Aligned;
use crate::{KernelError, Team};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use std::ops::Range;

/// Positions whose keys lie together.
pub(crate) const BLOCK: usize = 16;

/// Fewer tokens than this are stored by the caller alone.
const PARALLEL_FROM: usize = 16;

/// The shape of a [`KvCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers.
    pub n_layer: usize,
    /// Sequences.
    pub n_seq: usize,
    /// Positions of a sequence.
    pub n_ctx: usize,
    /// Heads of keys and values.
    pub n_head_kv: usize,
    /// Elements of a key head.
    pub n_embd_head_k: usize,
    /// Elements of a value head.
    pub n_embd_head_v: usize,
}

impl KvShape {
    /// Elements of one head's keys in one sequence and layer.
    fn k_stride(&self) -> Option<usize> {
        self.n_ctx.checked_next_multiple_of(BLOCK)?.checked_mul(self.n_embd_head_k)
    }

    /// Elements of one head's values in one sequence and layer.
    fn v_stride(&self) -> Option<usize> {
        self.n_ctx.checked_mul(self.n_embd_head_v)
    }

    /// (Elements of all keys, elements of all values).
    fn elems(&self) -> Option<(usize, usize)> {
        let heads = self.n_layer.checked_mul(self.n_seq)?.checked_mul(self.n_head_kv)?;
        Some((heads.checked_mul(self.k_stride()?)?, heads.checked_mul(self.v_stride()?)?))
    }
}

/// Keys and values in F16, for each layer, sequence and position. Memory is committed as it is first written.
#[derive(Debug)]
pub struct KvCache {
    shape: KvShape,
    k_stride: usize,
    v_stride: usize,
    k: Aligned<u16>,
    v: Aligned<u16>,
}

impl KvCache {
    /// An empty cache.
    /// # Errors
    /// [`KernelError::CacheShape`] for a dimension of zero or more bytes than can be addressed.
    pub fn new(shape: KvShape) -> Result<Self, KernelError> {
        let error = KernelError::CacheShape { shape };
        let fits = Self::bytes_of(&shape).is_some_and(|n| n > 0 && isize::try_from(n).is_ok());
        let (Some((k, v)), true) = (shape.elems(), fits) else { return Err(error) };
        let (Some(k_stride), Some(v_stride)) = (shape.k_stride(), shape.v_stride()) else {
            return Err(error);
        };
        if k == 0 || v == 0 {
            return Err(error);
        }
        Ok(Self { shape, k_stride, v_stride, k: Aligned::zeroed(k), v: Aligned::zeroed(v) })
    }

    /// Bytes that a cache of this shape takes; `None` if that overflows.
    #[must_use]
    pub fn bytes_of(shape: &KvShape) -> Option<usize> {
        let (k, v) = shape.elems()?;
        // The memory of either begins at a cache line.
        k.checked_add(v)?.checked_mul(2)?.checked_add(128)
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Bytes allocated (those never written are not resident).
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        Self::bytes_of(&self.shape).unwrap_or(usize::MAX)
    }

    /// Stores the key `[n_head_kv, n_embd_head_k]` and value `[n_head_kv, n_embd_head_v]` of a position, rounded to F16.
    /// # Panics
    /// On an index out of range or a length that does not match.
    pub fn store(&mut self, il: usize, seq: usize, pos: usize, k: &[f32], v: &[f32]) {
        self.check(il, seq, pos);
        let (dk, dv) = (self.shape.n_embd_head_k, self.shape.n_embd_head_v);
        assert_eq!(k.len(), self.shape.n_head_kv * dk, "a key of all heads");
        assert_eq!(v.len(), self.shape.n_head_kv * dv, "a value of all heads");
        for (head, (k, v)) in k.chunks_exact(dk).zip(v.chunks_exact(dv)).enumerate() {
            let range = self.k_range(il, seq, head);
            store_key(k, pos, &mut self.k.as_mut_slice()[range]);
            let range = self.v_range(il, seq, head);
            store_value(v, pos, &mut self.v.as_mut_slice()[range]);
        }
    }

    /// Stores the keys `[n_tokens, n_head_kv, n_embd_head_k]` and values `[n_tokens, n_head_kv, n_embd_head_v]` of the
    /// (sequence, position) pairs `tokens` in layer `il`, rounded to F16.
    /// # Panics
    /// As [`Self::store`].
    pub fn store_all(
        &mut self,
        team: &Team,
        il: usize,
        tokens: &[(usize, usize)],
        k: &[f32],
        v: &[f32],
    ) {
        let KvShape { n_seq, n_head_kv, n_embd_head_k: dk, n_embd_head_v: dv, .. } = self.shape;
        let (k_row, v_row) = (n_head_kv * dk, n_head_kv * dv);
        assert_eq!(k.len(), tokens.len() * k_row, "a key of all heads for each token");
        assert_eq!(v.len(), tokens.len() * v_row, "a value of all heads for each token");
        if tokens.len() < PARALLEL_FROM {
            let rows = k.chunks_exact(k_row).zip(v.chunks_exact(v_row));
            for (&(seq, pos), (k, v)) in tokens.iter().zip(rows) {
                self.store(il, seq, pos, k, v);
            }
            return;
        }
        tokens.iter().for_each(|&(seq, pos)| self.check(il, seq, pos));
        let of_layer = |stride: usize| {
            let n = n_seq * n_head_kv * stride;
            il * n..(il + 1) * n
        };
        let rows = move |i: usize| {
            let here = tokens.iter().enumerate().filter(move |(_, t)| t.0 == i / n_head_kv);
            here.map(move |(row, t)| (row, t.1, i % n_head_kv))
        };
        let (k_stride, v_stride) = (self.k_stride, self.v_stride);
        let keys = &mut self.k.as_mut_slice()[of_layer(k_stride)];
        team.for_chunks_mut(keys, k_stride, &|i, keys| {
            for (row, pos, head) in rows(i) {
                store_key(&k[row * k_row + head * dk..][..dk], pos, keys);
            }
        });
        let values = &mut self.v.as_mut_slice()[of_layer(v_stride)];
        team.for_chunks_mut(values, v_stride, &|i, values| {
            for (row, pos, head) in rows(i) {
                store_value(&v[row * v_row + head * dv..][..dv], pos, values);
            }
        });
    }

    /// Reads a position back.
    /// # Panics
    /// As [`Self::store`].
    pub fn load(&self, il: usize, seq: usize, pos: usize, k: &mut [f32], v: &mut [f32]) {
        self.check(il, seq, pos);
        let (dk, dv) = (self.shape.n_embd_head_k, self.shape.n_embd_head_v);
        assert_eq!(k.len(), self.shape.n_head_kv * dk, "a key of all heads");
        assert_eq!(v.len(), self.shape.n_head_kv * dv, "a value of all heads");
        for (head, (k, v)) in k.chunks_exact_mut(dk).zip(v.chunks_exact_mut(dv)).enumerate() {
            let block = &self.keys(il, seq, head)[pos / BLOCK * BLOCK * dk..];
            for (x, line) in k.iter_mut().zip(block.chunks_exact(BLOCK)) {
                *x = from_f16(line[pos % BLOCK]);
            }
            for (x, &bits) in v.iter_mut().zip(&self.values(il, seq, head)[pos * dv..]) {
                *x = from_f16(bits);
            }
        }
    }

    /// Makes the first `len` positions of `dst` those of `src`, in every layer. What `dst` held from `len` on may be lost.
    /// # Errors
    /// [`KernelError::CacheRange`].
    pub fn copy(&mut self, src: usize, dst: usize, len: usize) -> Result<(), KernelError> {
        let KvShape { n_seq, n_ctx, n_layer, n_head_kv, n_embd_head_k, n_embd_head_v, .. } =
            self.shape;
        for seq in [src, dst] {
            if seq >= n_seq || len > n_ctx {
                return Err(KernelError::CacheRange { seq, len, n_seq, n_ctx });
            }
        }
        if src == dst {
            return Ok(());
        }
        for (il, head) in (0..n_layer).flat_map(|il| (0..n_head_kv).map(move |head| (il, head))) {
            let (from, to) = (self.k_range(il, src, head), self.k_range(il, dst, head));
            let n = len.next_multiple_of(BLOCK) * n_embd_head_k;
            self.k.as_mut_slice().copy_within(from.start..from.start + n, to.start);
            let (from, to) = (self.v_range(il, src, head), self.v_range(il, dst, head));
            let n = len * n_embd_head_v;
            self.v.as_mut_slice().copy_within(from.start..from.start + n, to.start);
        }
        Ok(())
    }

    /// The keys of a head: blocks of `[n_embd_head_k][16]`.
    pub(crate) fn keys(&self, il: usize, seq: usize, head: usize) -> &[u16] {
        &self.k.as_slice()[self.k_range(il, seq, head)]
    }

    /// The values of a head, `[n_ctx][n_embd_head_v]`.
    pub(crate) fn values(&self, il: usize, seq: usize, head: usize) -> &[u16] {
        &self.v.as_slice()[self.v_range(il, seq, head)]
    }

    pub(crate) fn check(&self, il: usize, seq: usize, pos: usize) {
        let KvShape { n_layer, n_seq, n_ctx, .. } = self.shape;
        assert!(il < n_layer, "layer {il} of {n_layer}");
        assert!(seq < n_seq, "sequence {seq} of {n_seq}");
        assert!(pos < n_ctx, "position {pos} of {n_ctx}");
    }

    fn k_range(&self, il: usize, seq: usize, head: usize) -> Range<usize> {
        let start = self.head_index(il, seq, head) * self.k_stride;
        start..start + self.k_stride
    }

    fn v_range(&self, il: usize, seq: usize, head: usize) -> Range<usize> {
        let start = self.head_index(il, seq, head) * self.v_stride;
        start..start + self.v_stride
    }

    fn head_index(&self, il: usize, seq: usize, head: usize) -> usize {
        (il * self.shape.n_seq + seq) * self.shape.n_head_kv + head
    }
}

/// A head's key at `pos` into the head's keys.
fn store_key(k: &[f32], pos: usize, keys: &mut [u16]) {
    let lines = &mut keys[pos / BLOCK * BLOCK * k.len()..][..BLOCK * k.len()];
    let mut halves = [0; 64];
    for (k, lines) in k.chunks(64).zip(lines.chunks_mut(64 * BLOCK)) {
        let halves = &mut halves[..k.len()];
        to_f16(k, halves);
        for (line, &half) in lines.as_chunks_mut::<BLOCK>().0.iter_mut().zip(&*halves) {
            line[pos % BLOCK] = half;
        }
    }
}

/// A head's value at `pos` into the head's values.
fn store_value(v: &[f32], pos: usize, values: &mut [u16]) {
    to_f16(v, &mut values[pos * v.len()..][..v.len()]);
}

/// F16 bits of numbers, rounded; `half` uses the CPU's instructions for whole slices.
fn to_f16(x: &[f32], to: &mut [u16]) {
    to.reinterpret_cast_mut::<half::f16>().convert_from_f32_slice(x);
}

/// The value of F16 bits.
#[inline]
pub(crate) fn from_f16(bits: u16) -> f32 {
    dequant::f16_to_f32(bits.to_le_bytes())
}

#[cfg(test)]
mod tests;
