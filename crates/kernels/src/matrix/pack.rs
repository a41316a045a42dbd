//! From the rows of a file to the layout of [`crate::format`].
//!
//! Loading packs every weight once: this is to run as fast as memory allows. All 16 rows of a group advance together,
//! block by block, so that what is written stays in the first-level cache until it is complete, and each row's bytes are
//! read in order.

use crate::format::{self, CHUNK, Float, Format, Header, ROWS, with_format};
use dequant::GgmlType;

/// Packs up to 16 rows of `row_bytes` into a group. What belongs to other rows is left as it is, and so is the place
/// beside a last column without a neighbor.
pub(super) fn group(ty: GgmlType, rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    let _ = with_format!(ty, F => codes::<F>(rows, row_bytes, out), W => floats::<W>(rows, row_bytes, out));
}

fn codes<F: Format>(rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    let mut blocks: [&[F::Block]; ROWS] = [&[]; ROWS];
    for (blocks, row) in blocks.iter_mut().zip(rows.chunks_exact(row_bytes)) {
        // The row is as long as its type says: whole blocks.
        *blocks = dequant::blocks(row).unwrap_or_default();
    }
    for (b, out) in out.chunks_exact_mut(F::BYTES).enumerate() {
        let (header, chunks) = out.split_at_mut(F::HEADER.n_bytes());
        for (row, blocks) in blocks.iter().enumerate() {
            let Some(block) = blocks.get(b) else { break };
            Header::pack_row(F::HEADER, row, &F::scales(block), header);
            let words = F::words(block);
            let words = words.as_ref().as_chunks::<{ CHUNK / 8 }>().0;
            let chunks = chunks.chunks_exact_mut(format::chunk_bytes(F::BITS));
            for (words, chunk) in words.iter().zip(chunks) {
                format::pack_row(F::BITS, words, row, chunk);
            }
        }
    }
}

/// Bytes of a row that are transposed at once: a cache line.
const SPAN: usize = 64;

fn floats<W: Float>(rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    match W::UNIT * W::BYTES {
        2 => transpose::<2>(rows, row_bytes, out),
        _ => transpose::<4>(rows, row_bytes, out),
    }
}

/// The same for units of `UNIT` bytes; the last may have only its first half.
fn transpose<const UNIT: usize>(rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    for (i, out) in out.chunks_mut(SPAN * ROWS).enumerate() {
        for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
            let span = &row[i * SPAN..row.len().min((i + 1) * SPAN)];
            let (units, half) = span.as_chunks::<UNIT>();
            let lines = out.as_chunks_mut::<UNIT>().0.as_chunks_mut::<ROWS>().0;
            for (unit, line) in units.iter().zip(&mut *lines) {
                line[r] = *unit;
            }
            if let Some(line) = lines.get_mut(units.len()) {
                line[r][..half.len()].copy_from_slice(half);
            }
        }
    }
}
