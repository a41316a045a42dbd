//! Codes in bit planes. See the parent module for the layout.

use super::{CHUNK, Quad};

/// Bytes of a chunk of codes of `bits` bits.
pub(crate) const fn chunk_bytes(bits: usize) -> usize {
    64 * bits
}

/// Codes of `n` bits at `shift` of the unpacked code, `8 / n` quads a line.
struct Plane {
    n: usize,
    shift: usize,
}

/// The planes of codes of `bits` bits.
const fn planes(bits: usize) -> &'static [Plane] {
    match bits {
        2 => &[Plane { n: 2, shift: 0 }],
        3 => &[Plane { n: 2, shift: 0 }, Plane { n: 1, shift: 2 }],
        4 => &[Plane { n: 4, shift: 0 }],
        5 => &[Plane { n: 4, shift: 0 }, Plane { n: 1, shift: 4 }],
        6 => &[Plane { n: 4, shift: 0 }, Plane { n: 2, shift: 4 }],
        8 => &[Plane { n: 8, shift: 0 }],
        _ => &[],
    }
}

/// The mask of `n` low bits.
fn mask(n: usize) -> u8 {
    u8::MAX >> (8 - n)
}

/// Packs a row's 32 codes of `bits` bits, words of 8, into its lanes of a chunk, [`chunk_bytes`] long.
#[inline(always)]
pub(crate) fn pack_row(bits: usize, words: &[u64; CHUNK / 8], row: usize, chunk: &mut [u8]) {
    let mut lines = chunk.as_chunks_mut::<64>().0.iter_mut();
    for plane in planes(bits) {
        // The lowest `n` bits of each of a quad's four bytes.
        let mask = u32::from_ne_bytes([mask(plane.n); 4]);
        for first in (0..8).step_by(8 / plane.n) {
            let Some(line) = lines.next() else { return };
            let mut packed = 0;
            for j in 0..8 / plane.n {
                let quad = low_half(words[(first + j) / 2] >> ((first + j) % 2 * 32));
                // Masked, a byte's code stays in its byte when it is shifted to its place.
                packed |= (quad >> plane.shift & mask) << (j * plane.n);
            }
            if let Some(lane) = line.as_chunks_mut::<4>().0.get_mut(row) {
                *lane = packed.to_le_bytes();
            }
        }
    }
}

/// The first four columns of a word.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the truncation is the purpose")]
fn low_half(word: u64) -> u32 {
    word as u32
}

/// The quads of a packed chunk.
#[inline]
pub(crate) fn unpack_chunk(bits: usize, chunk: &[u8]) -> [Quad; 8] {
    let mut quads = [[0; 64]; 8];
    let mut lines = chunk.as_chunks::<64>().0.iter();
    for plane in planes(bits) {
        for group in quads.chunks_mut(8 / plane.n) {
            let Some(line) = lines.next() else { return quads };
            for (j, quad) in group.iter_mut().enumerate() {
                for (code, &packed) in quad.iter_mut().zip(line) {
                    *code |= (packed >> (j * plane.n) & mask(plane.n)) << plane.shift;
                }
            }
        }
    }
    quads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack_chunk(bits: usize, quads: &[Quad; 8], packed: &mut [u8]) {
        for row in 0..16 {
            let words = std::array::from_fn(|i| {
                let code = |k: usize| quads[2 * i + k / 4][row * 4 + k % 4];
                u64::from_le_bytes(std::array::from_fn(code))
            });
            pack_row(bits, &words, row, packed);
        }
    }

    #[test]
    fn packing_round_trips_for_every_width() {
        for bits in [2, 3, 4, 5, 6, 8] {
            let quads: [Quad; 8] = std::array::from_fn(|q| {
                std::array::from_fn(|i| ((q * 64 + i) * 37 % 251 % (1 << bits)).to_le_bytes()[0])
            });
            let mut packed = vec![0xAA; chunk_bytes(bits)];
            pack_chunk(bits, &quads, &mut packed);
            assert_eq!(unpack_chunk(bits, &packed), quads, "{bits} bits");
        }
    }

    #[test]
    fn the_planes_are_where_the_documentation_says() {
        let mut quads = [[0; 64]; 8];
        quads[3][17] = 0b10_1001; // row 4, column 13
        let mut packed = vec![0; chunk_bytes(6)];
        pack_chunk(6, &quads, &mut packed);
        let set: Vec<(usize, u8)> =
            packed.into_iter().enumerate().filter(|(_, b)| *b != 0).collect();
        assert_eq!(
            set,
            [(64 + 17, 0b1001 << 4), (256 + 17, 0b10 << 6)],
            "nibble line 1, two-bit line 0"
        );
    }
}
