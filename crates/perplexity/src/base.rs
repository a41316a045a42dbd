//! llama.cpp's file of log-probabilities (`--kl-divergence-base`), little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `_logits_` |
//! | 4, 4, 4 | `n_ctx`, `n_vocab`, `n_chunk` |
//! | 4 · `n_chunk` · `n_ctx` | the tokens |
//! | for each scored token: 4, 4 | `scale` and `min_log_prob`, f32 |
//! | 2 · `n_vocab`, rounded up to 4 | codes: a log-probability is `scale * code + min_log_prob` |
//!
//! The 16 bits of a code span the logits from the highest to 16 below it; what is lower counts as that.
use crate::likelihood::max_and_sum_exp;
use crate::{Chunks, PerplexityError};
use std::io::{Read, Write};

const MAGIC: &[u8; 8] = b"_logits_";
/// Magic and three numbers.
const HEADER_BYTES: u64 = 20;
/// How far below the highest logit the codes reach.
const RANGE: f32 = 16.0;
/// The highest code.
const MAX_CODE: f32 = 65_535.0;

/// Bytes of a row: scale, lowest log-probability, and an even number of codes.
fn row_bytes(n_vocab: usize) -> usize {
    n_vocab.next_multiple_of(2) * 2 + 8
}

/// Writes a file of log-probabilities: the header, then row by row, in the text's order.
#[derive(Debug)]
pub struct BaseWriter<W> {
    out: W,
    row_bytes: usize,
}

impl<W: Write> BaseWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// `Format` for a text that does not fit into the format; `Write`.
    pub fn new(mut out: W, text: &Chunks) -> Result<Self, PerplexityError> {
        let mut header = MAGIC.to_vec();
        for (what, found) in
            [("n_ctx", text.n_ctx()), ("n_vocab", text.n_vocab()), ("n_chunk", text.n_chunk())]
        {
            let number = i32::try_from(found);
            let number = number.map_err(|_| PerplexityError::Format { what, found })?;
            header.extend(number.to_le_bytes());
        }
        header.extend(text.tokens().iter().flat_map(|id| id.to_le_bytes()));
        out.write_all(&header).map_err(PerplexityError::Write)?;
        Ok(Self { out, row_bytes: row_bytes(text.n_vocab()) })
    }

    /// Writes a row that [`encode_row`] made.
    ///
    /// # Errors
    /// `Write`.
    ///
    /// # Panics
    /// If the row is of another vocabulary.
    pub fn write_row(&mut self, row: &[u8]) -> Result<(), PerplexityError> {
        assert_eq!(row.len(), self.row_bytes, "a row of this vocabulary");
        self.out.write_all(row).map_err(PerplexityError::Write)
    }

    /// What was written to, when all rows are.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// The bytes of a row of logits, as llama.cpp writes them.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in f32 as llama.cpp does it; codes are rounded numbers from 0 to 65535"
)]
pub fn encode_row(logits: &[f32]) -> Vec<u8> {
    let (max, sum_exp) = max_and_sum_exp(logits);
    let lowest = logits.iter().copied().fold(f32::INFINITY, f32::min).max(max - RANGE);
    let log_sum_exp = sum_exp.ln() as f32;
    let scale = (max - lowest) / MAX_CODE;
    let mut row = Vec::with_capacity(row_bytes(logits.len()));
    row.extend(scale.to_le_bytes());
    row.extend((lowest - max - log_sum_exp).to_le_bytes());
    let inv_scale = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    for logit in logits {
        let code =
            if *logit > lowest { (inv_scale * (logit - lowest)).round_ties_even() } else { 0.0 };
        row.extend((code as u16).to_le_bytes());
    }
    row.resize(row_bytes(logits.len()), 0);
    row
}

/// A row of a file: the log-probabilities of all tokens at one position.
#[derive(Debug, Clone, Copy)]
pub struct BaseRow<'a> {
    scale: f32,
    min_log_prob: f32,
    codes: &'a [[u8; 2]],
}

impl<'a> BaseRow<'a> {
    /// Looks at bytes as [`encode_row`] makes them; `None` if they are too few for `n_vocab` tokens.
    fn new(bytes: &'a [u8], n_vocab: usize) -> Option<Self> {
        let (scale, rest) = bytes.split_first_chunk::<4>()?;
        let (min_log_prob, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            scale: f32::from_le_bytes(*scale),
            min_log_prob: f32::from_le_bytes(*min_log_prob),
            codes: rest.as_chunks().0.get(..n_vocab)?,
        })
    }

    /// The log-probability of a token; the lowest for one that is not there.
    pub(crate) fn log_prob(&self, token: u32) -> f32 {
        self.decode(self.codes.get(token as usize).copied().unwrap_or_default())
    }

    /// All log-probabilities.
    pub(crate) fn log_probs(&self) -> impl Iterator<Item = f32> {
        self.codes.iter().map(|code| self.decode(*code))
    }

    fn decode(&self, code: [u8; 2]) -> f32 {
        self.scale * f32::from(u16::from_le_bytes(code)) + self.min_log_prob
    }
}

/// Reads a file of log-probabilities chunk by chunk.
#[derive(Debug)]
pub struct BaseReader<R> {
    input: R,
    text: Chunks,
    chunk: Vec<u8>,
}

impl<R: Read> BaseReader<R> {
    /// Reads and checks the header of a file of `n_bytes`, for a model with `n_vocab` tokens. Nothing larger than the
    /// file is allocated.
    ///
    /// # Errors
    /// `NotABase`, `Header`, `Vocabulary`, `Truncated`, `Token`, `Read`.
    pub fn new(mut input: R, n_bytes: u64, n_vocab: usize) -> Result<Self, PerplexityError> {
        let mut magic = [0; 8];
        if n_bytes < HEADER_BYTES || read(&mut input, &mut magic).is_err() || magic != *MAGIC {
            return Err(PerplexityError::NotABase);
        }
        let mut number = |what, min: usize| {
            let mut bytes = [0; 4];
            read(&mut input, &mut bytes)?;
            let found = i32::from_le_bytes(bytes);
            usize::try_from(found).ok().filter(|n| *n >= min).ok_or_else(|| {
                PerplexityError::Header {
                    what,
                    found: i64::from(found),
                    allowed: format!("at least {min}"),
                }
            })
        };
        let n_ctx = number("n_ctx", PerplexityError::MIN_CTX)?;
        let found = number("n_vocab", 1)?;
        let n_chunk = number("n_chunk", 1)?;
        if found != n_vocab {
            return Err(PerplexityError::Vocabulary { found, expected: n_vocab });
        }
        let chunk_bytes = (n_ctx - 1 - n_ctx / 2).checked_mul(row_bytes(n_vocab));
        let needed = chunk_bytes.and_then(|rows| rows.checked_add(n_ctx.checked_mul(4)?));
        let needed = needed.and_then(|chunk| u64::try_from(chunk.checked_mul(n_chunk)?).ok());
        let needed = needed.and_then(|all| all.checked_add(HEADER_BYTES)).unwrap_or(u64::MAX);
        if n_bytes < needed {
            return Err(PerplexityError::Truncated { n_bytes, needed, n_chunk });
        }
        let mut tokens = vec![0; n_ctx * n_chunk * 4];
        read(&mut input, &mut tokens)?;
        let tokens = tokens.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
        let text = Chunks::checked(tokens, n_ctx, n_chunk, n_vocab)?;
        Ok(Self { input, text, chunk: vec![0; chunk_bytes.unwrap_or(0)] })
    }

    /// The text whose log-probabilities these are.
    #[must_use]
    pub fn text(&self) -> &Chunks {
        &self.text
    }

    /// The rows of the next chunk, `[n_scored]`.
    ///
    /// # Errors
    /// `Read`, also behind the last chunk.
    pub fn next_chunk(&mut self) -> Result<Vec<BaseRow<'_>>, PerplexityError> {
        read(&mut self.input, &mut self.chunk)?;
        let n_vocab = self.text.n_vocab();
        let rows = self.chunk.chunks_exact(row_bytes(n_vocab));
        Ok(rows.filter_map(|bytes| BaseRow::new(bytes, n_vocab)).collect())
    }
}

fn read(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), PerplexityError> {
    input.read_exact(bytes).map_err(PerplexityError::Read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of two chunks of five tokens (two scored in each) of a vocabulary of 3.
    fn file() -> (Chunks, Vec<u8>) {
        let text = Chunks::new(vec![0, 1, 2, 1, 1, 0, 2, 2, 0, 1], 5, None, 3).unwrap();
        let mut writer = BaseWriter::new(Vec::new(), &text).unwrap();
        for row in 0..4 {
            writer.write_row(&encode_row(&[row as f32, -1.0, -40.0])).unwrap();
        }
        (text, writer.into_inner())
    }

    fn open(bytes: &[u8], n_vocab: usize) -> Result<BaseReader<&[u8]>, PerplexityError> {
        BaseReader::new(bytes, bytes.len() as u64, n_vocab)
    }

    #[test]
    fn what_is_written_is_read() {
        let (text, bytes) = file();
        assert_eq!(bytes.len(), 20 + 40 + 4 * (8 + 8));
        let mut reader = open(&bytes, 3).unwrap();
        assert_eq!(*reader.text(), text);
        assert_eq!(reader.next_chunk().unwrap().len(), 2);
        let rows = reader.next_chunk().unwrap();
        let sum_exp = 1.0 + (-4.0_f32).exp() + (-43.0_f32).exp();
        let found: Vec<f32> = rows[1].log_probs().collect();
        for (found, wanted) in found.iter().zip([0.0, -4.0, -16.0]) {
            assert!((found - (wanted - sum_exp.ln())).abs() < 1.3e-4, "{found} {wanted}");
        }
        assert_eq!(rows[1].log_prob(1), found[1]);
        assert!(reader.next_chunk().is_err(), "there are two");
    }

    #[test]
    fn equal_logits_have_no_scale() {
        let row = encode_row(&[2.5, 2.5]);
        let row = BaseRow::new(&row, 2).unwrap();
        assert_eq!(row.scale, 0.0);
        assert!(row.log_probs().all(|p| p == -std::f32::consts::LN_2));
    }

    #[test]
    fn damaged_files_say_what_is_wrong() {
        let (_, good) = file();
        let says = |change: &dyn Fn(&mut Vec<u8>), n_vocab| {
            let mut bytes = good.clone();
            change(&mut bytes);
            match open(&bytes, n_vocab) {
                Ok(reader) => format!("{:?}", reader.text()),
                Err(error) => format!("{} {error}", error.code()),
            }
        };
        let nothing = |_: &mut Vec<u8>| ();
        for (wanted, found) in [
            ("E-MAGIC it does not begin", says(&|b| b[0] = b'x', 3)),
            ("E-MAGIC it does not begin", says(&|b| b.clear(), 3)),
            ("E-HEADER its n_ctx is -1", says(&|b| b[8..12].fill(255), 3)),
            ("E-HEADER its n_chunk is 0", says(&|b| b[16..20].fill(0), 3)),
            ("E-VOCAB it is of a model with 3 tokens, this one has 4", says(&nothing, 4)),
            ("E-TRUNC it has 123 bytes; its 2 chunks need 124", says(&|b| b.truncate(123), 3)),
            ("E-TRUNC", says(&|b| b[8..12].copy_from_slice(&i32::MAX.to_le_bytes()), 3)),
            ("E-TRUNC", says(&|b| b[16..20].copy_from_slice(&i32::MAX.to_le_bytes()), 3)),
            ("E-TOKEN the text has token 3", says(&|b| b[20] = 3, 3)),
        ] {
            assert!(found.starts_with(wanted), "{found}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..200), n_ctx in -1..9_i32, n_chunk in -1..9_i32) {
            let mut bytes = MAGIC.to_vec();
            for n in [n_ctx, 3, n_chunk] {
                bytes.extend(n.to_le_bytes());
            }
            bytes.extend(tail.iter().map(|byte| byte % 2));
            if let Ok(mut reader) = open(&bytes, 3) {
                for _ in 0..reader.text().n_chunk() {
                    prop_assert!(reader.next_chunk().is_ok());
                }
            }
        }
    }
}
