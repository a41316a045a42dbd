//! SHA-256 as hex, of a file or of what passes through a writer.
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};

/// A writer that hashes what it passes on.
pub(crate) struct HashingWriter<W> {
    inner: W,
    sha256: Sha256,
}

impl<W: Write> HashingWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, sha256: Sha256::new() }
    }

    /// The writer and the hash of everything written, as 64 hex digits.
    pub(crate) fn finish(self) -> (W, String) {
        (self.inner, hex(&self.sha256.finalize()))
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        if let Some(written) = buf.get(..n) {
            self.sha256.update(written);
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The SHA-256 of everything `reader` gives, as 64 hex digits.
///
/// # Errors
/// Those of the reader.
pub fn sha256_of(mut reader: impl Read) -> io::Result<String> {
    let mut writer = HashingWriter::new(io::sink());
    copy(&mut reader, &mut writer)?;
    Ok(writer.finish().1)
}

/// Copies all of `reader` in pieces large enough for fast hashing and fast disks.
pub(crate) fn copy(reader: &mut impl Read, writer: &mut impl Write) -> io::Result<u64> {
    let mut buf = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        let n = match reader.read(&mut buf) {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let piece = buf.get(..n).ok_or(io::ErrorKind::InvalidData)?;
        writer.write_all(piece)?;
        total += n as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_hash() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(&b"abc"[..]).unwrap(), abc);
        let mut writer = HashingWriter::new(Vec::new());
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"c").unwrap();
        let (written, hash) = writer.finish();
        assert_eq!((written.as_slice(), hash.as_str()), (&b"abc"[..], abc));
    }
}
