//! Errors on their way out of the grammar.
use crate::GgufError;
use crate::limits::{self, to_u64};
use nom::error::{ErrorKind, ParseError};
use nom::{Err, IResult};

/// What a rule returns: the bytes after it, and what it stands for.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Fault<'a>>;

/// An error on its way out of the grammar. A rule sees only the bytes from its own start on, so it says how many
/// are left, and [`Fault::locate`] makes an offset of it.
pub(crate) struct Fault<'a> {
    rest: usize,
    /// Whether more input would have helped.
    short: bool,
    error: Box<dyn FnOnce(u64) -> GgufError + 'a>,
}

impl Fault<'_> {
    /// The error, now that the length of the input is known. `cut` says that the input was only the part of the
    /// file that metadata may fill.
    pub(crate) fn locate(self, input_bytes: usize, cut: bool) -> GgufError {
        let byte = to_u64(input_bytes.saturating_sub(self.rest));
        if cut && self.short {
            return GgufError::MetadataSize { max: to_u64(limits::METADATA_BYTES), byte };
        }
        match (self.error)(byte) {
            GgufError::Truncated { byte, .. } => {
                GgufError::Truncated { found: to_u64(input_bytes), byte }
            }
            error => error,
        }
    }
}

impl<'a> ParseError<&'a [u8]> for Fault<'a> {
    fn from_error_kind(input: &'a [u8], _: ErrorKind) -> Self {
        // The byte parsers used here fail for one reason: the input ends.
        Self {
            rest: input.len(),
            short: true,
            error: Box::new(|byte| GgufError::Truncated { found: 0, byte }),
        }
    }
    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Fails at `at`.
pub(crate) fn fail<'a, T>(at: &[u8], error: impl FnOnce(u64) -> GgufError + 'a) -> Parsed<'a, T> {
    Err(failure(at, false, error))
}

/// Fails at `at` for want of input.
pub(crate) fn fail_short<'a, T>(
    at: &[u8],
    error: impl FnOnce(u64) -> GgufError + 'a,
) -> Parsed<'a, T> {
    Err(failure(at, true, error))
}

pub(crate) fn failure<'a>(
    at: &[u8],
    short: bool,
    error: impl FnOnce(u64) -> GgufError + 'a,
) -> Err<Fault<'a>> {
    Err::Failure(Fault { rest: at.len(), short, error: Box::new(error) })
}
