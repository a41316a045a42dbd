//! T0 changed at random: the same changes everywhere, so that llama.cpp's answer to each can be kept as a golden.
#![expect(
    clippy::cast_possible_truncation,
    reason = "random bits are cut to the size that is wanted"
)]

/// A generator of numbers that are the same everywhere (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed other than 0.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// 48 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number from 0 to `n - 1`; 0 if there is none.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// One of `from`.
    /// # Panics
    /// There is none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Files that are T0 but for one to three changes.
pub fn mutants(seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut random = Random::new(seed);
    (0_u64..).map(move |round| {
        let mut file = super::t0();
        // The header is where the traps are: mostly the zeros behind it are left alone.
        let data = file.split_off(if round.is_multiple_of(8) { file.len() } else { HEADER_BYTES });
        for _ in 0..=random.below(3) {
            mutate(&mut file, &mut random);
        }
        file.extend(data);
        file
    })
}

/// Where the padding before T0's data begins.
const HEADER_BYTES: usize = 174;

/// Numbers that size computations stumble over.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    3,
    8,
    9,
    12,
    13,
    31,
    32,
    255,
    448,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];

/// Changes one place.
fn mutate(file: &mut Vec<u8>, random: &mut Random) {
    if file.is_empty() {
        return;
    }
    let at = random.below(file.len());
    let number = match random.below(3) {
        0 => random.pick(&EDGES),
        1 => random.pick(&EDGES).wrapping_sub(at as u64),
        _ => random.bits() << random.below(17),
    };
    let width = random.pick(&[1, 1, 4, 8]).min(file.len() - at);
    let bytes = &number.to_le_bytes()[..width];
    match random.below(8) {
        0 => file.truncate(at + 1),
        1 => file[at] ^= 1 << random.below(8),
        2 => drop(file.drain(at..at + width)),
        3 => drop(file.splice(at..at, bytes.iter().copied())),
        _ => file[at..at + width].copy_from_slice(bytes),
    }
}
