//! Writing GGUF v3: plan the header, then stream the tensors. Atomic: a temporary file beside the target, fsync,
//! rename; dropped before [`GgufWriter::finish`], nothing is left.
use crate::header::{self, ALIGNMENT_KEY, DEFAULT_ALIGNMENT};
use crate::limits::to_u64;
use crate::tensor::Dims;
use crate::{GgmlType, GgufError, Value, ValueType};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The header of a file to write: metadata and tensor table, in order.
#[derive(Debug, Clone, Default)]
pub struct GgufPlan {
    /// A removed pair leaves a hole.
    pairs: Vec<Option<PlannedPair>>,
    by_key: HashMap<String, usize>,
    tensors: Vec<PlannedTensor>,
}

#[derive(Debug, Clone)]
struct PlannedPair {
    key: String,
    /// Type and value as the file holds them.
    encoded: Vec<u8>,
}

#[derive(Debug, Clone)]
struct PlannedTensor {
    name: String,
    ty: GgmlType,
    ne: Vec<u64>,
}

impl GgufPlan {
    /// An empty plan, alignment 32.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata pair; an existing key is removed first and the new pair goes last, as ggml does.
    /// The value is encoded at once, so it need not outlive the call. Arrays of another file are copied as they are.
    ///
    /// `general.alignment` changes the alignment of the tensors, too.
    pub fn set(&mut self, key: &str, value: Value<'_>) -> &mut Self {
        let mut encoded = value.value_type().id().to_le_bytes().to_vec();
        match value {
            Value::U8(x) => encoded.extend(x.to_le_bytes()),
            Value::I8(x) => encoded.extend(x.to_le_bytes()),
            Value::U16(x) => encoded.extend(x.to_le_bytes()),
            Value::I16(x) => encoded.extend(x.to_le_bytes()),
            Value::U32(x) => encoded.extend(x.to_le_bytes()),
            Value::I32(x) => encoded.extend(x.to_le_bytes()),
            Value::F32(x) => encoded.extend(x.to_le_bytes()),
            Value::U64(x) => encoded.extend(x.to_le_bytes()),
            Value::I64(x) => encoded.extend(x.to_le_bytes()),
            Value::F64(x) => encoded.extend(x.to_le_bytes()),
            Value::Bool(x) => encoded.push(u8::from(x)),
            Value::Str(text) => put_string(&mut encoded, text),
            Value::Array(array) => {
                put_array_start(&mut encoded, array.elem_type(), array.len());
                encoded.extend(array.bytes);
            }
        }
        self.put(key, encoded)
    }

    /// Adds an array of strings.
    pub fn set_strs(&mut self, key: &str, items: &[&str]) -> &mut Self {
        self.put_array(key, ValueType::Str, items, |out, text| put_string(out, text))
    }

    /// Adds an array of `f32`.
    pub fn set_f32s(&mut self, key: &str, items: &[f32]) -> &mut Self {
        self.put_array(key, ValueType::F32, items, |out, x| out.extend(x.to_le_bytes()))
    }

    /// Adds an array of `i32`.
    pub fn set_i32s(&mut self, key: &str, items: &[i32]) -> &mut Self {
        self.put_array(key, ValueType::I32, items, |out, x| out.extend(x.to_le_bytes()))
    }

    /// Adds an array of `u32`.
    pub fn set_u32s(&mut self, key: &str, items: &[u32]) -> &mut Self {
        self.put_array(key, ValueType::U32, items, |out, x| out.extend(x.to_le_bytes()))
    }

    /// Adds an array of `u8`.
    pub fn set_u8s(&mut self, key: &str, items: &[u8]) -> &mut Self {
        self.put_array(key, ValueType::U8, items, |out, x| out.push(*x))
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        if let Some(at) = self.by_key.remove(key) {
            self.pairs[at] = None;
        }
        self
    }

    /// Adds a tensor; `ne` innermost first. Outermost dimensions of 1 are left out, as ggml does.
    pub fn tensor(&mut self, name: &str, ty: GgmlType, ne: &[u64]) -> &mut Self {
        let n_dims = ne.iter().rposition(|&n| n != 1).map_or(1, |last| last + 1);
        let ne = ne.get(..n_dims).unwrap_or(ne);
        self.tensors.push(PlannedTensor { name: name.to_string(), ty, ne: ne.to_vec() });
        self
    }

    /// Creates the temporary file and writes the header.
    /// # Errors
    /// What [`Gguf::open`](crate::Gguf::open) would find wrong with such a file: a tensor that is no whole number
    /// of blocks, a name that is too long or there twice, an alignment that is none. And I/O errors.
    pub fn create(&self, path: &Path) -> Result<GgufWriter, GgufError> {
        let layout = self.layout()?;
        let mut file = TemporaryFile::beside(path)?;
        file.write(&layout.header)?;
        Ok(GgufWriter { file, slots: layout.slots, written: 0 })
    }

    /// The whole file in memory: the header, then `data` tensor by tensor. For tests and small models.
    /// # Errors
    /// As [`Self::create`], and a tensor whose bytes do not match its table entry.
    pub fn to_bytes(&self, data: &[&[u8]]) -> Result<Vec<u8>, GgufError> {
        let Layout { header: mut file, slots } = self.layout()?;
        if data.len() != slots.len() {
            return Err(GgufError::DataCount { found: data.len(), expected: slots.len() });
        }
        for (slot, data) in slots.iter().zip(data) {
            slot.check(data)?;
            file.extend(*data);
            file.resize(file.len().saturating_add(slot.padding), 0);
        }
        Ok(file)
    }

    /// Everything before the data section: header and padding.
    /// # Errors
    /// As [`Self::create`].
    pub fn header_bytes(&self) -> Result<Vec<u8>, GgufError> {
        Ok(self.layout()?.header)
    }

    fn put(&mut self, key: &str, encoded: Vec<u8>) -> &mut Self {
        self.remove(key);
        self.by_key.insert(key.to_string(), self.pairs.len());
        self.pairs.push(Some(PlannedPair { key: key.to_string(), encoded }));
        self
    }

    fn put_array<T>(
        &mut self,
        key: &str,
        elem: ValueType,
        items: &[T],
        put: impl Fn(&mut Vec<u8>, &T),
    ) -> &mut Self {
        let mut encoded = ValueType::Array.id().to_le_bytes().to_vec();
        put_array_start(&mut encoded, elem, items.len());
        for item in items {
            put(&mut encoded, item);
        }
        self.put(key, encoded)
    }

    /// The header's bytes, and what follows. The header is read back by this crate's own parser, so what is written
    /// can be opened.
    fn layout(&self) -> Result<Layout, GgufError> {
        let alignment = self.alignment();
        let mut header = b"GGUF".to_vec();
        header.extend(3_u32.to_le_bytes());
        header.extend(to_u64(self.tensors.len()).to_le_bytes());
        header.extend(to_u64(self.by_key.len()).to_le_bytes());
        for pair in self.pairs.iter().flatten() {
            put_string(&mut header, &pair.key);
            header.extend(&pair.encoded);
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            put_string(&mut header, &tensor.name);
            let n_dims = u32::try_from(tensor.ne.len()).unwrap_or(u32::MAX);
            header.extend(n_dims.to_le_bytes());
            header.extend(tensor.ne.iter().flat_map(|n| n.to_le_bytes()));
            header.extend(tensor.ty.id().to_le_bytes());
            header.extend(offset.to_le_bytes());
            // What has no size is refused below, whatever its offset.
            let n_bytes =
                Dims::new(&tensor.ne).and_then(|dims| dims.n_bytes(tensor.ty)).unwrap_or(0);
            offset = offset
                .saturating_add(to_u64(n_bytes))
                .checked_next_multiple_of(alignment)
                .unwrap_or(u64::MAX);
        }
        let parsed = header::parse(&header)?;
        header.resize(header.len().saturating_add(padding(header.len(), parsed.alignment)), 0);
        let slot = |info: crate::TensorInfo| Slot {
            padding: padding(info.n_bytes, parsed.alignment),
            name: info.name,
            n_bytes: info.n_bytes,
        };
        Ok(Layout { header, slots: parsed.tensors.into_iter().map(slot).collect() })
    }

    /// The alignment the plan asks for; the parser judges it.
    fn alignment(&self) -> u64 {
        let pair = self.by_key.get(ALIGNMENT_KEY).and_then(|&at| self.pairs[at].as_ref());
        let bytes = pair.and_then(|pair| pair.encoded.get(4..8)?.try_into().ok());
        u64::from(bytes.map_or(DEFAULT_ALIGNMENT, u32::from_le_bytes)).max(1)
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend(to_u64(text.len()).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_array_start(out: &mut Vec<u8>, elem: ValueType, n: usize) {
    out.extend(elem.id().to_le_bytes());
    out.extend(to_u64(n).to_le_bytes());
}

/// Zeros after `len` bytes; less than an alignment, which is at most 1 MiB.
fn padding(len: usize, alignment: u64) -> usize {
    let alignment = usize::try_from(alignment).unwrap_or(1);
    len.wrapping_neg() & alignment.wrapping_sub(1)
}

struct Layout {
    header: Vec<u8>,
    slots: Vec<Slot>,
}

/// What is to be written of a tensor.
#[derive(Debug)]
struct Slot {
    name: String,
    n_bytes: usize,
    padding: usize,
}

impl Slot {
    fn check(&self, data: &[u8]) -> Result<(), GgufError> {
        if data.len() == self.n_bytes {
            return Ok(());
        }
        let (found, expected) = (to_u64(data.len()), to_u64(self.n_bytes));
        Err(GgufError::DataSize { name: self.name.clone(), found, expected })
    }
}

/// A file being written: call [`Self::write_tensor`] once per planned tensor, in order, then [`Self::finish`].
#[derive(Debug)]
pub struct GgufWriter {
    file: TemporaryFile,
    slots: Vec<Slot>,
    written: usize,
}

impl GgufWriter {
    /// Writes the next tensor's bytes and its padding.
    /// # Errors
    /// A size that does not match the plan, and I/O errors.
    pub fn write_tensor(&mut self, data: &[u8]) -> Result<(), GgufError> {
        let Some(slot) = self.slots.get(self.written) else {
            return Err(GgufError::DataCount {
                found: self.written.saturating_add(1),
                expected: self.slots.len(),
            });
        };
        slot.check(data)?;
        self.file.write(data)?;
        self.file.write(&vec![0; slot.padding])?;
        self.written += 1;
        Ok(())
    }

    /// Flushes, syncs and renames.
    /// # Errors
    /// Tensors missing, and I/O errors.
    pub fn finish(self) -> Result<(), GgufError> {
        if self.written != self.slots.len() {
            return Err(GgufError::DataCount { found: self.written, expected: self.slots.len() });
        }
        self.file.persist()
    }
}

/// A file that has its name only once it is whole.
#[derive(Debug)]
struct TemporaryFile {
    file: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
    persisted: bool,
}

impl TemporaryFile {
    fn beside(target: &Path) -> Result<Self, GgufError> {
        let error = |action, source| GgufError::Write { action, path: target.into(), source };
        // Renaming would put a file in the place of a device or a pipe, and of a folder fail after all the work.
        if fs::metadata(target).is_ok_and(|found| !found.is_file()) {
            let source = io::Error::other("it is no regular file");
            return Err(error("replacing what is there", source));
        }
        // Unique on this machine among the living; `create_new` settles who of this process was first.
        for n in 0_u32.. {
            let mut name = target.file_name().unwrap_or_default().to_os_string();
            name.push(format!(".{}-{n}.part", std::process::id()));
            let temporary = target.with_file_name(name);
            match File::create_new(&temporary) {
                Ok(file) => {
                    let file = BufWriter::with_capacity(1 << 20, file);
                    let target = target.to_path_buf();
                    return Ok(Self { file, temporary, target, persisted: false });
                }
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(error("creating the file", source)),
            }
        }
        Err(error("creating the file", io::ErrorKind::AlreadyExists.into()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), GgufError> {
        self.file.write_all(bytes).map_err(|source| self.error("writing", source))
    }

    fn persist(mut self) -> Result<(), GgufError> {
        self.file.flush().map_err(|source| self.error("writing", source))?;
        self.file.get_ref().sync_all().map_err(|source| self.error("syncing", source))?;
        fs::rename(&self.temporary, &self.target)
            .map_err(|source| self.error("renaming", source))?;
        self.persisted = true;
        self.sync_folder().map_err(|source| self.error("syncing the folder", source))
    }

    /// Makes the new name durable; only Unix can open a folder for that.
    fn sync_folder(&self) -> io::Result<()> {
        if cfg!(unix) {
            let folder = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    }

    fn error(&self, action: &'static str, source: io::Error) -> GgufError {
        GgufError::Write { action, path: self.target.clone(), source }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.persisted {
            // Nothing can be done about a failure here, and the file has a name of its own.
            drop(fs::remove_file(&self.temporary));
        }
    }
}
