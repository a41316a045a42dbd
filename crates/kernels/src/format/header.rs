//! The scales in front of a block. See the parent module for the layouts.

use super::{ROWS, Scales};
use dequant::{e8m0_to_f32_half, f16_to_f32};

/// A sort of header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderKind {
    /// Scale.
    Plain,
    /// Scale that is a power of two.
    Exponent,
    /// Scale and minimum.
    PlainMin,
    /// Scale of 16 signed 8-bit scales.
    Signed8,
    /// Scale of 8 signed 8-bit scales.
    Signed8x8,
    /// Scales of 16 scales and minimums of 4 bits.
    Nibbles,
    /// Scales of 8 scales and minimums of 6 bits.
    SixBits,
}

impl HeaderKind {
    /// Bytes for 16 rows.
    pub(crate) const fn n_bytes(self) -> usize {
        match self {
            Self::Plain => 32,
            Self::Exponent => 16,
            Self::PlainMin => 64,
            Self::Signed8 => 32 + 256,
            Self::Signed8x8 => 32 + 128,
            Self::Nibbles => 64 + 256,
            Self::SixBits => 64 + 128 + 64,
        }
    }

    /// Whether there are integer scales (else the scale is 1).
    pub(crate) const fn has_scales(self) -> bool {
        matches!(self, Self::Signed8 | Self::Signed8x8 | Self::Nibbles | Self::SixBits)
    }

    /// What [`Scales::d`] stands for.
    #[inline]
    pub(crate) fn scale(self, d: [u8; 2]) -> f32 {
        if self == Self::Exponent { e8m0_to_f32_half(d[0]) } else { f16_to_f32(d) }
    }

    /// Whether there are floating-point minimums.
    pub(crate) const fn has_m(self) -> bool {
        matches!(self, Self::PlainMin)
    }

    /// Whether there are integer minimums.
    pub(crate) const fn has_mins(self) -> bool {
        matches!(self, Self::Nibbles | Self::SixBits)
    }
}

/// A header unpacked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Header {
    /// Scales.
    pub(crate) d: [f32; ROWS],
    /// Minimums or their scales; 0 if there are none.
    pub(crate) m: [f32; ROWS],
    /// Integer scales by sub-block and row; 1 if there are none.
    pub(crate) scales: [[i8; ROWS]; 16],
    /// Integer minimums by sub-block and row; 0 if there are none.
    pub(crate) mins: [[u8; ROWS]; 16],
}

impl Header {
    /// Zero everywhere.
    pub(crate) const ZERO: Self =
        Self { d: [0.0; ROWS], m: [0.0; ROWS], scales: [[0; ROWS]; 16], mins: [[0; ROWS]; 16] };

    /// Packs a row's scales into its places in `out`.
    #[inline]
    pub(crate) fn pack_row(kind: HeaderKind, row: usize, of: &Scales, out: &mut [u8]) {
        if kind == HeaderKind::Exponent {
            out[row] = of.d[0];
            return;
        }
        let (d, rest) = out.split_at_mut(2 * ROWS);
        put(d, row, of.d);
        match kind {
            HeaderKind::Plain | HeaderKind::Exponent => {}
            HeaderKind::PlainMin => put(rest, row, of.m),
            HeaderKind::Signed8 => {
                put_column(rest, row, of.scales.map(i8::cast_unsigned));
            }
            HeaderKind::Signed8x8 => {
                put_column::<8>(rest, row, std::array::from_fn(|j| of.scales[j].cast_unsigned()));
            }
            HeaderKind::Nibbles => {
                let (m, rest) = rest.split_at_mut(2 * ROWS);
                put(m, row, of.m);
                let bytes = std::array::from_fn(|j| of.scales[j].cast_unsigned() | of.mins[j] << 4);
                put_column::<16>(rest, row, bytes);
            }
            HeaderKind::SixBits => {
                let (m, rest) = rest.split_at_mut(2 * ROWS);
                put(m, row, of.m);
                let (low, high) = rest.split_at_mut(8 * ROWS);
                let scale = |j: usize| of.scales[j].cast_unsigned();
                let bytes = std::array::from_fn(|j| scale(j) & 15 | of.mins[j] << 4);
                put_column::<8>(low, row, bytes);
                let two = |j: usize| scale(j) >> 4 | of.mins[j] >> 4 << 2;
                let bytes = std::array::from_fn(|j| two(2 * j) | two(2 * j + 1) << 4);
                put_column::<4>(high, row, bytes);
            }
        }
    }

    /// Unpacks a header.
    pub(crate) fn unpack(kind: HeaderKind, bytes: &[u8]) -> Self {
        let mut header = Self { scales: [[1; ROWS]; 16], ..Self::ZERO };
        if kind == HeaderKind::Exponent {
            header.d = std::array::from_fn(|row| kind.scale([bytes[row], 0]));
            return header;
        }
        let (d, rest) = bytes.split_at(2 * ROWS);
        header.d = halves(d);
        match kind {
            HeaderKind::Plain | HeaderKind::Exponent => {}
            HeaderKind::PlainMin => header.m = halves(rest),
            HeaderKind::Signed8 | HeaderKind::Signed8x8 => {
                for (to, line) in header.scales.iter_mut().zip(rest.as_chunks::<ROWS>().0) {
                    *to = line.map(u8::cast_signed);
                }
            }
            HeaderKind::Nibbles => {
                header.m = halves(rest);
                for (j, line) in rest[2 * ROWS..].as_chunks::<ROWS>().0.iter().enumerate() {
                    header.scales[j] = line.map(|b| (b & 15).cast_signed());
                    header.mins[j] = line.map(|b| b >> 4);
                }
            }
            HeaderKind::SixBits => {
                header.m = halves(rest);
                header.unpack_six_bits(&rest[2 * ROWS..]);
            }
        }
        header
    }

    fn unpack_six_bits(&mut self, bytes: &[u8]) {
        let lines = bytes.as_chunks::<ROWS>().0;
        for j in 0..8 {
            let high = lines[8 + j / 2].map(|b| b >> (4 * (j % 2)));
            self.scales[j] =
                std::array::from_fn(|r| (lines[j][r] & 15 | (high[r] & 3) << 4).cast_signed());
            self.mins[j] = std::array::from_fn(|r| lines[j][r] >> 4 | (high[r] >> 2 & 3) << 4);
        }
    }
}

/// Makes `number` the one of `row`.
#[inline]
fn put(out: &mut [u8], row: usize, number: [u8; 2]) {
    out.as_chunks_mut().0[row] = number;
}

/// One byte for `row` into each line.
#[inline]
fn put_column<const N: usize>(lines: &mut [u8], row: usize, bytes: [u8; N]) {
    for (line, byte) in lines.as_chunks_mut::<ROWS>().0.iter_mut().zip(bytes) {
        line[row] = byte;
    }
}

/// 16 F16 numbers.
fn halves(bytes: &[u8]) -> [f32; ROWS] {
    let numbers = bytes.as_chunks::<2>().0;
    std::array::from_fn(|r| f16_to_f32(numbers[r]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dequant::f32_to_f16;

    #[test]
    fn packing_round_trips_for_every_kind() {
        use HeaderKind::{Nibbles, Plain, PlainMin, Signed8, Signed8x8, SixBits};
        for (kind, n, low, high) in [
            (Plain, 0, 0, 1),
            (PlainMin, 0, 0, 1),
            (Signed8, 16, -128, 127),
            (Signed8x8, 8, -32, 31),
            (Nibbles, 16, 0, 15),
            (SixBits, 8, 0, 63),
        ] {
            let rows: [Scales; ROWS] = std::array::from_fn(|r| {
                let number = |j: usize| i16::try_from((r * 29 + j * 53) % 256).unwrap();
                Scales {
                    d: f32_to_f16(r as f32 + 0.5),
                    m: f32_to_f16(-(r as f32)),
                    scales: std::array::from_fn(|j| {
                        i8::try_from(low + number(j) % (high - low + 1)).unwrap()
                    }),
                    mins: std::array::from_fn(|j| {
                        u8::try_from(number(j + 7) % (high + 1)).unwrap()
                    }),
                }
            });
            let mut bytes = vec![0xAA; kind.n_bytes()];
            for (r, row) in rows.iter().enumerate() {
                Header::pack_row(kind, r, row, &mut bytes);
            }
            let header = Header::unpack(kind, &bytes);
            for (r, row) in rows.iter().enumerate() {
                assert_eq!(header.d[r], r as f32 + 0.5, "{kind:?}");
                let has_m = kind == PlainMin || kind.has_mins();
                assert_eq!(header.m[r], if has_m { -(r as f32) } else { 0.0 }, "{kind:?}");
                for j in 0..n {
                    assert_eq!(header.scales[j][r], row.scales[j], "{kind:?} scale {j}");
                    assert_eq!(
                        header.mins[j][r],
                        if kind.has_mins() { row.mins[j] } else { 0 },
                        "{kind:?} min {j}"
                    );
                }
            }
        }
    }

    #[test]
    fn exponents_are_powers_of_two() {
        let mut bytes = [0xAA; 16];
        for first in (0..=u8::MAX).step_by(16) {
            let e = |row: usize| first + u8::try_from(row).unwrap();
            for row in 0..ROWS {
                let scales = Scales { d: [e(row), 0], ..Scales::ZERO };
                Header::pack_row(HeaderKind::Exponent, row, &scales, &mut bytes);
            }
            let header = Header::unpack(HeaderKind::Exponent, &bytes);
            for (row, d) in header.d.into_iter().enumerate() {
                assert_eq!(f64::from(d), f64::powi(2.0, i32::from(e(row)) - 128));
            }
        }
    }
}
