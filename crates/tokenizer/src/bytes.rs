//! The byte alphabet of byte-level BPE (GPT-2, 2019): every byte is written as one printable character.
//!
//! Bytes that are printable in Latin-1 stand for themselves; the 68 others are numbered from U+0100 upwards.

/// Whether byte-level BPE writes `byte` as the character of the same number.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The character that stands for each byte.
pub(crate) const BYTE_TO_CHAR: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut others: u8 = 0;
    let mut byte: u8 = 0;
    loop {
        table[byte as usize] = if is_plain(byte) {
            byte as char
        } else {
            others += 1;
            // U+0100 + n: the characters of Latin Extended-A lie in one run.
            match char::from_u32(0x100 + others as u32 - 1) {
                Some(c) => c,
                None => '\0',
            }
        };
        if byte == 255 {
            break table;
        }
        byte += 1;
    }
};

/// Number of bytes that do not stand for themselves.
const N_OTHERS: usize = 68;

/// The bytes that U+0100.. stand for.
const OTHERS: [u8; N_OTHERS] = {
    let mut table = [0; N_OTHERS];
    let mut n = 0;
    let mut byte: u8 = 0;
    while n < N_OTHERS {
        if !is_plain(byte) {
            table[n] = byte;
            n += 1;
        }
        byte = byte.wrapping_add(1);
    }
    table
};

/// The byte that `c` stands for, if it belongs to the alphabet.
pub(crate) fn char_to_byte(c: char) -> Option<u8> {
    match u8::try_from(c as u32) {
        Ok(byte) => is_plain(byte).then_some(byte),
        Err(_) => OTHERS.get(c as usize - 0x100).copied(),
    }
}

/// `bytes` written in the alphabet, appended to `out`.
pub(crate) fn encode_into(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|&byte| BYTE_TO_CHAR[usize::from(byte)]));
}

/// What a token's text in the alphabet stands for, appended to `out`.
///
/// A character outside the alphabet gives, as in llama.cpp, `[UNK_BYTE_0x` + its UTF-8 in hex + the whole text + `]`.
pub(crate) fn decode_into(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        if let Some(byte) = char_to_byte(c) {
            out.push(byte);
            continue;
        }
        out.extend_from_slice(b"[UNK_BYTE_0x");
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
        out.extend_from_slice(text.as_bytes());
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection() {
        for byte in 0..=255u8 {
            assert_eq!(
                char_to_byte(BYTE_TO_CHAR[usize::from(byte)]),
                Some(byte),
                "byte {byte:#04x}"
            );
        }
        assert_eq!((0..=255u8).filter(|&b| !is_plain(b)).count(), N_OTHERS, "others");
        let in_alphabet = ('\0'..=char::MAX).filter(|&c| char_to_byte(c).is_some()).count();
        assert_eq!(in_alphabet, 256, "no other character is in it");
        assert_eq!(BYTE_TO_CHAR[usize::from(b' ')], 'Ġ', "the space, as seen in every vocabulary");
    }

    #[test]
    fn text_outside_the_alphabet_is_spelled_out() {
        let mut out = Vec::new();
        decode_into("a▁", &mut out);
        assert_eq!(out, "a[UNK_BYTE_0xe29681a▁]".as_bytes(), "llama.cpp's spelling");
    }
}
