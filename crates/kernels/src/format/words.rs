//! The codes of a file's block as words of 8, the first in the lowest byte.
//!
//! What a block means is defined in `dequant`, byte by byte; here it is said once more for 8 codes at a time, since every
//! weight of a model comes through here when it is loaded. A test compares the two.

/// The lowest bit, two bits, four bits of each byte.
const ONE: u64 = 0x0101_0101_0101_0101;
const TWO: u64 = 3 * ONE;
const FOUR: u64 = 15 * ONE;

/// Bytes as words.
#[inline]
fn words<const BYTES: usize, const N: usize>(bytes: &[u8; BYTES]) -> [u64; N] {
    const { assert!(BYTES == 8 * N, "eight bytes a word") };
    let words = bytes.as_chunks::<8>().0;
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

/// Q8_0: bytes as they are.
#[inline]
pub(super) fn bytes(qs: &[i8; 32]) -> [u64; 4] {
    words(&qs.map(i8::cast_unsigned))
}

/// Q4_0, Q4_1, IQ4_NL, MXFP4: low nibbles, then high ones.
#[inline]
pub(super) fn nibbles(qs: &[u8; 16]) -> [u64; 4] {
    let [a, b] = words(qs);
    [a & FOUR, b & FOUR, a >> 4 & FOUR, b >> 4 & FOUR]
}

/// Q5_0, Q5_1: the same with a fifth bit from `high`.
#[inline]
pub(super) fn nibbles_and_bits(qs: &[u8; 16], high: [u8; 4]) -> [u64; 4] {
    let nibbles = nibbles(qs);
    std::array::from_fn(|i| nibbles[i] | spread(high[i]) << 4)
}

/// The bits of a byte, each in a byte.
#[inline]
fn spread(bits: u8) -> u64 {
    // Byte i keeps bit i; a byte that is not zero carries into its highest bit, and no further.
    let alone = (u64::from(bits) * ONE) & 0x8040_2010_0804_0201;
    (alone + 0x7F * ONE) >> 7 & ONE
}

/// Q4_K: by 32 bytes, low nibbles, then high ones.
#[inline]
pub(super) fn k_nibbles(qs: &[u8; 128]) -> [u64; 32] {
    let qs: [u64; 16] = words(qs);
    std::array::from_fn(|i| qs[i / 8 * 4 + i % 4] >> (i / 4 % 2 * 4) & FOUR)
}

/// IQ4_XS: by 16 bytes, low nibbles, then high ones.
#[inline]
pub(super) fn iq_nibbles(qs: &[u8; 128]) -> [u64; 32] {
    let qs: [u64; 16] = words(qs);
    std::array::from_fn(|i| qs[i / 4 * 2 + i % 2] >> (i / 2 % 2 * 4) & FOUR)
}

/// Q5_K: as Q4_K with a fifth bit: of the j-th 32 codes in the j-th bits of `high`.
#[inline]
pub(super) fn k_nibbles_and_bits(qs: &[u8; 128], high: &[u8; 32]) -> [u64; 32] {
    let (nibbles, high): (_, [u64; 4]) = (k_nibbles(qs), words(high));
    std::array::from_fn(|i| nibbles[i] | (high[i % 4] >> (i / 4) & ONE) << 4)
}

/// Q2_K: by 32 bytes, the lowest two bits, then those above.
#[inline]
pub(super) fn k_two_bits(qs: &[u8; 64]) -> [u64; 32] {
    let qs: [u64; 8] = words(qs);
    std::array::from_fn(|i| qs[i / 16 * 4 + i % 4] >> (i / 4 % 4 * 2) & TWO)
}

/// Q3_K: the same with a third bit: of the j-th 32 codes in the j-th bits of `high`.
#[inline]
pub(super) fn k_two_bits_and_one(qs: &[u8; 64], high: &[u8; 32]) -> [u64; 32] {
    let (low, high): (_, [u64; 4]) = (k_two_bits(qs), words(high));
    std::array::from_fn(|i| low[i] | (high[i % 4] >> (i / 4) & ONE) << 2)
}

/// Q6_K: by 64 bytes, low nibbles, then high ones; two bits above them as in Q2_K.
#[inline]
pub(super) fn k_six_bits(low: &[u8; 128], high: &[u8; 64]) -> [u64; 32] {
    let (low, high): ([u64; 16], _) = (words(low), k_two_bits(high));
    std::array::from_fn(|i| low[i / 16 * 8 + i % 8] >> (i / 8 % 2 * 4) & FOUR | high[i] << 4)
}

#[cfg(test)]
mod tests {
    use crate::format::{self, Format};
    use crate::testing::Rng;
    use dequant::{
        BlockIQ4_NL, BlockIQ4_XS, BlockMXFP4, BlockQ2_K, BlockQ3_K, BlockQ4_0, BlockQ4_1,
        BlockQ4_K, BlockQ5_0, BlockQ5_1, BlockQ5_K, BlockQ6_K, BlockQ8_0,
    };

    /// Words of random blocks against the definition: codes as `dequant` has them, plus the bias, or places in the table.
    fn compare<F: Format, C: Into<i32> + Copy, const N: usize>(
        codes: impl Fn(&F::Block) -> [C; N],
    ) {
        let (mut rng, ty) = (Rng::new(31), <F::Block as dequant::Block>::TYPE);
        let bytes = rng.weights(ty, 100, N);
        for block in dequant::blocks::<F::Block>(&bytes).unwrap() {
            let words = F::words(block);
            let stored: Vec<u8> = words.as_ref().iter().flat_map(|w| w.to_le_bytes()).collect();
            let got: Vec<i32> = stored.iter().map(|c| format::code::<F>(*c).into()).collect();
            let want: Vec<i32> = codes(block).map(Into::into).to_vec();
            assert_eq!(got, want, "{}", ty.name());
            assert!(F::BITS == 8 || stored.iter().all(|c| *c < 1 << F::BITS), "{}", ty.name());
        }
    }

    #[test]
    fn words_are_the_codes_of_dequant() {
        compare::<format::Q4_0, _, 32>(BlockQ4_0::codes);
        compare::<format::Q4_1, _, 32>(BlockQ4_1::codes);
        compare::<format::Q5_0, _, 32>(BlockQ5_0::codes);
        compare::<format::Q5_1, _, 32>(BlockQ5_1::codes);
        compare::<format::Q8_0, _, 32>(|b: &BlockQ8_0| b.qs);
        compare::<format::Q2_K, _, 256>(BlockQ2_K::codes);
        compare::<format::Q3_K, _, 256>(BlockQ3_K::codes);
        compare::<format::Q4_K, _, 256>(BlockQ4_K::codes);
        compare::<format::Q5_K, _, 256>(BlockQ5_K::codes);
        compare::<format::Q6_K, _, 256>(BlockQ6_K::codes);
        compare::<format::IQ4_NL, _, 32>(BlockIQ4_NL::values);
        compare::<format::IQ4_XS, _, 256>(BlockIQ4_XS::values);
        compare::<format::MXFP4, _, 32>(BlockMXFP4::values);
    }

    #[test]
    fn bits_are_spread() {
        for bits in 0..=u8::MAX {
            let want = std::array::from_fn(|i| bits >> i & 1);
            assert_eq!(super::spread(bits).to_le_bytes(), want, "{bits:08b}");
        }
    }
}
