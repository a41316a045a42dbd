//! Logits as they are, in the format of `NumPy`'s `.npy` (version 1.0): a table that every language reads.
use crate::PerplexityError;
use std::io::Write;

/// Writes a table of f32, row by row.
#[derive(Debug)]
pub struct NpyWriter<W> {
    out: W,
}

impl<W: Write> NpyWriter<W> {
    /// Writes the header of a table `[n_rows, n_cols]`.
    ///
    /// # Errors
    /// `Write`.
    pub fn new(mut out: W, n_rows: usize, n_cols: usize) -> Result<Self, PerplexityError> {
        // Magic, version, and the length of a text that ends with a newline at a multiple of 64 bytes.
        let text =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {n_cols}), }}");
        let mut header = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        header.extend(format!("{text:<117}\n").bytes());
        out.write_all(&header).map_err(PerplexityError::Write)?;
        Ok(Self { out })
    }

    /// Writes values of the next rows.
    ///
    /// # Errors
    /// `Write`.
    pub fn write(&mut self, values: &[f32]) -> Result<(), PerplexityError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.out.write_all(&bytes).map_err(PerplexityError::Write)
    }

    /// What was written to, when all rows are.
    pub fn into_inner(self) -> W {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_numpys() {
        let mut writer = NpyWriter::new(Vec::new(), usize::MAX, usize::MAX).unwrap();
        writer.write(&[1.0]).unwrap();
        let bytes = writer.into_inner();
        assert_eq!(bytes.len(), 128 + 4, "the largest shape there is fits");
        assert_eq!((bytes[8], bytes[127]), (118, b'\n'));
        assert_eq!(bytes[128..], 1.0_f32.to_le_bytes());
    }
}
