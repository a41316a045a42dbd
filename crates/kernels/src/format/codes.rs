//! Codes in bit planes. See the parent module for the layout.

use super::Quad;

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

/// Packs a chunk of 8 quads of `bits`-bit codes into `out`, [`chunk_bytes`] long.
pub(crate) fn pack_chunk(bits: usize, quads: &[Quad; 8], out: &mut [u8]) {
    let mut lines = out.as_chunks_mut::<64>().0.iter_mut();
    for plane in planes(bits) {
        for group in quads.chunks(8 / plane.n) {
            let Some(line) = lines.next() else { return };
            *line = [0; 64];
            for (j, quad) in group.iter().enumerate() {
                for (packed, &code) in line.iter_mut().zip(quad) {
                    *packed |= (code >> plane.shift & mask(plane.n)) << (j * plane.n);
                }
            }
        }
    }
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
