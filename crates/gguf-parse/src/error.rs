//! What can be wrong with a GGUF file, each with where it is and what was expected.
use crate::GgmlType;
use crate::escaped::Escaped;
use crate::limits;
use std::io;
use std::path::PathBuf;

/// What a caller can do about an error; the command line maps it to an exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The input breaks the format (sysexits 65).
    Malformed,
    /// The input is missing or cannot be read (66).
    Unreadable,
    /// The input is valid, but this engine does not run it (69).
    Unsupported,
    /// More memory is needed than is free (71).
    OverBudget,
    /// Reading or writing failed, or the file changed under us (74).
    Io,
    /// A parameter is out of its range (2).
    Usage,
}

/// An error of this crate. `byte` is always an offset from the start of the file.
///
/// Names that came from the file are kept whole here, and escaped and clipped when printed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the fields are named alike throughout: the type's documentation and each message explain them"
)]
pub enum GgufError {
    /// The path leads to nothing that can be opened.
    #[error("the file cannot be opened")]
    Open { path: PathBuf, source: io::Error },
    /// The path leads to something without a fixed size.
    #[error("the path is {found}; must be a regular file")]
    NotAFile { path: PathBuf, found: &'static str },
    /// The kernel refuses to map the file.
    #[error("the file cannot be mapped into memory")]
    Map { path: PathBuf, source: io::Error },
    /// Writing failed.
    #[error("{action} failed")]
    Write { action: &'static str, path: PathBuf, source: io::Error },
    /// Something is wrong in a file other than the one that was asked for.
    #[error("shard {}", Escaped(&path.file_name().unwrap_or_default().to_string_lossy()))]
    Shard { path: PathBuf, source: Box<Self> },

    /// The file ends too early.
    #[error(
        "the file is {found} bytes long; must be longer, the header goes on (byte {byte}): truncated download?"
    )]
    Truncated { found: u64, byte: u64 },
    /// The file is of another kind.
    #[error("the magic is {found:?}; must be \"GGUF\" (byte 0): {looks_like}")]
    BadMagic { found: String, looks_like: &'static str },
    /// No such version was ever defined.
    #[error("the version is {found}; must be 2 or 3 (byte 4)")]
    BadVersion { found: u32 },
    /// A version this crate does not read.
    #[error("the version is {found}; must be 2 or 3 (byte 4): {reason}")]
    UnsupportedVersion { found: u32, reason: &'static str },
    /// There is nothing in the file.
    #[error("the file has no tensors and no metadata; must have either (byte {byte})")]
    NoContent { byte: u64 },
    /// More pairs or tensors than there may be, or than the file can hold.
    #[error("{what} is {found}; must be at most {max} (byte {byte}){}", cut_short(*found, limits::PAIRS))]
    Count { what: &'static str, found: u64, max: u64, byte: u64 },
    /// The metadata section is too large.
    #[error("the metadata goes on after {max} bytes; must end before (byte {byte})")]
    MetadataSize { max: u64, byte: u64 },

    /// A key that is empty, too long, or holds control characters.
    #[error(
        "the metadata key {} is {found}; must be 1 to {} bytes without control characters (byte {byte})",
        Escaped(key),
        limits::KEY_BYTES
    )]
    BadKey { key: String, found: String, byte: u64 },
    /// A string longer than the format, or the file, allows.
    #[error("the length of {what} is {found}; must be at most {max} (byte {byte}){}", cut_short(*found, limits::STRING_BYTES))]
    StringLength { what: String, found: u64, max: u64, byte: u64 },
    /// Text that is not UTF-8; `byte` is where it stops being so.
    #[error("{what} is not valid UTF-8; must be text (byte {byte})")]
    Utf8 { what: String, byte: u64 },
    /// A key that was there before.
    #[error("the metadata key {} is there twice; must be unique (byte {byte})", Escaped(key))]
    DuplicateKey { key: String, byte: u64 },
    /// An id that names no value type.
    #[error("the value type of {} is {found}; must be 0 to 12 (byte {byte})", Escaped(key))]
    UnknownValueType { key: String, found: u32, byte: u64 },
    /// A truth value that is neither.
    #[error("the bool {} is {found}; must be 0 or 1 (byte {byte})", Escaped(key))]
    BadBool { key: String, found: u8, byte: u64 },
    /// An array that claims more elements than the format, or the file, allows.
    #[error("the length of array {} is {found}; must be at most {max} (byte {byte}){}", Escaped(key), cut_short(*found, limits::ARRAY_ELEMS))]
    ArrayLength { key: String, found: u64, max: u64, byte: u64 },
    /// An array of arrays.
    #[error(
        "the elements of {} are arrays; must be numbers, bools or strings (byte {byte})",
        Escaped(key)
    )]
    NestedArray { key: String, byte: u64 },
    /// A key that is needed and absent.
    #[error("the metadata key {} is missing; must be present", Escaped(key))]
    MissingKey { key: String },
    /// A key whose value has another type than it must have.
    #[error("the type of {} is {found}; must be {expected} (byte {byte})", Escaped(key))]
    WrongType { key: String, expected: &'static str, found: String, byte: u64 },
    /// An alignment that is none.
    #[error(
        "general.alignment is {found}; must be a power of two, at most {} (byte {byte})",
        limits::ALIGNMENT
    )]
    BadAlignment { found: u32, byte: u64 },

    /// A tensor name that is empty, too long, or unfit to be printed or used in a path.
    #[error(
        "the tensor name {} is {found}; must be 1 to {} bytes without control characters and \"..\" (byte {byte})",
        Escaped(name),
        limits::TENSOR_NAME_BYTES
    )]
    BadTensorName { name: String, found: String, byte: u64 },
    /// A tensor that was there before.
    #[error("the tensor {} is there twice; must be unique (byte {byte})", Escaped(name))]
    DuplicateTensor { name: String, byte: u64 },
    /// A tensor that is needed and absent.
    #[error("the tensor {} is missing; must be present", Escaped(name))]
    MissingTensor { name: String },
    /// A tensor with no or too many dimensions.
    #[error(
        "the number of dimensions of tensor {} is {found}; must be 1 to 4 (byte {byte})",
        Escaped(name)
    )]
    DimCount { name: String, found: u32, byte: u64 },
    /// A dimension of nothing, or a negative one.
    #[error(
        "dimension {dim} of tensor {} is {found}; must be at least 1 (byte {byte})",
        Escaped(name)
    )]
    BadDim { name: String, dim: usize, found: i64, byte: u64 },
    /// A tensor of more elements or bytes than there can be.
    #[error(
        "the shape of tensor {} is {ne:?}; must make at most 2^63 - 1 elements and {} bytes (byte {byte})",
        Escaped(name),
        limits::TENSOR_BYTES
    )]
    TensorSize { name: String, ne: Vec<u64>, byte: u64 },
    /// A tensor type that is unknown, or was taken out of the format.
    #[error(
        "the type of tensor {} is {found} ({what}); must be one of ggml's types 0 to 42 (byte {byte})",
        Escaped(name)
    )]
    UnknownTensorType { name: String, found: u32, what: &'static str, byte: u64 },
    /// Rows that are no whole number of blocks.
    #[error("the row length of tensor {} is {found}; must be a multiple of {}, the block of {} (byte {byte})", Escaped(name), ty.block_elems(), ty.name())]
    PartialBlock { name: String, ty: GgmlType, found: u64, byte: u64 },
    /// A tensor that does not follow its predecessor directly: a gap, an overlap or a misalignment.
    #[error(
        "the offset of tensor {} is {found}; must be {expected}, where the tensor before ends (byte {byte})",
        Escaped(name)
    )]
    BadOffset { name: String, found: u64, expected: u64, byte: u64 },
    /// Tensor data that goes on after the end of the file.
    #[error(
        "tensor {} needs {needed} bytes at byte {byte}, the file has {file_bytes}; must be whole: truncated download?",
        Escaped(name)
    )]
    TruncatedTensor { name: String, needed: u64, byte: u64, file_bytes: u64 },

    /// A shard of a split model whose place in the whole does not fit.
    #[error("{key} is {found}; must be {expected}")]
    BadSplit { key: &'static str, found: u64, expected: String },
    /// A shard whose file is not named as shards are.
    #[error("the file name is {}; must end in {}", Escaped(found), Escaped(expected))]
    SplitName { found: String, expected: String },
    /// A split model in memory, where its other files cannot be found.
    #[error("split.count is {count}; must be 1 for a model in memory: open its first file by path")]
    SplitInMemory { count: u64 },

    /// Bytes after the data (strict only).
    #[error("the file goes on for {found} bytes after the last tensor; must end (byte {byte})")]
    TrailingBytes { found: u64, byte: u64 },
    /// Padding that holds something (strict only).
    #[error("the padding is not zero; must be (byte {byte})")]
    Padding { byte: u64 },

    /// A tensor to be written has another size than was planned.
    #[error("the data of tensor {} is {found} bytes; must be {expected}", Escaped(name))]
    DataSize { name: String, found: u64, expected: u64 },
    /// Another number of tensors was written than was planned.
    #[error("the number of tensors written is {found}; must be {expected}")]
    DataCount { found: usize, expected: usize },
}

impl GgufError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Shard { source, .. } => source.class(),
            Self::Open { .. } | Self::NotAFile { .. } => ErrorClass::Unreadable,
            Self::Map { source, .. } if source.kind() == io::ErrorKind::OutOfMemory => {
                ErrorClass::OverBudget
            }
            Self::Map { .. } | Self::Write { .. } => ErrorClass::Io,
            Self::UnsupportedVersion { .. }
            | Self::NoContent { .. }
            | Self::NestedArray { .. }
            | Self::UnknownTensorType { .. }
            | Self::SplitInMemory { .. } => ErrorClass::Unsupported,
            Self::DataSize { .. } | Self::DataCount { .. } => ErrorClass::Usage,
            _ => ErrorClass::Malformed,
        }
    }

    /// The stable code, `E-…`, by which tests and scripts know this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Shard { source, .. } => source.code(),
            Self::Open { .. } => "E-OPEN",
            Self::NotAFile { .. } => "E-FILE",
            Self::Map { .. } => "E-MAP",
            Self::Write { .. } => "E-WRITE",
            Self::Truncated { .. } | Self::TruncatedTensor { .. } => "E-TRUNC",
            Self::BadMagic { .. } => "E-MAGIC",
            Self::BadVersion { .. } | Self::UnsupportedVersion { .. } => "E-VERSION",
            Self::NoContent { .. } => "E-EMPTY",
            Self::Count { .. } => "E-COUNT",
            Self::MetadataSize { .. } => "E-METASIZE",
            Self::BadKey { .. } | Self::MissingKey { .. } => "E-KEY",
            Self::StringLength { .. } => "E-STRLEN",
            Self::Utf8 { .. } => "E-UTF8",
            Self::DuplicateKey { .. } => "E-DUPKEY",
            Self::UnknownValueType { .. } => "E-KVTYPE",
            Self::BadBool { .. } => "E-BOOL",
            Self::ArrayLength { .. } => "E-ARRLEN",
            Self::NestedArray { .. } => "E-NESTED",
            Self::WrongType { .. } => "E-KEYTYPE",
            Self::BadAlignment { .. } => "E-ALIGN",
            Self::BadTensorName { .. } => "E-NAME",
            Self::DuplicateTensor { .. } => "E-DUPTENSOR",
            Self::MissingTensor { .. } => "E-TENSOR",
            Self::DimCount { .. } => "E-NDIMS",
            Self::BadDim { .. } => "E-DIM",
            Self::TensorSize { .. } => "E-OVERFLOW",
            Self::UnknownTensorType { .. } => "E-DTYPE",
            Self::PartialBlock { .. } => "E-BLOCK",
            Self::BadOffset { .. } => "E-OFFSET",
            Self::BadSplit { .. } | Self::SplitName { .. } | Self::SplitInMemory { .. } => {
                "E-SPLIT"
            }
            Self::TrailingBytes { .. } => "E-TRAILING",
            Self::Padding { .. } => "E-PADDING",
            Self::DataSize { .. } | Self::DataCount { .. } => "E-DATASIZE",
        }
    }

    pub(crate) fn in_shard(self, path: &std::path::Path) -> Self {
        Self::Shard { path: path.to_path_buf(), source: Box::new(self) }
    }
}

/// What to think of a length that is allowed, but goes on after the end of the file.
fn cut_short(found: u64, limit: u64) -> &'static str {
    if found <= limit { ", the file ends: truncated download?" } else { "" }
}
