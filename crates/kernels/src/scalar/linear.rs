//! Matrix kernels. The operations and their order are those of [`crate::linear`].

use crate::acts::{Codes, Floats};
use crate::format::{self, CHUNK, Float, FloatKind, Format, Header, ROWS};
use crate::linear::Sums;
use crate::math::flush;
use std::ops::Range;

/// 16 rows of a block, unpacked.
struct Block {
    header: Header,
    /// Codes by column and row.
    codes: [[i8; ROWS]; 256],
}

impl Block {
    fn unpack<F: Format>(&mut self, bytes: &[u8]) {
        let (header, chunks) = bytes.split_at(F::HEADER.n_bytes());
        self.header = Header::unpack(F::HEADER, header);
        let chunks = chunks.chunks_exact(format::chunk_bytes(F::BITS));
        for (chunk, columns) in chunks.zip(self.codes.as_chunks_mut::<CHUNK>().0) {
            let quads = format::unpack_chunk(F::BITS, chunk);
            for (k, column) in columns.iter_mut().enumerate() {
                *column = std::array::from_fn(|r| format::code::<F>(quads[k / 4][4 * r + k % 4]));
            }
        }
    }

    /// The scaled integer sums of a block.
    fn dot<F: Format>(&self, a: &[i8]) -> [i32; ROWS] {
        let mut total = [0; ROWS];
        let groups = a.chunks_exact(F::GROUP).zip(self.codes.chunks_exact(F::GROUP));
        for ((a, columns), scales) in groups.zip(&self.header.scales) {
            let mut sums = [0_i32; ROWS];
            for (&a, column) in a.iter().zip(columns) {
                for (sum, &w) in sums.iter_mut().zip(column) {
                    *sum += i32::from(w) * i32::from(a);
                }
            }
            for ((total, sum), &scale) in total.iter_mut().zip(sums).zip(scales) {
                *total += sum * i32::from(scale);
            }
        }
        total
    }

    /// The integer minimums times the sums of their columns.
    fn mins<F: Format>(&self, a: &[i8]) -> [i32; ROWS] {
        let mut total = [0; ROWS];
        for (a, mins) in a.chunks_exact(F::GROUP).zip(&self.header.mins) {
            let sum: i32 = a.iter().map(|&a| i32::from(a)).sum();
            for (total, &min) in total.iter_mut().zip(mins) {
                *total += sum * i32::from(min);
            }
        }
        total
    }

    /// The f32 step of one block.
    fn step<F: Format>(&self, a: &[i8], (d, s): (f32, f32), acc: &mut Sums) {
        let sums = self.dot::<F>(a);
        let mins = if F::HEADER.has_mins() { self.mins::<F>(a) } else { [0; ROWS] };
        for (r, acc) in acc.iter_mut().enumerate() {
            *acc = (sums[r] as f32 * self.header.d[r]).mul_add(d, *acc);
            if F::HEADER.has_m() {
                *acc = self.header.m[r].mul_add(s, *acc);
            }
            if F::HEADER.has_mins() {
                *acc = (-(mins[r] as f32 * self.header.m[r])).mul_add(d, *acc);
            }
        }
    }
}

/// Multiplies a group of rows with some tokens in blocks of codes.
pub(crate) fn quant<F: Format>(
    group: &[u8],
    acts: &Codes,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let mut block = Block { header: Header::ZERO, codes: [[0; ROWS]; 256] };
    let mut codes = [0; 256];
    for (b, bytes) in group.chunks_exact(F::BYTES).enumerate() {
        block.unpack::<F>(bytes);
        for (token, acc) in tokens.clone().zip(&mut *sums) {
            acts.block_codes(b, token, &mut codes);
            let at = acts.index(b, token);
            let scales = (acts.d[at], if F::HEADER.has_m() { acts.s[at] } else { 0.0 });
            block.step::<F>(&codes[..F::K], scales, acc);
        }
    }
}

/// The same for floating-point weights.
pub(crate) fn float<W: Float>(
    group: &[u8],
    acts: &Floats,
    tokens: Range<usize>,
    sums: &mut [Sums],
) {
    let mut columns = [[0.0; ROWS]; 2];
    for (u, unit) in group.chunks_exact(W::UNIT_BYTES).enumerate() {
        let columns = &mut columns[..W::UNIT];
        for (i, column) in columns.iter_mut().enumerate() {
            for (w, pair) in column.iter_mut().zip(unit.chunks_exact(W::UNIT * W::BYTES)) {
                // Of a pair, the second column is multiplied first.
                *w = W::value(&pair[(W::UNIT - 1 - i) * W::BYTES..]);
            }
        }
        for (i, column) in columns.iter().enumerate() {
            for first in tokens.clone().step_by(acts.tile) {
                let sums = &mut sums[first - tokens.start..][..acts.tile_len(first)];
                for (acc, &x) in sums.iter_mut().zip(acts.tile(u * W::UNIT + i, first)) {
                    for (acc, &w) in acc.iter_mut().zip(column) {
                        *acc = step::<W>(w, x, *acc);
                    }
                }
            }
        }
    }
}

/// One product added to a sum. BF16 knows no subnormal numbers.
fn step<W: Float>(w: f32, x: f32, acc: f32) -> f32 {
    if W::KIND == FloatKind::BF16 { flush(flush(w).mul_add(x, acc)) } else { w.mul_add(x, acc) }
}
