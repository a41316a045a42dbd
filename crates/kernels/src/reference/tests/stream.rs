//! Seeded inputs: the twin of `Stream` in golden/capture/ops.py.

use dequant::GgmlType;

/// splitmix64, seeded with the 64-bit FNV-1a hash of a name.
pub(super) struct Stream(u64);

impl Stream {
    pub(super) fn new(name: &str) -> Self {
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |seed, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        }))
    }

    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 24-bit fractions of [-1, 1) times 2^-8 to 2^7.
    pub(super) fn floats(&mut self, n: usize) -> Vec<f32> {
        let float = |_| {
            let unit = (self.word() >> 40) as f32 / 8_388_608.0 - 1.0;
            let power = u32::try_from(self.word() % 16).unwrap() + 127 - 8;
            unit * f32::from_bits(power << 23)
        };
        (0..n).map(float).collect()
    }

    /// Blocks of random bytes with finite scales that are not tiny.
    pub(super) fn blocks(&mut self, ty: GgmlType, n: usize) -> Vec<u8> {
        (0..n).flat_map(|_| self.block(ty, |byte| byte)).collect()
    }

    /// Blocks with codes of one sign: their integer sums are large, so that the order of factors shows.
    pub(super) fn loud_blocks(&mut self, ty: GgmlType, n: usize) -> Vec<u8> {
        let loud = match ty {
            GgmlType::Q8_0 | GgmlType::Q8_1 | GgmlType::Q8_K => |byte| byte & 31 | 96,
            _ => |byte| byte & 17,
        };
        (0..n).flat_map(|_| self.block(ty, loud)).collect()
    }

    fn block(&mut self, ty: GgmlType, map: fn(u8) -> u8) -> Vec<u8> {
        let n_bytes = ty.block_bytes();
        let mut block: Vec<u8> =
            (0..n_bytes.div_ceil(8)).flat_map(|_| self.word().to_le_bytes()).collect();
        block.truncate(n_bytes);
        block.iter_mut().for_each(|byte| *byte = map(*byte));
        for &at in scales(ty) {
            block[at..at + 2].copy_from_slice(&self.f16());
        }
        match ty {
            GgmlType::F32 => block.copy_from_slice(&self.f32()),
            GgmlType::F16 => block.copy_from_slice(&self.f16()),
            GgmlType::BF16 => block.copy_from_slice(&self.f32()[2..]),
            GgmlType::Q8_K => {
                block[..4].copy_from_slice(&self.f32());
                for sum in block[260..].as_chunks_mut().0 {
                    *sum = (i16::try_from(self.word() % 4065).unwrap() - 2032).to_le_bytes();
                }
            }
            // A power of two from 2^-8 on.
            GgmlType::MXFP4 => block[0] = (120 + self.word() % 8).to_le_bytes()[0],
            _ => {}
        }
        block
    }

    fn f16(&mut self) -> [u8; 2] {
        let r = self.word();
        let bits = (r & 0x83ff) | ((8 + (r >> 16) % 8) << 10);
        u16::try_from(bits).unwrap().to_le_bytes()
    }

    fn f32(&mut self) -> [u8; 4] {
        let r = self.word();
        let bits = (r & 0x807f_ffff) | ((120 + (r >> 32) % 8) << 23);
        u32::try_from(bits).unwrap().to_le_bytes()
    }
}

/// Where the f16 scales of a block are.
fn scales(ty: GgmlType) -> &'static [usize] {
    match ty {
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 | GgmlType::IQ4_NL | GgmlType::IQ4_XS => {
            &[0]
        }
        GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q8_1 | GgmlType::Q4_K | GgmlType::Q5_K => {
            &[0, 2]
        }
        GgmlType::Q2_K => &[80, 82],
        GgmlType::Q3_K => &[108],
        GgmlType::Q6_K => &[208],
        _ => &[],
    }
}
