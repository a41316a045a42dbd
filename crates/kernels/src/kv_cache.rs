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
//!
//! A layer has cells for all positions, or a ring of whole chunks ([`crate::attention`]): position `pos` is in cell
//! `pos % n_cells`, so that the positions of a chunk lie together, as they do without a ring.

pub(crate) mod number;

use crate::attention::CHUNK;
use crate::buffer::Aligned;
use crate::{Isa, KernelError, RopeAngles, Team};
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
    /// The cells that a layer needs whose queries see the last `n_swa` positions, if up to `n_batch` positions are stored
    /// before the first of them is attended to: a ring, or all positions where a ring would not be smaller.
    #[must_use]
    pub fn window_cells(&self, n_swa: usize, n_batch: usize) -> usize {
        let needed = n_swa.saturating_add(n_batch).saturating_sub(1);
        needed.checked_next_multiple_of(CHUNK).map_or(self.n_ctx, |n| n.min(self.n_ctx))
    }

    /// Where keys and values of layers with so many cells lie, and how many bytes each take.
    fn layout(&self, n_cells: &[usize]) -> Option<[(Vec<Layer>, usize); 2]> {
        let n_heads = self.n_seq.checked_mul(self.n_head_kv)?;
        let (mut k, mut v) = ((Vec::new(), 0_usize), (Vec::new(), 0_usize));
        for &n_cells in n_cells {
            let blocks = n_cells.checked_next_multiple_of(BLOCK)?;
            for (part, head) in [
                (&mut k, Head::new(self.type_k, blocks, self.n_embd_head_k)?),
                (&mut v, Head::new(self.type_v, n_cells, self.n_embd_head_v)?),
            ] {
                part.0.push(Layer { head, start: part.1 });
                part.1 = part.1.checked_add(n_heads.checked_mul(head.n_bytes)?)?;
            }
        }
        Some([k, v])
    }
}

/// How the keys or the values of one head lie in their bytes.
#[derive(Debug, Clone, Copy)]
struct Head {
    ty: KvType,
    /// Numbers of a cell.
    width: usize,
    n_codes_bytes: usize,
    /// Codes, scales and what is left free behind them.
    n_bytes: usize,
}

impl Head {
    fn new(ty: KvType, n_cells: usize, width: usize) -> Option<Self> {
        if !width.is_multiple_of(ty.head_multiple()) {
            return None;
        }
        let n = n_cells.checked_mul(width)?;
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
    fn store_key(self, k: &[f32], cell: usize, bytes: &mut [u8]) {
        let (block, lane) = (cell / BLOCK * self.width, cell % BLOCK);
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
    fn store_value(self, v: &[f32], cell: usize, bytes: &mut [u8]) {
        let (codes, scales) = bytes.split_at_mut(self.n_codes_bytes);
        with_number!(self.ty, T => {
            for (g, v) in v.chunks(GROUP).enumerate() {
                let first = cell * self.width + g * GROUP;
                let scale = T::encode(v, &mut codes[first * T::BYTES..][..v.len() * T::BYTES]);
                if T::SCALED {
                    scales[first / GROUP * 2..][..2].copy_from_slice(&scale.to_le_bytes());
                }
            }
        });
    }

    /// A key read back.
    fn load_key(self, bytes: &[u8], cell: usize, k: &mut [f32]) {
        let numbers = self.numbers(bytes);
        let (block, lane) = (cell / BLOCK * self.width, cell % BLOCK);
        with_number!(self.ty, T => {
            for (d, k) in k.iter_mut().enumerate() {
                let scale = numbers.scale::<T>((block + d) / GROUP * BLOCK + lane);
                *k = T::decode(&numbers.codes[((block + d) * BLOCK + lane) * T::BYTES..], scale);
            }
        });
    }

    /// A value read back.
    fn load_value(self, bytes: &[u8], cell: usize, v: &mut [f32]) {
        let numbers = self.numbers(bytes);
        with_number!(self.ty, T => {
            for (d, v) in v.iter_mut().enumerate() {
                *v = numbers.get::<T>(cell * self.width + d);
            }
        });
    }

    /// The bytes of the first `n_cells` cells: codes and scales. `n_cells` are whole blocks of keys.
    fn prefix(self, n_cells: usize) -> [Range<usize>; 2] {
        let n = n_cells * self.width;
        with_number!(self.ty, T => {
            let scales = if T::SCALED { n / GROUP * 2 } else { 0 };
            [0..n * T::BYTES, self.n_codes_bytes..self.n_codes_bytes + scales]
        })
    }
}

/// How keys are rotated on their way into a cache.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// With which instructions.
    pub isa: Isa,
    /// By how much, for each token.
    pub angles: &'a RopeAngles,
}

/// Keys `[n_tokens, n_head_kv, n_embd_head_k]`.
struct Keys<'a> {
    k: &'a [f32],
    rope: Option<Rotation<'a>>,
}

impl Keys<'_> {
    /// The key of head `at`, which is one of `token`, as it is to be stored; in `spare` if it is rotated.
    fn key<'a>(&'a self, token: usize, at: usize, n: usize, spare: &'a mut Vec<f32>) -> &'a [f32] {
        let key = &self.k[at * n..][..n];
        let Some(Rotation { isa, angles }) = self.rope else { return key };
        spare.clear();
        spare.extend_from_slice(key);
        angles.rotate(isa, token, spare);
        spare
    }
}

/// The keys or the values of one layer.
#[derive(Debug, Clone, Copy)]
struct Layer {
    head: Head,
    /// The first byte.
    start: usize,
}

/// The keys or the values of all layers.
#[derive(Debug)]
struct Heads {
    layers: Vec<Layer>,
    bytes: Aligned<u8>,
}

impl Heads {
    /// The bytes of some of a layer's heads.
    fn range(&self, il: usize, heads: Range<usize>) -> Range<usize> {
        let Layer { head, start } = self.layers[il];
        start + heads.start * head.n_bytes..start + heads.end * head.n_bytes
    }

    fn get(&self, il: usize, index: usize) -> &[u8] {
        &self.bytes.as_slice()[self.range(il, index..index + 1)]
    }

    fn get_mut(&mut self, il: usize, indices: Range<usize>) -> &mut [u8] {
        let range = self.range(il, indices);
        &mut self.bytes.as_mut_slice()[range]
    }

    fn copy(&mut self, il: usize, from: usize, to: usize, n_cells: usize) {
        let [from, to] = [from, to].map(|index| self.range(il, index..index + 1).start);
        for part in self.layers[il].head.prefix(n_cells) {
            let source = from + part.start..from + part.end;
            self.bytes.as_mut_slice().copy_within(source, to + part.start);
        }
    }
}

/// Keys and values for each layer, sequence and position. Memory is committed as it is first written.
#[derive(Debug)]
pub struct KvCache {
    shape: KvShape,
    /// Of each layer.
    n_cells: Vec<usize>,
    k: Heads,
    v: Heads,
}

impl KvCache {
    /// An empty cache of all positions.
    /// # Errors
    /// [`KernelError::CacheShape`] for a dimension of zero, heads that are no multiple of what their type needs, or more
    /// bytes than can be addressed.
    pub fn new(shape: KvShape) -> Result<Self, KernelError> {
        // Of a number of layers that is nonsense, one says as much.
        Self::with_cells(shape, vec![shape.n_ctx; shape.n_layer.min(1 << 16)])
    }

    /// An empty cache in which layer `il` has `n_cells[il]` cells, as [`KvShape::window_cells`] counts them: of each
    /// sequence the last so many positions that were stored.
    /// # Errors
    /// As [`Self::new`]; also for another number of layers, and for cells that are no whole chunks.
    pub fn with_cells(shape: KvShape, n_cells: Vec<usize>) -> Result<Self, KernelError> {
        let error = KernelError::CacheShape { shape };
        let ring = |n: usize| (1..shape.n_ctx).contains(&n) && n.is_multiple_of(CHUNK);
        let whole = |n: &usize| *n == shape.n_ctx || ring(*n);
        let fits = Self::bytes_of(&shape, &n_cells).is_some_and(|n| isize::try_from(n).is_ok());
        let (Some([k, v]), true) = (shape.layout(&n_cells), fits) else { return Err(error) };
        if n_cells.len() != shape.n_layer || !n_cells.iter().all(whole) || k.1 == 0 || v.1 == 0 {
            return Err(error);
        }
        let [k, v] = [k, v].map(|(layers, n)| Heads { layers, bytes: Aligned::zeroed(n) });
        Ok(Self { shape, n_cells, k, v })
    }

    /// Bytes that a cache with so many cells takes; `None` if that overflows or there is no such cache.
    #[must_use]
    pub fn bytes_of(shape: &KvShape, n_cells: &[usize]) -> Option<usize> {
        let [(_, k), (_, v)] = shape.layout(n_cells)?;
        // The memory of either begins at a cache line.
        k.checked_add(v)?.checked_add(128)
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Cells of a layer: it holds so many positions of a sequence, those stored last.
    /// # Panics
    /// If there is no such layer.
    #[must_use]
    pub fn n_cells(&self, il: usize) -> usize {
        self.n_cells[il]
    }

    /// Bytes allocated (those never written are not resident).
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        Self::bytes_of(&self.shape, &self.n_cells).unwrap_or(usize::MAX)
    }

    /// Which head of a layer.
    fn head_index(&self, seq: usize, head: usize) -> usize {
        seq * self.shape.n_head_kv + head
    }

    /// The cell of a position.
    pub(crate) fn cell(&self, il: usize, pos: usize) -> usize {
        pos % self.n_cells[il]
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
        self.store_token(il, (seq, pos), 0, &Keys { k, rope: None }, v, &mut Vec::new());
    }

    /// Stores the key and value of all heads of `token`, one of those in `keys` and `v`. In `spare` keys are rotated.
    fn store_token(
        &mut self,
        il: usize,
        (seq, pos): (usize, usize),
        token: usize,
        keys: &Keys<'_>,
        v: &[f32],
        spare: &mut Vec<f32>,
    ) {
        let KvShape { n_head_kv, n_embd_head_k: dk, n_embd_head_v: dv, .. } = self.shape;
        let (cell, k_head, v_head) =
            (self.cell(il, pos), self.k.layers[il].head, self.v.layers[il].head);
        for head in 0..n_head_kv {
            let (i, at) = (self.head_index(seq, head), token * n_head_kv + head);
            k_head.store_key(keys.key(token, at, dk, spare), cell, self.k.get_mut(il, i..i + 1));
            v_head.store_value(&v[at * dv..][..dv], cell, self.v.get_mut(il, i..i + 1));
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
        self.store_keys(team, il, tokens, &Keys { k, rope: None }, v);
    }

    /// As [`Self::store_all`], of keys that are yet to be rotated by the angles of their tokens: head by head on their way into
    /// the cache.
    /// # Panics
    /// As [`Self::store`]; also if the angles are not those of these tokens, or heads are shorter than what is rotated.
    pub fn store_rotated(
        &mut self,
        team: &Team,
        il: usize,
        tokens: &[(usize, usize)],
        (k, by): (&[f32], Rotation<'_>),
        v: &[f32],
    ) {
        by.angles.check(self.shape.n_embd_head_k);
        assert_eq!(by.angles.n_tokens(), tokens.len(), "angles for each token");
        self.store_keys(team, il, tokens, &Keys { k, rope: Some(by) }, v);
    }

    fn store_keys(
        &mut self,
        team: &Team,
        il: usize,
        tokens: &[(usize, usize)],
        keys: &Keys<'_>,
        v: &[f32],
    ) {
        let KvShape { n_head_kv, n_embd_head_k: dk, n_embd_head_v: dv, .. } = self.shape;
        assert_eq!(
            keys.k.len(),
            tokens.len() * n_head_kv * dk,
            "a key of all heads for each token"
        );
        assert_eq!(v.len(), tokens.len() * n_head_kv * dv, "a value of all heads for each token");
        tokens.iter().for_each(|&(seq, pos)| self.check(il, seq, pos));
        if tokens.len() < PARALLEL_FROM {
            let mut spare = team.take_spare();
            for (token, &at) in tokens.iter().enumerate() {
                self.store_token(il, at, token, keys, v, &mut spare[0]);
            }
            return team.give_back(spare);
        }
        let (k_head, v_head) = (self.k.layers[il].head, self.v.layers[il].head);
        let (n_heads, n_cells) = (self.shape.n_seq * n_head_kv, self.n_cells[il]);
        let rows = move |i: usize| {
            let here = tokens.iter().enumerate().filter(move |(_, t)| t.0 == i / n_head_kv);
            here.map(move |(token, t)| (token, t.1 % n_cells, token * n_head_kv + i % n_head_kv))
        };
        team.for_chunks_mut(self.k.get_mut(il, 0..n_heads), k_head.n_bytes, &|i, bytes| {
            let mut spare = team.take_spare();
            for (token, cell, at) in rows(i) {
                k_head.store_key(keys.key(token, at, dk, &mut spare[0]), cell, bytes);
            }
            team.give_back(spare);
        });
        team.for_chunks_mut(self.v.get_mut(il, 0..n_heads), v_head.n_bytes, &|i, bytes| {
            for (_, cell, at) in rows(i) {
                v_head.store_value(&v[at * dv..][..dv], cell, bytes);
            }
        });
    }

    /// Reads a position back; of a ring, what is in its cell.
    /// # Panics
    /// As [`Self::store`].
    pub fn load(&self, il: usize, seq: usize, pos: usize, k: &mut [f32], v: &mut [f32]) {
        self.check(il, seq, pos);
        let (dk, dv) = (self.shape.n_embd_head_k, self.shape.n_embd_head_v);
        assert_eq!(k.len(), self.shape.n_head_kv * dk, "a key of all heads");
        assert_eq!(v.len(), self.shape.n_head_kv * dv, "a value of all heads");
        let cell = self.cell(il, pos);
        for (head, (k, v)) in k.chunks_exact_mut(dk).zip(v.chunks_exact_mut(dv)).enumerate() {
            let i = self.head_index(seq, head);
            self.k.layers[il].head.load_key(self.k.get(il, i), cell, k);
            self.v.layers[il].head.load_value(self.v.get(il, i), cell, v);
        }
    }

    /// Makes the first `len` positions of `dst` those of `src`, in every layer, as far as `src` holds them. What `dst` held
    /// from `len` on may be lost.
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
            let [from, to] = [src, dst].map(|seq| self.head_index(seq, head));
            let n_cells = len.min(self.n_cells[il]);
            self.k.copy(il, from, to, n_cells.next_multiple_of(BLOCK));
            self.v.copy(il, from, to, n_cells);
        }
        Ok(())
    }

    /// The keys of a head: blocks of `[n_embd_head_k][16]`, one for 16 cells.
    pub(crate) fn keys(&self, il: usize, seq: usize, head: usize) -> Numbers<'_> {
        self.k.layers[il].head.numbers(self.k.get(il, self.head_index(seq, head)))
    }

    /// The values of a head, `[n_cells][n_embd_head_v]`.
    pub(crate) fn values(&self, il: usize, seq: usize, head: usize) -> Numbers<'_> {
        self.v.layers[il].head.numbers(self.v.get(il, self.head_index(seq, head)))
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
