//! Large memory cut into pieces.
//!
//! Weights are read once per token, so every page of them is looked up once per token: with pages of 4 KiB a core reads
//! a good third less than with pages of 2 MiB. Those need large ranges, and most matrices are smaller: they are cut from
//! slabs.

use super::lock;
use memmap2::MmapMut;
use std::fmt;
use std::sync::{Arc, Mutex};

/// Pieces begin at multiples of this, so that packed lines never straddle cache lines.
const LINE: usize = 64;
/// Bytes of a slab, if no piece needs more. What is not used of it is never committed.
const SLAB: usize = 64 << 20;

/// Where large pieces of memory are taken from. Each lives until it is dropped, whatever becomes of the arena.
#[derive(Default)]
pub struct Arena {
    /// The slab that is being cut, and the bytes used of it.
    open: Mutex<Option<(Arc<Slab>, usize)>>,
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").finish_non_exhaustive()
    }
}

/// A mapping whose bytes belong to pieces.
struct Slab {
    start: *mut u8,
    /// Keeps the memory mapped; never touched through this.
    _map: MmapMut,
}

// SAFETY: `start` is only used to make pieces, which are disjoint.
#[expect(unsafe_code, reason = "see the SAFETY note")]
unsafe impl Send for Slab {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "see the SAFETY note")]
unsafe impl Sync for Slab {}

/// Zeroed bytes that begin at a cache line.
pub(crate) struct Piece {
    slab: Option<Arc<Slab>>,
    offset: usize,
    len: usize,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Arena {
    /// An arena without memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `len` zeros. Pages are committed when they are first written.
    /// # Errors
    /// What the system says if it has no address space left.
    pub(crate) fn take(&self, len: usize) -> std::io::Result<Piece> {
        if len == 0 {
            return Ok(Piece { slab: None, offset: 0, len });
        }
        let mut open = lock(&self.open);
        let (slab, used) = match open.take() {
            Some((slab, used)) if len <= slab.len() - used => (slab, used),
            _ => (Arc::new(Slab::new(len.max(SLAB))?), 0),
        };
        let piece = Piece { slab: Some(Arc::clone(&slab)), offset: used, len };
        // A slab is whole pages, so that this stays within it.
        let used = used + len.next_multiple_of(LINE).min(slab.len() - used);
        *open = Some((slab, used));
        Ok(piece)
    }
}

impl Slab {
    fn new(len: usize) -> std::io::Result<Self> {
        let mut map = MmapMut::map_anon(len)?;
        // A wish: where it is not granted, pages are small, and all else is the same.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { start: map.as_mut_ptr(), _map: map })
    }

    fn len(&self) -> usize {
        self._map.len()
    }
}

impl Piece {
    /// The bytes.
    #[expect(unsafe_code, reason = "see the SAFETY note")]
    pub(crate) fn as_slice(&self) -> &[u8] {
        let Some(slab) = &self.slab else { return &[] };
        // SAFETY: the piece is inside the slab, which it keeps alive, and no other piece overlaps it.
        unsafe { std::slice::from_raw_parts(slab.start.add(self.offset), self.len) }
    }

    /// The bytes, to be written.
    #[expect(unsafe_code, reason = "see the SAFETY note")]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        let Some(slab) = &self.slab else { return &mut [] };
        // SAFETY: as above; the exclusive borrow of the piece is one of these bytes.
        unsafe { std::slice::from_raw_parts_mut(slab.start.add(self.offset), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arena, SLAB};

    #[test]
    fn pieces_are_zeroed_aligned_and_disjoint() {
        let arena = Arena::new();
        let lens = [0, 1, 63, 64, 65, 4096, SLAB / 2, SLAB / 2, SLAB, SLAB + 1, 7];
        let mut pieces: Vec<_> = lens.iter().map(|len| arena.take(*len).unwrap()).collect();
        drop(arena);
        for (i, piece) in pieces.iter_mut().enumerate() {
            assert_eq!(piece.as_slice().len(), lens[i]);
            assert!(piece.as_slice().iter().all(|b| *b == 0), "piece {i} was written by another");
            assert!(lens[i] == 0 || piece.as_slice().as_ptr().addr().is_multiple_of(64));
            piece.as_mut_slice().fill(1 + i as u8);
        }
        for (i, piece) in pieces.iter().enumerate() {
            assert!(piece.as_slice().iter().all(|b| *b == 1 + i as u8), "piece {i}");
        }
    }
}
