//! Files to break: T0, a minimal GGUF file whose bytes are all known by position, and T1, the smallest llama model
//! that runs. Tests change them in one place and ask what the engine says.
//!
//! Nothing here uses the engine's own writer, which refuses to write what these are for: the bytes are laid down by
//! the few lines below, whatever they mean.

mod every_type;
mod mutants;
mod t1;

pub use every_type::every_type;
pub use mutants::{Random, mutants};
pub use t1::T1;

/// A GGUF value type, by its id.
mod value_type {
    pub(super) const U8: u32 = 0;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const STRING: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
}

/// T0, 448 bytes: three metadata pairs and one F32 tensor of `[32, 2]` zeros. Where things are:
///
/// | byte | what |
/// |-|-|
/// | 0 | `GGUF` |
/// | 4 | version 3, u32 |
/// | 8 | number of tensors 1, u64 |
/// | 16 | number of pairs 3, u64 |
/// | 24 | pair 0: `general.architecture` (its length; 32 text), 52 type, 56 length, 64 `llama` |
/// | 69 | pair 1: `general.alignment` (its length; 77 text), 94 type, 98 value 32 |
/// | 102 | pair 2: `x.a` (its length; 110 text), 113 type, 117 element type u8, 121 count 4, 129 elements |
/// | 133 | tensor `a` (its length; 141 text), 142 number of dimensions 2, 146 and 154 dimensions, 162 type, 166 offset |
/// | 174 | padding |
/// | 192 | data |
#[must_use]
pub fn t0() -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    put_u32(&mut file, 3);
    put_u64(&mut file, 1);
    put_u64(&mut file, 3);
    put_string(&mut file, b"general.architecture");
    put_u32(&mut file, value_type::STRING);
    put_string(&mut file, b"llama");
    put_string(&mut file, b"general.alignment");
    put_u32(&mut file, value_type::U32);
    put_u32(&mut file, 32);
    put_string(&mut file, b"x.a");
    put_u32(&mut file, value_type::ARRAY);
    put_u32(&mut file, value_type::U8);
    put_u64(&mut file, 4);
    file.extend([0, 1, 2, 3]);
    put_string(&mut file, b"a");
    put_u32(&mut file, 2);
    put_u64(&mut file, 32);
    put_u64(&mut file, 2);
    put_u32(&mut file, 0);
    put_u64(&mut file, 0);
    file.resize(448, 0);
    file
}

fn put_u32(file: &mut Vec<u8>, x: u32) {
    file.extend(x.to_le_bytes());
}

fn put_u64(file: &mut Vec<u8>, x: u64) {
    file.extend(x.to_le_bytes());
}

fn put_string(file: &mut Vec<u8>, text: &[u8]) {
    put_u64(file, text.len() as u64);
    file.extend(text);
}

#[cfg(test)]
mod tests {
    use super::t0;

    #[test]
    fn t0_is_laid_out_as_documented() {
        let file = t0();
        assert_eq!(file.len(), 448);
        for (at, bytes) in [
            (32, &b"general.architecture"[..]),
            (64, b"llama"),
            (77, b"general.alignment"),
            (110, b"x.a"),
            (141, b"a"),
        ] {
            assert_eq!(&file[at..at + bytes.len()], bytes);
        }
        for (at, value) in [
            (52, 8),
            (94, 4),
            (98, 32),
            (113, 9),
            (117, 0),
            (121, 4),
            (142, 2),
            (146, 32),
            (154, 2),
        ] {
            assert_eq!(file[at], value, "byte {at}");
        }
    }
}
