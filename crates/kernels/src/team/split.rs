//! Cutting buffers into disjoint parts for the threads of a team.

use super::Team;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who computes which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// Contiguous parts of about equal cost: the same thread reads the same weights at every step.
    Static,
    /// Unit by unit, first come, first served: evens out threads that are slowed down.
    Dynamic,
}

/// A buffer `[n_rows, n_cols]` that is to be cut into ranges of columns at multiples of `unit`.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    /// The values, `n_rows * n_cols` of them.
    pub(crate) data: &'a mut [f32],
    /// Columns.
    pub(crate) n_cols: usize,
    /// Cuts are at multiples of this.
    pub(crate) unit: usize,
    /// Cost of a unit relative to those of the other buffers.
    pub(crate) unit_cost: usize,
}

/// A buffer `[n_rows, n_cols]` cut into tiles.
#[derive(Debug)]
pub(crate) struct Grid<'a> {
    /// The values, `n_rows * n_cols` of them.
    pub(crate) data: &'a mut [f32],
    /// Columns.
    pub(crate) n_cols: usize,
    /// The rows of each row of tiles: ranges that follow each other from 0 to the last row.
    pub(crate) rows: &'a [Range<usize>],
    /// Columns of a tile; the last ones may have fewer.
    pub(crate) tile_cols: usize,
}

/// A rectangle of a row-major buffer, exclusively borrowed.
#[derive(Debug)]
pub(crate) struct BlockMut<'a> {
    /// The first element of the first row.
    start: *mut f32,
    stride: usize,
    n_rows: usize,
    n_cols: usize,
    _borrow: PhantomData<&'a mut [f32]>,
}

impl<'a> BlockMut<'a> {
    /// All of a buffer `[n_rows, n_cols]`.
    pub(crate) fn of(data: &'a mut [f32], n_cols: usize) -> Self {
        let n_rows = whole_rows(data.len(), n_cols);
        let start = data.as_mut_ptr();
        Self { start, stride: n_cols, n_rows, n_cols, _borrow: PhantomData }
    }

    /// Rows.
    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Some of its columns.
    pub(crate) fn columns(&mut self, columns: Range<usize>) -> BlockMut<'_> {
        assert!(columns.start <= columns.end && columns.end <= self.n_cols, "columns {columns:?}");
        BlockMut {
            start: self.start.wrapping_add(columns.start),
            n_cols: columns.len(),
            _borrow: PhantomData,
            ..*self
        }
    }

    /// Row `i` of the rectangle.
    #[expect(unsafe_code, reason = "see the SAFETY note")]
    pub(crate) fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.n_rows, "row {i} of {}", self.n_rows);
        // SAFETY: `start` is valid for this rectangle (the promise at each construction), row `i` is inside,
        // and the result borrows `self`, which is the only access to the rectangle.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.stride), self.n_cols) }
    }
}

/// Groups of 16 columns of some rows, exclusively borrowed: where a kernel leaves its sums.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    start: *mut f32,
    /// From one row to the next.
    pub(crate) stride: usize,
    group_stride: usize,
    n_rows: usize,
    /// Groups of 16.
    pub(crate) n_groups: usize,
    /// Whether sums are added to what is there, by kernels that can ([`crate::Isa::adds_rows`]).
    pub(crate) add: bool,
    _borrow: PhantomData<&'a mut [f32]>,
}

impl<'a> Target<'a> {
    /// Sums that lie group by group, row by row.
    pub(crate) fn of(sums: &'a mut [[f32; 16]], n_rows: usize) -> Self {
        let n_groups = sums.len().checked_div(n_rows).unwrap_or(0);
        assert_eq!(sums.len(), n_rows * n_groups, "sums for every row");
        let start = sums.as_mut_ptr().cast();
        let group_stride = 16 * n_rows;
        let add = false;
        Self { start, stride: 16, group_stride, n_rows, n_groups, add, _borrow: PhantomData }
    }

    /// The sums of [`Self::of`], for kernels that know no other place.
    #[expect(unsafe_code, reason = "see the SAFETY note")]
    pub(crate) fn into_sums(self) -> &'a mut [[f32; 16]] {
        let (stride, n) = (self.stride, self.n_rows * self.n_groups);
        assert!(stride == 16 && self.group_stride == 16 * self.n_rows, "sums without gaps");
        // SAFETY: the rows and groups lie one behind the other, and are borrowed for 'a.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), n) }
    }

    /// The first of 16 places of row `row`, which are followed by those of `n` rows in all, `stride` apart.
    pub(crate) fn at(&mut self, row: usize, n: usize, group: usize) -> *mut f32 {
        assert!(row + n <= self.n_rows && group < self.n_groups, "row {row}, group {group}");
        self.start.wrapping_add(row * self.stride + group * self.group_stride)
    }
}

impl BlockMut<'_> {
    /// Whole groups of columns of some rows.
    pub(crate) fn target(&mut self, rows: Range<usize>, columns: Range<usize>) -> Target<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.n_rows, "rows {rows:?}");
        assert!(columns.start <= columns.end && columns.end <= self.n_cols, "columns {columns:?}");
        assert!(columns.len().is_multiple_of(16), "whole groups of columns");
        Target {
            start: self.start.wrapping_add(rows.start * self.stride + columns.start),
            stride: self.stride,
            group_stride: 16,
            n_rows: rows.len(),
            n_groups: columns.len() / 16,
            add: false,
            _borrow: PhantomData,
        }
    }
}

/// A pointer into a borrowed buffer that a job's closure may carry to the workers.
#[derive(Clone, Copy)]
pub(super) struct Shared<T>(pub(super) *mut T);
// SAFETY: only used to hand out parts of a `&mut [T]` to threads, each part to one of them.
#[expect(unsafe_code, reason = "see the SAFETY note")]
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "see the SAFETY note")]
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer, through `self` so that closures capture the whole wrapper.
    pub(super) fn get(&self) -> *mut T {
        self.0
    }
}

/// What the workers need of a [`Columns`].
struct Part {
    data: Shared<f32>,
    n_rows: usize,
    n_cols: usize,
    unit: usize,
    unit_cost: usize,
}

impl Part {
    fn n_units(&self) -> usize {
        self.n_cols.div_ceil(self.unit)
    }

    fn cost(&self) -> usize {
        self.n_units() * self.unit_cost
    }

    /// The columns of `units`, as a rectangle over all rows.
    ///
    /// # Safety
    /// Inside the buffer's borrow; no two rectangles of overlapping units at the same time.
    #[expect(unsafe_code, reason = "the one place that cuts columns")]
    unsafe fn block(&self, units: &Range<usize>) -> (Range<usize>, BlockMut<'_>) {
        let range = units.start * self.unit..(units.end * self.unit).min(self.n_cols);
        assert!(range.start < range.end, "empty range of columns");
        // SAFETY: range.start < n_cols, so the pointer stays inside the buffer's first row.
        let start = unsafe { self.data.get().add(range.start) };
        let n_cols = range.len();
        let block = BlockMut {
            start,
            stride: self.n_cols,
            n_rows: self.n_rows,
            n_cols,
            _borrow: PhantomData,
        };
        (range, block)
    }
}

impl Team {
    /// Calls `f(i, chunk)` for every chunk `i` of `chunk_len` elements of `data` (the last may be shorter);
    /// each thread gets contiguous chunks.
    pub fn for_chunks_mut<T, F>(&self, data: &mut [T], chunk_len: usize, f: &F)
    where
        T: Send,
        F: Fn(usize, &mut [T]) + Sync,
    {
        let len = data.len();
        let chunk_len = chunk_len.max(1);
        let base = Shared(data.as_mut_ptr());
        self.for_ranges(len, chunk_len, &|range: Range<usize>| {
            // SAFETY: the ranges of `for_ranges` are disjoint and inside 0..len, and `data` is mutably borrowed
            // until all of them are done.
            #[expect(unsafe_code, reason = "see the SAFETY note")]
            let part =
                unsafe { std::slice::from_raw_parts_mut(base.get().add(range.start), range.len()) };
            for (i, chunk) in part.chunks_mut(chunk_len).enumerate() {
                f(range.start / chunk_len + i, chunk);
            }
        });
    }

    /// Cuts the columns of several buffers into disjoint ranges and calls `f(buffer, columns, rectangle)` for each.
    ///
    /// # Panics
    /// If a buffer is no whole number of rows.
    pub(crate) fn for_columns<F, const N: usize>(
        &self,
        buffers: [Columns<'_>; N],
        schedule: Schedule,
        f: &F,
    ) where
        F: Fn(usize, Range<usize>, &mut BlockMut<'_>) + Sync,
    {
        let parts = buffers.map(part);
        let n_units: usize = parts.iter().map(Part::n_units).sum();
        let call = |i: usize, units: Range<usize>| {
            if !units.is_empty() {
                // SAFETY: the buffers are mutably borrowed until this function returns, and both schedules hand out each
                // unit of each buffer exactly once.
                #[expect(unsafe_code, reason = "see the SAFETY note")]
                let (range, mut block) = unsafe { parts[i].block(&units) };
                f(i, range, &mut block);
            }
        };
        if n_units <= 1 || self.n_threads() == 1 {
            parts.iter().enumerate().for_each(|(i, part)| call(i, 0..part.n_units()));
            return;
        }
        match schedule {
            Schedule::Static => self.run(&|tid| {
                for (i, units) in static_share(&parts, tid, self.n_threads()) {
                    call(i, units);
                }
            }),
            Schedule::Dynamic => {
                let next = AtomicUsize::new(0);
                self.run(&|_| {
                    while let Some((i, unit)) =
                        nth_unit(&parts, next.fetch_add(1, Ordering::Relaxed))
                    {
                        call(i, unit..unit + 1);
                    }
                });
            }
        }
    }

    /// Cuts a buffer into tiles and calls `f(tile_row, tile_col, rectangle)` for each, the last row of tiles first.
    ///
    /// # Panics
    /// If the buffer is no whole number of rows or the tiles do not cover it exactly.
    pub(crate) fn for_grid<F>(&self, grid: &mut Grid<'_>, f: &F)
    where
        F: Fn(usize, usize, &mut BlockMut<'_>) + Sync,
    {
        let (n_cols, rows, tile_cols) = (grid.n_cols, grid.rows, grid.tile_cols.max(1));
        let n_rows = whole_rows(grid.data.len(), n_cols);
        let end = rows.iter().fold(0, |end, rows| {
            assert!(rows.start == end && rows.end > end, "tiles {rows:?} after row {end}");
            rows.end
        });
        assert_eq!(end, n_rows, "tiles up to the last row");
        let (down, across) = (rows.len(), n_cols.div_ceil(tile_cols));
        let base = Shared(grid.data.as_mut_ptr());
        let call = |tile: usize| {
            let (i, j) = (down - 1 - tile / across, tile % across);
            // SAFETY: tile (i, j) starts inside the buffer; tiles are disjoint (checked above) and each is handed out
            // once while the buffer is mutably borrowed.
            #[expect(unsafe_code, reason = "see the SAFETY note")]
            let start = unsafe { base.get().add(rows[i].start * n_cols + j * tile_cols) };
            let mut block = BlockMut {
                start,
                stride: n_cols,
                n_rows: rows[i].len(),
                n_cols: tile_cols.min(n_cols - j * tile_cols),
                _borrow: PhantomData,
            };
            f(i, j, &mut block);
        };
        let n_tiles = down * across;
        if n_tiles <= 1 || self.n_threads() == 1 {
            (0..n_tiles).for_each(call);
            return;
        }
        let next = AtomicUsize::new(0);
        self.run(&|_| {
            loop {
                let tile = next.fetch_add(1, Ordering::Relaxed);
                if tile >= n_tiles {
                    break;
                }
                call(tile);
            }
        });
    }
}

fn part(columns: Columns<'_>) -> Part {
    Part {
        n_rows: whole_rows(columns.data.len(), columns.n_cols),
        data: Shared(columns.data.as_mut_ptr()),
        n_cols: columns.n_cols,
        unit: columns.unit.max(1),
        unit_cost: columns.unit_cost.max(1),
    }
}

fn whole_rows(len: usize, n_cols: usize) -> usize {
    let n_rows = len.checked_div(n_cols).unwrap_or(0);
    assert_eq!(n_rows * n_cols, len, "{len} values are no whole rows of {n_cols}");
    n_rows
}

/// The units of each buffer that belong to thread `tid`: equal shares of the total cost, cut at units.
fn static_share(
    parts: &[Part],
    tid: usize,
    n_threads: usize,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let total: usize = parts.iter().map(Part::cost).sum();
    let share = move |t: usize| total / n_threads * t + total % n_threads * t / n_threads;
    let (from, to) = (share(tid), share(tid + 1));
    let mut before = 0;
    parts.iter().enumerate().map(move |(i, part)| {
        // A unit belongs to the share in which it begins.
        let unit_at =
            |cost: usize| cost.saturating_sub(before).div_ceil(part.unit_cost).min(part.n_units());
        let units = unit_at(from)..unit_at(to);
        before += part.cost();
        (i, units)
    })
}

/// Unit `n` of all buffers' units laid end to end, as (buffer, unit).
fn nth_unit(parts: &[Part], mut n: usize) -> Option<(usize, usize)> {
    for (i, part) in parts.iter().enumerate() {
        if n < part.n_units() {
            return Some((i, n));
        }
        n -= part.n_units();
    }
    None
}
