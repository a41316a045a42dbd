//! Seeded inputs, bit for bit those of golden/capture/blocks.py and golden/capture/quantize.py.

/// The first `n` outputs of splitmix64 (Steele, Lea, Flood 2014) with this seed.
pub(crate) fn splitmix64(seed: u64, n: usize) -> impl Iterator<Item = u64> {
    (1..=n as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// `n` bytes: the outputs, little-endian, one after the other.
pub(crate) fn random_bytes(seed: u64, n: usize) -> Vec<u8> {
    splitmix64(seed, n.div_ceil(8)).flat_map(u64::to_le_bytes).take(n).collect()
}

/// `n` f32 in [0, 1): the upper 24 bits of an output, divided by 2²⁴.
pub(crate) fn uniform(seed: u64, n: usize) -> Vec<f32> {
    splitmix64(seed, n).map(|z| (z >> 40) as f32 / 16_777_216.0).collect()
}

/// `n` f32 near a normal distribution, mean 0, within ±2: the sum of an output's four 16-bit fields, centered.
pub(crate) fn bell(seed: u64, n: usize) -> Vec<f32> {
    let sum = |z: u64| (0..4).map(|i| (z >> (16 * i) & 0xFFFF) as i32).sum::<i32>();
    splitmix64(seed, n).map(|z| (sum(z) - 131_070) as f32 / 65_536.0).collect()
}

/// Rows of every kind that a quantizer may meet; every length is a multiple of 256.
pub(crate) fn cases() -> Vec<(String, Vec<f32>)> {
    const N: usize = 1 << 16;
    let map = |x: Vec<f32>, f: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
        x.into_iter().enumerate().map(|(i, x)| f(i, x)).collect()
    };
    let bits: Vec<u32> = splitmix64(9, N).map(|z| (z >> 32) as u32).collect();
    let products = bell(5, N).into_iter().zip(bell(6, N)).zip(bell(7, N));
    let mut cases = vec![
        ("bell", map(bell(1, 4 * N), &|_, x| x * 0.02)),
        ("uniform", map(uniform(2, 4 * N), &|_, x| x * 2.0 - 1.0)),
        ("positive", map(uniform(3, N), &|_, x| x + 0.5)),
        ("negative", map(uniform(4, N), &|_, x| -x - 0.25)),
        ("heavy tails", products.map(|((a, b), c)| a * b * c).collect()),
        ("outliers", map(bell(8, N), &|i, x| x * if i % 97 == 0 { 300.0 } else { 0.01 })),
        ("sparse", map(bell(10, N), &|i, x| if i % 61 == 7 { x } else { 0.0 })),
        ("halves", splitmix64(11, N).map(|z| (z % 511) as f32 * 0.5 - 127.5).collect()),
        ("two values", splitmix64(12, N).map(|z| if z & 1 == 0 { -0.75 } else { 0.75 }).collect()),
    ];
    let scales = [
        ("bell times 1e5", 1e5),
        ("bell times 1e30", 1e30),
        ("bell times 1e38", 1e38),
        ("bell times 1e-3", 1e-3),
        ("bell times 1e-7", 1e-7),
        ("bell times 1e-15", 1e-15),
        ("bell times 1e-30", 1e-30),
        ("bell times 1e-38", 1e-38),
    ];
    cases.extend(scales.map(|(name, scale)| (name, map(bell(13, N), &|_, x| x * scale))));
    let finite = |&b: &u32| if b & 0x7F80_0000 == 0x7F80_0000 { b ^ 0x4000_0000 } else { b };
    cases.extend([
        ("subnormal", bits.iter().map(|b| f32::from_bits(b & 0x807F_FFFF)).collect()),
        ("any finite", bits.iter().map(finite).map(f32::from_bits).collect()),
        ("zeros", vec![0.0; 256]),
        ("negative zeros", vec![-0.0; 256]),
        ("constant 1.0", vec![1.0; 256]),
        ("constant -0.3", vec![-0.3; 256]),
        ("constant 127.0", vec![127.0; 256]),
        ("constant 1e-08", vec![1e-8; 256]),
        ("constant 1e-40", vec![1e-40; 256]),
        ("constant 65504.0", vec![65504.0; 256]),
        ("constant 3e+38", vec![3e38; 256]),
        ("ramp", (0..256_u16).map(|i| f32::from(i) * 0.125 - 16.0).collect()),
    ]);
    cases.into_iter().map(|(name, x)| (name.to_owned(), x)).collect()
}

/// Lowercase hex.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}
