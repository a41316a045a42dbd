//! From the rows of a file to the layout of [`crate::format`].
//!
//! Loading packs every weight once: this is to run as fast as memory allows. All 16 rows of a group advance together,
//! block by block, so that what is written stays in the first-level cache until it is complete, and each row's bytes are
//! read in order; a row's codes are 32-bit words of four columns from the start, as they will lie in the lanes.

use crate::format::{self, CHUNK, Float, Format, Header, ROWS};

/// Packs up to 16 rows of `row_bytes` into a group. What belongs to other rows is left as it is.
pub(super) fn codes<F: Format>(rows: &[u8], row_bytes: usize, out: &mut [u8]) {
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
            let codes = F::codes(block);
            let codes = codes.as_ref().as_chunks::<CHUNK>().0;
            let chunks = chunks.chunks_exact_mut(format::chunk_bytes(F::BITS));
            for (codes, chunk) in codes.iter().zip(chunks) {
                format::pack_row(F::BITS, codes, row, chunk);
            }
        }
    }
}

/// Bytes of a row that are transposed at once: a cache line.
const SPAN: usize = 64;

/// Transposes up to 16 rows of `row_bytes` into a group. What belongs to other rows is left as it is.
pub(super) fn floats<W: Float>(rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    let unit = W::UNIT * W::BYTES;
    for (i, out) in out.chunks_mut(SPAN * ROWS).enumerate() {
        for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
            let span = &row[i * SPAN..row.len().min((i + 1) * SPAN)];
            for (x, to) in span.chunks(unit).zip(out.chunks_exact_mut(W::UNIT_BYTES)) {
                to[r * unit..][..x.len()].copy_from_slice(x);
            }
        }
    }
}
