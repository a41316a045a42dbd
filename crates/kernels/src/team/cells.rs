//! Cutting arrays of activations by tokens and columns.

use super::{Schedule, Team};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Numbers that are copied as they lie in memory.
pub(crate) trait Plain: Copy + Send {}
impl Plain for i8 {}
impl Plain for [i16; 2] {}
impl Plain for i32 {}
impl Plain for u32 {}
impl Plain for f32 {}

/// An array `[tile][cell][token of the tile][width]`: what several threads write, each some columns of some tiles.
#[derive(Debug)]
pub(crate) struct Cells<'a> {
    start: *mut u8,
    n_bytes: usize,
    /// Columns of a cell.
    columns: usize,
    /// Bytes of a cell's token.
    width: usize,
    _borrow: PhantomData<&'a mut [u8]>,
}

impl<'a> Cells<'a> {
    /// `n` times a cell of `columns` columns and one token.
    pub(crate) fn of<T: Plain>(data: &'a mut [T], columns: usize, n: usize) -> Self {
        let n_bytes = size_of_val(data);
        let width = n_bytes.checked_div(n).unwrap_or(0);
        assert_eq!(width * n, n_bytes, "whole cells");
        Self { start: data.as_mut_ptr().cast(), n_bytes, columns, width, _borrow: PhantomData }
    }
}

/// Arrays of the same rows.
#[derive(Debug)]
pub(crate) struct Field<'a> {
    pub(crate) arrays: Vec<Cells<'a>>,
    pub(crate) n_tokens: usize,
    pub(crate) n_cols: usize,
    /// Tokens of a tile.
    pub(crate) tile: usize,
}

// SAFETY: the pointers are only followed by `FieldPart::put`, each part by one thread.
#[expect(unsafe_code, reason = "see the SAFETY note")]
unsafe impl Sync for Field<'_> {}

/// Some columns of some tiles, exclusively borrowed.
#[derive(Debug)]
pub(crate) struct FieldPart<'a> {
    field: &'a Field<'a>,
    tokens: Range<usize>,
    columns: Range<usize>,
}

impl FieldPart<'_> {
    /// Tokens: whole tiles, but for the last of all.
    pub(crate) fn tokens(&self) -> Range<usize> {
        self.tokens.clone()
    }

    /// Columns.
    pub(crate) fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// Writes the part's cells of `array`, which `values` holds as an array of no more than these tokens and columns would.
    #[expect(unsafe_code, reason = "see the SAFETY notes")]
    pub(crate) fn put<T: Plain>(&mut self, array: usize, values: &[T]) {
        let &Field { n_tokens, n_cols, tile, .. } = self.field;
        let Cells { start, n_bytes, columns, width, .. } = self.field.arrays[array];
        if width == 0 {
            return;
        }
        let (tokens, n_all) = (self.tokens.clone(), n_cols / columns);
        let (first, n) = (self.columns.start / columns, self.columns.len() / columns);
        let end = tokens.start + tokens.len() / tile * tile;
        assert_eq!(size_of_val(values), tokens.len() * n * width, "the cells of a part");
        assert!(tokens.end <= n_tokens && n_tokens * n_all * width <= n_bytes, "inside the array");
        let mut from = values.as_ptr().cast::<u8>();
        for token in tokens.clone().step_by(tile) {
            let t = if token < end { tile } else { tokens.end - token };
            let (at, n) = ((token * n_all + first * t) * width, n * t * width);
            // SAFETY: as many bytes as were counted above. Parts have no tile and column in common (`Team::for_parts` cuts
            // at tiles and at whole cells of each array), so these bytes are this part's alone; the array is borrowed.
            unsafe { copy(from, start.wrapping_add(at), n) };
            from = from.wrapping_add(n);
        }
    }
}

/// Copies some bytes, mostly few: without a call.
///
/// # Safety
/// `from` is readable and `to` writable for `n` bytes, and they are not the same.
#[inline(always)]
#[expect(unsafe_code, reason = "its callers promise what it needs")]
unsafe fn copy(from: *const u8, to: *mut u8, n: usize) {
    let mut at = 0;
    // SAFETY: `at` plus what is copied is at most `n`.
    unsafe {
        while at + 16 <= n {
            to.add(at)
                .cast::<[u8; 16]>()
                .write_unaligned(from.add(at).cast::<[u8; 16]>().read_unaligned());
            at += 16;
        }
        while at + 4 <= n {
            to.add(at)
                .cast::<[u8; 4]>()
                .write_unaligned(from.add(at).cast::<[u8; 4]>().read_unaligned());
            at += 4;
        }
        from.add(at).copy_to_nonoverlapping(to.add(at), n - at);
    }
}

/// How to cut a [`Field`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Tokens of a part: whole tiles.
    pub(crate) n_tokens: usize,
    /// Columns of a part.
    pub(crate) n_cols: usize,
    /// [`Schedule::Static`] means: all tokens, and a contiguous share of the columns for each thread.
    pub(crate) schedule: Schedule,
}

impl Team {
    /// Calls `f(state of the thread, part)` for parts that cover `field`.
    ///
    /// # Panics
    /// If parts are no whole tiles and cells, or a thread has no state.
    pub(crate) fn for_parts<S, F>(&self, field: &mut Field<'_>, cut: Cut, states: &mut [S], f: &F)
    where
        S: Send,
        F: Fn(&mut S, &mut FieldPart<'_>) + Sync,
    {
        let field = &*field;
        let &Field { n_tokens, n_cols, tile, .. } = field;
        let whole = |n: usize| n > 0 && cut.n_cols.is_multiple_of(n) && n_cols.is_multiple_of(n);
        assert!(cut.n_tokens > 0 && cut.n_tokens.is_multiple_of(tile), "whole tiles");
        assert!(field.arrays.iter().all(|array| whole(array.columns)), "whole cells");
        assert!(states.len() >= self.n_threads(), "a state for each thread");
        let states = super::split::Shared(states.as_mut_ptr());
        let call = |state: &mut S, tokens: Range<usize>, columns: Range<usize>| {
            if !tokens.is_empty() && !columns.is_empty() {
                f(state, &mut FieldPart { field, tokens, columns });
            }
        };
        let across = n_cols.div_ceil(cut.n_cols);
        let n_parts = n_tokens.div_ceil(cut.n_tokens) * across;
        let next = AtomicUsize::new(0);
        self.run(&|tid| {
            // SAFETY: `tid` is below the number of threads, and no other has it; the states are mutably borrowed.
            #[expect(unsafe_code, reason = "see the SAFETY note")]
            let state = unsafe { &mut *states.get().add(tid) };
            if cut.schedule == Schedule::Static {
                return call(state, 0..n_tokens, self.range_of(tid, n_cols, cut.n_cols));
            }
            loop {
                let part = next.fetch_add(1, Ordering::Relaxed);
                if part >= n_parts {
                    break;
                }
                let (token, column) = (part / across * cut.n_tokens, part % across * cut.n_cols);
                let tokens = token..n_tokens.min(token + cut.n_tokens);
                call(state, tokens, column..n_cols.min(column + cut.n_cols));
            }
        });
    }
}
