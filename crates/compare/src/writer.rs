//! Writing traces, node by node: nothing but the header is kept in memory.

use crate::TraceError;
use crate::format::{Dtype, EvalInfo, HeaderEntry, TraceInfo};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// About what a node takes in the header: its name, shape and offsets, and its operation once a name.
const HEADER_BYTES_PER_NODE: u64 = 112;
/// What everything else in the header may take before the data has to be moved.
const HEADER_BYTES_BESIDES: u64 = 64 << 10;

/// A node's values, row-major.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// f16 bits.
    F16(&'a [u16]),
    /// f32.
    F32(&'a [f32]),
    /// f64.
    F64(&'a [f64]),
}

impl Values<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::F16(_) => Dtype::F16,
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
        }
    }

    /// Writes them little-endian; how many bytes.
    fn write(&self, out: &mut impl Write) -> io::Result<u64> {
        match self {
            Self::F16(x) => write_all(out, x, |x| x.to_le_bytes()),
            Self::F32(x) => write_all(out, x, |x| x.to_le_bytes()),
            Self::F64(x) => write_all(out, x, |x| x.to_le_bytes()),
        }
    }
}

fn write_all<T: Copy, const N: usize>(
    out: &mut impl Write,
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> io::Result<u64> {
    for value in values {
        out.write_all(&bytes(*value))?;
    }
    Ok((values.len() * N) as u64)
}

/// A trace being written. It appears under its name when it is finished.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    /// Bytes set aside for the header, the eight of its length not counted.
    reserved: u64,
    /// Bytes of data so far.
    n_bytes: u64,
    entries: BTreeMap<String, HeaderEntry>,
    evals: Vec<EvalInfo>,
    ops: BTreeMap<String, String>,
    /// Nodes of each name in this evaluation.
    seen: HashMap<String, usize>,
}

impl Writer {
    /// Begins a trace of about `n_nodes` nodes at `path`. A wrong guess costs a copy at the end, nothing else.
    ///
    /// # Errors
    /// `Write`.
    pub fn create(path: &Path, n_nodes: usize) -> Result<Self, TraceError> {
        let reserved = HEADER_BYTES_BESIDES + HEADER_BYTES_PER_NODE * n_nodes as u64;
        let mut file = new_file(path)?;
        file.seek(SeekFrom::Start(8 + reserved)).map_err(TraceError::Write)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            reserved,
            n_bytes: 0,
            entries: BTreeMap::new(),
            evals: Vec::new(),
            ops: BTreeMap::new(),
            seen: HashMap::new(),
        })
    }

    /// The nodes from here on belong to the evaluation of `tokens` at positions `n_past..`.
    pub fn begin_eval(&mut self, n_past: usize, tokens: &[u32]) {
        self.evals.push(EvalInfo { n_past, tokens: tokens.to_vec() });
        self.seen.clear();
    }

    /// One node. `name` is llama.cpp's (`Qcur-0`), `op` ggml's (`ROPE`; empty if unknown), `shape` is outermost
    /// first.
    ///
    /// # Errors
    /// `Write`.
    ///
    /// # Panics
    /// If `shape` is not that of `values`, or no evaluation was begun.
    pub fn node(
        &mut self,
        name: &str,
        op: &str,
        shape: &[usize],
        values: Values<'_>,
    ) -> Result<(), TraceError> {
        let n = match values {
            Values::F16(x) => x.len(),
            Values::F32(x) => x.len(),
            Values::F64(x) => x.len(),
        };
        assert_eq!(shape.iter().product::<usize>(), n, "the shape of {name}");
        assert!(!self.evals.is_empty(), "{name} before any evaluation");
        let occurrence = self.seen.entry(name.to_owned()).or_default();
        let node = format!("{name}#{occurrence}");
        *occurrence += 1;
        let begin = self.n_bytes;
        self.n_bytes += values.write(&mut self.file).map_err(TraceError::Write)?;
        let entry = HeaderEntry {
            dtype: values.dtype(),
            shape: shape.iter().map(|n| *n as u64).collect(),
            data_offsets: [begin, self.n_bytes],
        };
        self.entries.insert(format!("{}/{node}", self.evals.len() - 1), entry);
        if !op.is_empty() {
            self.ops.insert(node, op.to_owned());
        }
        Ok(())
    }

    /// Bytes of data so far.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Nodes so far.
    #[must_use]
    pub fn n_nodes(&self) -> usize {
        self.entries.len()
    }

    /// Writes the header, with what the nodes say of `info`'s `evals` and `ops`, and gives the file its name.
    ///
    /// # Errors
    /// `Write`.
    pub fn finish(self, info: TraceInfo) -> Result<(), TraceError> {
        let info = TraceInfo { evals: self.evals, ops: self.ops, ..info };
        let header = header(&info, &self.entries)?;
        let mut file = self.file;
        if header.len() as u64 > self.reserved {
            file = moved(file, header.len() as u64, self.reserved, &self.path)?;
            patch(&mut file, &header, header.len() as u64)?;
        } else {
            patch(&mut file, &header, self.reserved)?;
        }
        let file = file.into_inner().map_err(|e| TraceError::Write(e.into_error()))?;
        file.as_file().sync_all().map_err(TraceError::Write)?;
        file.persist(&self.path).map_err(|e| TraceError::Write(e.error))?;
        Ok(())
    }
}

/// A temporary file beside `path`, with the permissions that any other new file gets.
fn new_file(path: &Path) -> Result<BufWriter<NamedTempFile>, TraceError> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let e = io::Error::new(io::ErrorKind::AlreadyExists, "it is no regular file");
        return Err(TraceError::Write(e));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder.unwrap_or(Path::new("."))).map_err(TraceError::Write)?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

fn header(
    info: &TraceInfo,
    entries: &BTreeMap<String, HeaderEntry>,
) -> Result<Vec<u8>, TraceError> {
    #[derive(serde::Serialize)]
    struct Header<'a> {
        __metadata__: BTreeMap<&'static str, String>,
        #[serde(flatten)]
        entries: &'a BTreeMap<String, HeaderEntry>,
    }
    let header = Header { __metadata__: info.to_metadata()?, entries };
    let mut json = serde_json::to_vec(&header).map_err(|e| TraceError::Write(e.into()))?;
    // safetensors aligns the data to 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}

/// The header in its place, padded with spaces to `n_bytes`.
fn patch(
    file: &mut BufWriter<NamedTempFile>,
    header: &[u8],
    n_bytes: u64,
) -> Result<(), TraceError> {
    let mut write = || -> io::Result<()> {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&n_bytes.to_le_bytes())?;
        file.write_all(header)?;
        io::copy(&mut io::repeat(b' ').take(n_bytes - header.len() as u64), file)?;
        file.flush()
    };
    write().map_err(TraceError::Write)
}

/// The same data behind a header of `to` bytes instead of `from`.
fn moved(
    file: BufWriter<NamedTempFile>,
    to: u64,
    from: u64,
    path: &Path,
) -> Result<BufWriter<NamedTempFile>, TraceError> {
    let mut old = file.into_inner().map_err(|e| TraceError::Write(e.into_error()))?;
    let mut new = new_file(path)?;
    let mut copy = || -> io::Result<u64> {
        old.seek(SeekFrom::Start(8 + from))?;
        new.seek(SeekFrom::Start(8 + to))?;
        io::copy(&mut old, &mut new)
    };
    copy().map_err(TraceError::Write)?;
    Ok(new)
}
