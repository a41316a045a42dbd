//! Keys and values of past positions.
//!
//! ```text
//! keys     [layer][sequence][head]   codes  [block of 16 positions][dimension][16]
//!                                    scales [block of 16 positions][group of 32 dimensions][16]
//! values   [layer][sequence][head]   codes  [position][dimension]
//!                                    scales [position][group of 32 dimensions]
//! ```
//!
//! A line of 16 positions of one dimension of the keys is multiplied with one element of a query: scores come
//! out position by position in SIMD lanes, without a sum across lanes.

pub(crate) mod number;

use crate::buffer::Aligned;
use crate::{KernelError, Team};
use number::{GROUP, KvType, Number, Numbers, with_number};
use std::ops::Range;

/// Positions whose keys lie together.
pub(crate) const BLOCK: usize = 16;

/// Heads begin at multiples of so many bytes.
const ALIGN: usize = 64;

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
    /// Type of the keys.
    pub type_k: KvType,
    /// Type of the values.
    pub type_v: KvType,
}

impl KvShape {
    /// The keys and the values of one head in one sequence and layer.
    fn heads(&self) -> Option<(Head, Head)> {
        let n_positions = self.n_ctx.checked_next_multiple_of(BLOCK)?;
        let k = Head::new(self.type_k, n_positions, self.n_embd_head_k)?;
        Some((k, Head::new(self.type_v, self.n_ctx, self.n_embd_head_v)?))
    }

    /// (Bytes of all keys, bytes of all values).
    fn n_bytes(&self) -> Option<(usize, usize)> {
        let n = self.n_layer.checked_mul(self.n_seq)?.checked_mul(self.n_head_kv)?;
        let (k, v) = self.heads()?;
        Some((n.checked_mul(k.n_bytes)?, n.checked_mul(v.n_bytes)?))
    }

    /// Which head of all layers and sequences.
    fn head_index(&self, il: usize, seq: usize, head: usize) -> usize {
        (il * self.n_seq + seq) * self.n_head_kv + head
    }
}

/// How the keys or the values of one head lie in their bytes.
#[derive(Debug, Clone, Copy)]
struct Head {
    ty: KvType,
    /// Numbers of a position.
    width: usize,
    n_codes_bytes: usize,
    /// Codes, scales and what is left free behind them.
    n_bytes: usize,
}

impl Head {
    fn new(ty: KvType, n_positions: usize, width: usize) -> Option<Self> {
        if !width.is_multiple_of(ty.head_multiple()) {
            return None;
        }
        let n = n_positions.checked_mul(width)?;
        let n_codes_bytes = with_number!(ty, T => n.checked_mul(T::BYTES)?);
        let n_bytes = ty.n_bytes(n)?.checked_next_multiple_of(ALIGN)?;
        Some(Self { ty, width, n_codes_bytes, n_bytes })
    }

    /// The numbers in a head's bytes.
    fn numbers(self, bytes: &[u8]) -> Numbers<'_> {
        let (codes, scales) = bytes.split_at(self.n_codes_bytes);
        Numbers { codes, scales }
    }

    /// A key into the lines of its block.
    fn store_key(self, k: &[f32], pos: usize, bytes: &mut [u8]) {
        let (block, lane) = (pos / BLOCK * self.width, pos % BLOCK);
        let (codes, scales) = bytes.split_at_mut(self.n_codes_bytes);
        with_number!(self.ty, T => {
            for (g, k) in k.chunks(GROUP).enumerate() {
                let mut encoded = [0; GROUP * 4];
                let encoded = &mut encoded[..k.len() * T::BYTES];
                let scale = T::encode(k, encoded);
                let first = block + g * GROUP;
                let lines = codes[first * BLOCK * T::BYTES..].chunks_exact_mut(BLOCK * T::BYTES);
                for (line, code) in lines.zip(encoded.chunks_exact(T::BYTES)) {
                    line[lane * T::BYTES..][..T::BYTES].copy_from_slice(code);
                }
                if T::SCALED {
                    let at = first / GROUP * BLOCK + lane;
                    scales[2 * at..][..2].copy_from_slice(&scale.to_le_bytes());
                }
            }
        });
    }

    /// A value into its row.
    fn store_value(self, v: &[f32], pos: usize, bytes: &mut [u8]) {
        let (codes, scales) = bytes.split_at_mut(self.n_codes_bytes);
        with_number!(self.ty, T => {
            for (g, v) in v.chunks(GROUP).enumerate() {
                let first = pos * self.width + g * GROUP;
                let scale = T::encode(v, &mut codes[first * T::BYTES..][..v.len() * T::BYTES]);
                if T::SCALED {
                    scales[first / GROUP * 2..][..2].copy_from_slice(&scale.to_le_bytes());
                }
            }
        });
    }

    /// A key read back.
    fn load_key(self, bytes: &[u8], pos: usize, k: &mut [f32]) {
        let numbers = self.numbers(bytes);
        let (block, lane) = (pos / BLOCK * self.width, pos % BLOCK);
        with_number!(self.ty, T => {
            for (d, k) in k.iter_mut().enumerate() {
                let scale = numbers.scale::<T>((block + d) / GROUP * BLOCK + lane);
                *k = T::decode(&numbers.codes[((block + d) * BLOCK + lane) * T::BYTES..], scale);
            }
        });
    }

    /// A value read back.
    fn load_value(self, bytes: &[u8], pos: usize, v: &mut [f32]) {
        let numbers = self.numbers(bytes);
        with_number!(self.ty, T => {
            for (d, v) in v.iter_mut().enumerate() {
                *v = numbers.get::<T>(pos * self.width + d);
            }
        });
    }

    /// The bytes of the first `n_positions` positions: codes and scales. `n_positions` are whole blocks of keys.
    fn prefix(self, n_positions: usize) -> [Range<usize>; 2] {
        let n = n_positions * self.width;
        with_number!(self.ty, T => {
            let scales = if T::SCALED { n / GROUP * 2 } else { 0 };
            [0..n * T::BYTES, self.n_codes_bytes..self.n_codes_bytes + scales]
        })
    }
}

/// The keys or the values of all heads.
#[derive(Debug)]
struct Heads {
    head: Head,
    bytes: Aligned<u8>,
}

impl Heads {
    fn range(&self, index: usize) -> Range<usize> {
        index * self.head.n_bytes..(index + 1) * self.head.n_bytes
    }

    fn get(&self, index: usize) -> &[u8] {
        &self.bytes.as_slice()[self.range(index)]
    }

    fn get_mut(&mut self, indices: Range<usize>) -> &mut [u8] {
        let (start, end) = (self.range(indices.start).start, self.range(indices.end).start);
        &mut self.bytes.as_mut_slice()[start..end]
    }

    fn copy(&mut self, from: usize, to: usize, n_positions: usize) {
        let (from, to) = (self.range(from).start, self.range(to).start);
        for part in self.head.prefix(n_positions) {
            let source = from + part.start..from + part.end;
            self.bytes.as_mut_slice().copy_within(source, to + part.start);
        }
    }
}

/// Keys and values for each layer, sequence and position. Memory is committed as it is first written.
#[derive(Debug)]
pub struct KvCache {
    shape: KvShape,
    k: Heads,
    v: Heads,
}

impl KvCache {
    /// An empty cache.
    /// # Errors
    /// [`KernelError::CacheShape`] for a dimension of zero, heads that are no multiple of what their type needs, or more
    /// bytes than can be addressed.
    pub fn new(shape: KvShape) -> Result<Self, KernelError> {
        let error = KernelError::CacheShape { shape };
        let fits = Self::bytes_of(&shape).is_some_and(|n| isize::try_from(n).is_ok());
        let (Some((k, v)), Some(heads), true) = (shape.n_bytes(), shape.heads(), fits) else {
            return Err(error);
        };
        if k == 0 || v == 0 {
            return Err(error);
        }
        let [k, v] =
            [(heads.0, k), (heads.1, v)].map(|(head, n)| Heads { head, bytes: Aligned::zeroed(n) });
        Ok(Self { shape, k, v })
    }

    /// Bytes that a cache of this shape takes; `None` if that overflows or there is no such cache.
    #[must_use]
    pub fn bytes_of(shape: &KvShape) -> Option<usize> {
        let (k, v) = shape.n_bytes()?;
        // The memory of either begins at a cache line.
        k.checked_add(v)?.checked_add(128)
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

    /// Stores the key `[n_head_kv, n_embd_head_k]` and value `[n_head_kv, n_embd_head_v]` of a position, rounded to the
    /// cache's types.
    /// # Panics
    /// On an index out of range or a length that does not match.
    pub fn store(&mut self, il: usize, seq: usize, pos: usize, k: &[f32], v: &[f32]) {
        self.check(il, seq, pos);
        let (dk, dv) = (self.shape.n_embd_head_k, self.shape.n_embd_head_v);
        assert_eq!(k.len(), self.shape.n_head_kv * dk, "a key of all heads");
        assert_eq!(v.len(), self.shape.n_head_kv * dv, "a value of all heads");
        let (k_head, v_head) = (self.k.head, self.v.head);
        for (head, (k, v)) in k.chunks_exact(dk).zip(v.chunks_exact(dv)).enumerate() {
            let i = self.shape.head_index(il, seq, head);
            k_head.store_key(k, pos, self.k.get_mut(i..i + 1));
            v_head.store_value(v, pos, self.v.get_mut(i..i + 1));
        }
    }

    /// Stores the keys `[n_tokens, n_head_kv, n_embd_head_k]` and values `[n_tokens, n_head_kv, n_embd_head_v]` of the
    /// (sequence, position) pairs `tokens` in layer `il`, rounded to the cache's types.
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
        let KvShape { n_head_kv, n_embd_head_k: dk, n_embd_head_v: dv, .. } = self.shape;
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
        let of_layer = self.shape.head_index(il, 0, 0)..self.shape.head_index(il + 1, 0, 0);
        let rows = move |i: usize| {
            let here = tokens.iter().enumerate().filter(move |(_, t)| t.0 == i / n_head_kv);
            here.map(move |(row, t)| (row, t.1, i % n_head_kv))
        };
        let (k_head, v_head) = (self.k.head, self.v.head);
        team.for_chunks_mut(self.k.get_mut(of_layer.clone()), k_head.n_bytes, &|i, keys| {
            for (row, pos, head) in rows(i) {
                k_head.store_key(&k[row * k_row + head * dk..][..dk], pos, keys);
            }
        });
        team.for_chunks_mut(self.v.get_mut(of_layer), v_head.n_bytes, &|i, values| {
            for (row, pos, head) in rows(i) {
                v_head.store_value(&v[row * v_row + head * dv..][..dv], pos, values);
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
            let i = self.shape.head_index(il, seq, head);
            self.k.head.load_key(self.k.get(i), pos, k);
            self.v.head.load_value(self.v.get(i), pos, v);
        }
    }

    /// Makes the first `len` positions of `dst` those of `src`, in every layer. What `dst` held from `len` on may be lost.
    /// # Errors
    /// [`KernelError::CacheRange`].
    pub fn copy(&mut self, src: usize, dst: usize, len: usize) -> Result<(), KernelError> {
        let KvShape { n_seq, n_ctx, n_layer, n_head_kv, .. } = self.shape;
        for seq in [src, dst] {
            if seq >= n_seq || len > n_ctx {
                return Err(KernelError::CacheRange { seq, len, n_seq, n_ctx });
            }
        }
        if src == dst {
            return Ok(());
        }
        for (il, head) in (0..n_layer).flat_map(|il| (0..n_head_kv).map(move |head| (il, head))) {
            let [from, to] = [src, dst].map(|seq| self.shape.head_index(il, seq, head));
            self.k.copy(from, to, len.next_multiple_of(BLOCK));
            self.v.copy(from, to, len);
        }
        Ok(())
    }

    /// The keys of a head: blocks of `[n_embd_head_k][16]`.
    pub(crate) fn keys(&self, il: usize, seq: usize, head: usize) -> Numbers<'_> {
        self.k.head.numbers(self.k.get(self.shape.head_index(il, seq, head)))
    }

    /// The values of a head, `[n_ctx][n_embd_head_v]`.
    pub(crate) fn values(&self, il: usize, seq: usize, head: usize) -> Numbers<'_> {
        self.v.head.numbers(self.v.get(self.shape.head_index(il, seq, head)))
    }

    pub(crate) fn check(&self, il: usize, seq: usize, pos: usize) {
        let KvShape { n_layer, n_seq, n_ctx, .. } = self.shape;
        assert!(il < n_layer, "layer {il} of {n_layer}");
        assert!(seq < n_seq, "sequence {seq} of {n_seq}");
        assert!(pos < n_ctx, "position {pos} of {n_ctx}");
    }
}

#[cfg(test)]
mod tests;
