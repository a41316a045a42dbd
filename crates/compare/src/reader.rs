//! Reading traces: the header at once, values node by node.

use crate::TraceError;
use crate::format::{Dtype, HeaderEntry, TraceInfo, clipped};
use half::{bf16, f16};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// More header than a trace of a thousand steps has; safetensors' own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A node of a trace.
#[derive(Debug, Clone)]
pub struct Node {
    /// The evaluation it belongs to.
    pub eval: usize,
    /// llama.cpp's name (`Qcur-0`).
    pub name: String,
    /// How many nodes of this name came before in the evaluation.
    pub occurrence: usize,
    /// ggml's operation, if the trace tells.
    pub op: Option<String>,
    /// Outermost first.
    pub shape: Vec<usize>,
    dtype: Dtype,
    begin: u64,
}

impl Node {
    /// The name without the layer: `Qcur`, `cache_k`, `result_norm`.
    #[must_use]
    pub fn label(&self) -> &str {
        split_name(&self.name).0
    }

    /// The layer, if it belongs to one.
    #[must_use]
    pub fn layer(&self) -> Option<usize> {
        split_name(&self.name).1
    }

    /// Elements.
    #[must_use]
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// `Qcur-0` is `Qcur` of layer 0, `cache_k_l0` is `cache_k` of layer 0.
fn split_name(name: &str) -> (&str, Option<usize>) {
    let split =
        if name.starts_with("cache_") { name.rsplit_once("_l") } else { name.rsplit_once('-') };
    match split.and_then(|(label, il)| Some((label, il.parse().ok()?))) {
        Some((label, il)) => (label, Some(il)),
        None => (name, None),
    }
}

/// An open trace.
#[derive(Debug)]
pub struct TraceFile {
    file: File,
    data_start: u64,
    info: TraceInfo,
    /// In the order of the file, which is that of the graph.
    nodes: Vec<Node>,
    index: HashMap<(usize, String, usize), usize>,
}

impl TraceFile {
    /// Opens a trace and checks its header.
    ///
    /// # Errors
    /// `Open`, or what is wrong with the file.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let mut file = File::open(path).map_err(TraceError::Open)?;
        let metadata = file.metadata().map_err(TraceError::Open)?;
        if !metadata.is_file() {
            return Err(TraceError::NotSafetensors { what: "it is no regular file" });
        }
        let short = TraceError::NotSafetensors { what: "it ends within the header" };
        let mut n = [0; 8];
        if metadata.len() < 8 {
            return Err(short);
        }
        file.read_exact(&mut n).map_err(TraceError::Open)?;
        let n = u64::from_le_bytes(n);
        if n > MAX_HEADER_BYTES {
            return Err(TraceError::HeaderTooLarge { n_bytes: n, max: MAX_HEADER_BYTES });
        }
        let Some(n_data) = metadata.len().checked_sub(8 + n) else { return Err(short) };
        let mut json = Vec::new();
        (&mut file).take(n).read_to_end(&mut json).map_err(TraceError::Open)?;
        let header: BTreeMap<String, Value> =
            serde_json::from_slice(&json).map_err(TraceError::Header)?;
        Self::with_header(file, 8 + n, n_data, header)
    }

    fn with_header(
        file: File,
        data_start: u64,
        n_data: u64,
        mut header: BTreeMap<String, Value>,
    ) -> Result<Self, TraceError> {
        let metadata = header.remove("__metadata__").unwrap_or_default();
        let metadata = serde_json::from_value(metadata).map_err(TraceError::Header)?;
        let info = TraceInfo::from_metadata(&metadata)?;
        let mut nodes = Vec::with_capacity(header.len());
        for (name, entry) in header {
            let node = node(&name, entry, n_data, &info)
                .map_err(|problem| TraceError::Tensor { name: clipped(&name), problem })?;
            nodes.push(node);
        }
        nodes.sort_by_key(|node| (node.eval, node.begin));
        let key = |node: &Node| (node.eval, node.name.clone(), node.occurrence);
        let index = nodes.iter().enumerate().map(|(i, node)| (key(node), i)).collect();
        Ok(Self { file, data_start, info, nodes, index })
    }

    /// What the trace says of itself.
    #[must_use]
    pub fn info(&self) -> &TraceInfo {
        &self.info
    }

    /// Its nodes, in the order of the graph, evaluation by evaluation.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, eval: usize, name: &str, occurrence: usize) -> Option<&Node> {
        self.nodes.get(*self.index.get(&(eval, name.to_owned(), occurrence))?)
    }

    /// A node's values, row-major.
    ///
    /// # Errors
    /// `Open`.
    pub fn values(&self, node: &Node) -> Result<Vec<f64>, TraceError> {
        let n = node.n_elements() as u64 * node.dtype.n_bytes();
        let mut bytes = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.data_start + node.begin)).map_err(TraceError::Open)?;
        file.take(n).read_to_end(&mut bytes).map_err(TraceError::Open)?;
        if (bytes.len() as u64) < n {
            return Err(TraceError::NotSafetensors { what: "it was cut while it was open" });
        }
        Ok(match node.dtype {
            Dtype::F16 => decode(&bytes, |b| f16::from_le_bytes(b).to_f64()),
            Dtype::BF16 => decode(&bytes, |b| bf16::from_le_bytes(b).to_f64()),
            Dtype::F32 => decode(&bytes, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => decode(&bytes, f64::from_le_bytes),
        })
    }
}

fn decode<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.as_chunks::<N>().0.iter().map(|b| value(*b)).collect()
}

/// `0/Qcur-0#1` and its entry, checked.
fn node(key: &str, entry: Value, n_data: u64, info: &TraceInfo) -> Result<Node, &'static str> {
    let form = "the name must be EVALUATION/NAME#OCCURRENCE";
    let (eval, node) = key.split_once('/').ok_or(form)?;
    let (name, occurrence) = node.rsplit_once('#').ok_or(form)?;
    let eval: usize = eval.parse().map_err(|_| form)?;
    if eval >= info.evals.len() {
        return Err("its evaluation is not listed in the metadata");
    }
    let entry: HeaderEntry = serde_json::from_value(entry)
        .map_err(|_| "the entry must have shape, data_offsets, and dtype F64, F32, F16 or BF16")?;
    let [begin, end] = entry.data_offsets;
    let n_bytes = entry.shape.iter().try_fold(entry.dtype.n_bytes(), |n, d| n.checked_mul(*d));
    if begin > end || end > n_data || n_bytes != Some(end - begin) {
        return Err("its data_offsets do not fit its shape or the file");
    }
    let shape = entry.shape.iter().map(|d| usize::try_from(*d)).collect::<Result<_, _>>();
    Ok(Node {
        eval,
        name: name.to_owned(),
        occurrence: occurrence.parse().map_err(|_| form)?,
        op: info.ops.get(node).cloned(),
        shape: shape.map_err(|_| "its shape is too large for this machine")?,
        dtype: entry.dtype,
        begin,
    })
}
