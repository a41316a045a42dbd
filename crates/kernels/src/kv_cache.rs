//! Keys and values of past positions.
//!
//! ```text
//! keys     [layer][sequence][head][block of 16 positions][dimension][16]    F16
//! values   [layer][sequence][head][position][dimension]                     F16
//! ```
//!
//! A line of 16 positions of one dimension of the keys is multiplied with one element of a query: scores come
//! out position by position in SIMD lanes, without a sum across lanes.

use crate::KernelError;
use crate::buffer::Aligned;
use std::ops::Range;

/// Positions whose keys lie together.
pub(crate) const BLOCK: usize = 16;

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
            let block = &mut self.k.as_mut_slice()[range][pos / BLOCK * BLOCK * dk..];
            for (line, &x) in block.chunks_exact_mut(BLOCK).zip(k) {
                line[pos % BLOCK] = to_f16(x);
            }
            let range = self.v_range(il, seq, head);
            let row = &mut self.v.as_mut_slice()[range][pos * dv..][..dv];
            for (to, &x) in row.iter_mut().zip(v) {
                *to = to_f16(x);
            }
        }
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

#[inline]
fn to_f16(x: f32) -> u16 {
    u16::from_le_bytes(dequant::f32_to_f16(x))
}

/// The value of F16 bits.
#[inline]
pub(crate) fn from_f16(bits: u16) -> f32 {
    dequant::f16_to_f32(bits.to_le_bytes())
}

#[cfg(test)]
mod tests;
