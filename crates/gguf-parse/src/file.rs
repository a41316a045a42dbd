//! One file: opening it so that nothing can hang, mapping it, and checking its data section.
//! The only `unsafe` of the crate is here.
use crate::header::{self, Header};
use crate::limits::to_u64;
use crate::{GgufError, Metadata, TensorInfo};
use std::fs::{File, FileType, Metadata as FileMetadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::Path;

/// One file with its header.
pub(crate) struct Shard {
    bytes: Bytes,
    pub(crate) header: Header,
    /// Where tensor offsets count from.
    pub(crate) data_start: usize,
    /// What is odd but harmless.
    pub(crate) odd: Vec<Oddity>,
}

impl Shard {
    pub(crate) fn open(path: &Path) -> Result<Self, GgufError> {
        Self::new(Bytes::map(path)?)
    }

    pub(crate) fn new(bytes: Bytes) -> Result<Self, GgufError> {
        let file = bytes.as_slice();
        let header = header::parse(file)?;
        // Without tensors there is no data section, and the header need not be padded.
        let alignment = if header.tensors.is_empty() { 1 } else { header.alignment };
        let data_start = to_u64(header.end).next_multiple_of(alignment);
        check_data(file, &header, data_start)?;
        let data_start = usize::try_from(data_start).unwrap_or(file.len());
        let odd = oddities(file, &header, data_start);
        Ok(Self { bytes, header, data_start, odd })
    }

    pub(crate) fn file(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    pub(crate) fn metadata(&self) -> Metadata<'_> {
        Metadata { file: self.file(), table: &self.header.pairs }
    }

    /// The bytes of one of this file's tensors.
    pub(crate) fn tensor_data(&self, info: &TensorInfo) -> &[u8] {
        let start = usize::try_from(info.offset)
            .ok()
            .and_then(|offset| self.data_start.checked_add(offset));
        let data = start.and_then(|start| self.file().get(start..)?.get(..info.n_bytes));
        // `check_data` has proven that it is there.
        data.unwrap_or_default()
    }

    /// Releases the pages of `data` if it lies in this file; see [`Gguf::release`](crate::Gguf::release).
    pub(crate) fn release(&self, data: &[u8]) {
        let file = self.file();
        let (start, first) = (file.as_ptr().addr(), data.as_ptr().addr());
        let Some(offset) = first.checked_sub(start).filter(|offset| *offset < file.len()) else {
            return;
        };
        // A page that is touched brings those around it along: the window that holds it. Cut inside of windows, the
        // beginning of the next tensor would bring the end of this one back.
        let begin = offset - offset % WINDOW;
        let end = (offset + data.len()).next_multiple_of(WINDOW).min(file.len());
        self.bytes.release(begin..end);
    }
}

/// What Linux maps at once around a page of a file.
const WINDOW: usize = 64 << 10;

/// What is odd but harmless. Of the paddings that are not zero only the first is named.
fn oddities(file: &[u8], header: &Header, data_start: usize) -> Vec<Oddity> {
    let mut odd = Vec::new();
    let mut end = header.end;
    for info in &header.tensors {
        let start = to_u64(data_start).saturating_add(info.offset);
        odd.extend(non_zero(file, end, start));
        end = usize::try_from(start).unwrap_or(end).saturating_add(info.n_bytes);
    }
    let padded = to_u64(end).next_multiple_of(header.alignment);
    odd.extend(non_zero(file, end, padded));
    odd.truncate(1);
    let found = to_u64(file.len()).saturating_sub(padded);
    if found > 0 {
        odd.push(Oddity::Trailing { found, byte: padded });
    }
    odd
}

/// The first byte of the padding from `end` to `start` that is not zero. Most tensors end aligned, so that no page
/// is touched for this.
fn non_zero(file: &[u8], end: usize, start: u64) -> Option<Oddity> {
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(file.len());
    let at = file.get(end..start)?.iter().position(|&b| b != 0)?;
    Some(Oddity::Padding { byte: to_u64(end.saturating_add(at)) })
}

/// What [`Gguf::warnings`](crate::Gguf::warnings) tells and [`Gguf::check_strict`](crate::Gguf::check_strict) refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Oddity {
    Trailing { found: u64, byte: u64 },
    Padding { byte: u64 },
}

impl From<Oddity> for GgufError {
    fn from(odd: Oddity) -> Self {
        match odd {
            Oddity::Trailing { found, byte } => Self::TrailingBytes { found, byte },
            Oddity::Padding { byte } => Self::Padding { byte },
        }
    }
}

/// Checks that the data of every tensor is in the file. The padding after the last one may be missing.
fn check_data(file: &[u8], header: &Header, data_start: u64) -> Result<(), GgufError> {
    let file_bytes = to_u64(file.len());
    for info in &header.tensors {
        // The offsets are contiguous, at most 2^16 times 2^44 bytes: nothing wraps.
        let byte = data_start.saturating_add(info.offset);
        let needed = to_u64(info.n_bytes);
        if byte.saturating_add(needed) > file_bytes {
            return Err(GgufError::TruncatedTensor {
                name: info.name.clone(),
                needed,
                byte,
                file_bytes,
            });
        }
    }
    Ok(())
}

/// The bytes of a file.
pub(crate) enum Bytes {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }

    /// Drops the pages of a range, which come back when they are read. Only Linux is asked.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "nothing is asked"))]
    #[cfg_attr(target_os = "linux", expect(unsafe_code, reason = "see the SAFETY note"))]
    fn release(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Self::Mapped(map) = self {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the advice is dangerous where pages differ from what stands behind them. These cannot: the
            // mapping is read-only, so none was ever written, and reading one again maps the same page of the file.
            // A refusal leaves all as it was.
            let _ = unsafe { map.unchecked_advise_range(advice, range.start, range.len()) };
        }
    }

    /// Maps a regular file.
    #[expect(unsafe_code, reason = "a mapping is shared with the file system")]
    fn map(path: &Path) -> Result<Self, GgufError> {
        let (file, len) = open_regular(path)?;
        let map_error = |source| GgufError::Map { path: path.to_path_buf(), source };
        let len = usize::try_from(len).map_err(|_| map_error(io::ErrorKind::OutOfMemory.into()))?;
        if len == 0 {
            // There is no mapping of nothing.
            return Ok(Self::Owned(Vec::new()));
        }
        // SAFETY: the mapping is private, read-only, and exactly as long as this descriptor's regular file was when
        // it was asked. What no program can rule out is that another one writes to the file or cuts it meanwhile.
        // Written bytes are only ever seen as plain numbers: text is checked again at each access, and no length is
        // read twice without being checked twice. Reading past a new end raises SIGBUS, which ends the process and
        // corrupts nothing; the documentation of `Gguf::open` says so.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map_copy_read_only(&file) }
            .map_err(map_error)?;
        Ok(Self::Mapped(map))
    }
}

/// Opens a regular file, and nothing else: a pipe would block, a device never ends.
fn open_regular(path: &Path) -> Result<(File, u64), GgufError> {
    let open_error = |source| GgufError::Open { path: path.to_path_buf(), source };
    let regular = |metadata: &FileMetadata| match what_else(metadata.file_type()) {
        Some(found) => Err(GgufError::NotAFile { path: path.to_path_buf(), found }),
        None => Ok(()),
    };
    // Asked first by name, since opening some devices has effects, then of what was opened: the name may have
    // changed its meaning in between.
    regular(&std::fs::metadata(path).map_err(open_error)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(open_error)?;
    let metadata = file.metadata().map_err(open_error)?;
    regular(&metadata)?;
    Ok((file, metadata.len()))
}

/// What it is if it is no regular file.
fn what_else(file_type: FileType) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_fifo() {
            return Some("a pipe");
        }
        if file_type.is_socket() {
            return Some("a socket");
        }
        if file_type.is_char_device() || file_type.is_block_device() {
            return Some("a device");
        }
    }
    if file_type.is_dir() {
        return Some("a directory");
    }
    (!file_type.is_file()).then_some("not a regular file")
}
