//! A GGUF file in another file type, byte for byte the one `llama-quantize` makes (without an importance matrix).
//!
//! The source stays mapped, one tensor at a time is converted (rows in parallel), and the target appears under its
//! name only when it is complete. The header's rules: metadata in the source's order, without `split.*`, then
//! `general.quantization_version` and `general.file_type` as the last two; tensors ranked by layer, then name;
//! trailing dimensions of 1 dropped. One departure: an alignment other than 32 is not carried over, because the
//! reference writes 32 then and claims the other.
mod error;
mod file_type;
mod mix;

pub use error::QuantizeError;
pub use file_type::FileType;

use dequant::DequantError;
use gguf_parse::{GgmlType, Gguf, GgufPlan, Metadata, TensorInfo, TensorView, Value};
use mix::{Facts, Source};
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Of the block formats; unchanged since 2023.
pub(crate) const QUANTIZATION_VERSION: u32 = 2;

/// How to quantize.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct QuantizeOptions {
    /// Whether tensors that are quantized already may be converted; they lose more than from their originals.
    pub allow_requantize: bool,
}

impl QuantizeOptions {
    /// Nothing that loses quality twice.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets [`Self::allow_requantize`].
    #[must_use]
    pub fn allow_requantize(mut self, allow: bool) -> Self {
        self.allow_requantize = allow;
        self
    }
}

/// What is about to be done: called before every tensor.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct QuantizeProgress<'a> {
    /// Index of the tensor in the target.
    pub index: usize,
    /// Tensors in all.
    pub n_tensors: usize,
    /// The tensor's name.
    pub name: &'a str,
    /// Its type in the source.
    pub from: GgmlType,
    /// Its type in the target.
    pub to: GgmlType,
    /// Bytes of the source's tensors done before this one.
    pub bytes_done: u64,
    /// Bytes of all the source's tensors.
    pub bytes_total: u64,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuantizeReport {
    /// Tensors written.
    pub n_tensors: usize,
    /// Of these, converted to another type.
    pub n_converted: usize,
    /// Of these, in a type with smaller blocks because their rows are no whole number of blocks of the right one.
    pub n_fallback: usize,
    /// Bytes of the source's tensors.
    pub bytes_from: u64,
    /// Bytes of the target's tensors.
    pub bytes_to: u64,
}

/// Writes the model at `src` (the first file, if it is split) to `dst` as one file of type `file_type`.
/// # Errors
/// As [`quantize_file`], and [`QuantizeError::SameFile`] if `dst` is a file of the source.
pub fn quantize_path(
    src: &Path,
    dst: &Path,
    file_type: FileType,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(QuantizeProgress<'_>) -> ControlFlow<()>,
) -> Result<QuantizeReport, QuantizeError> {
    let source = Gguf::open(src)?;
    if let Ok(target) = dst.canonicalize()
        && shards(src, &source.metadata())
            .iter()
            .any(|path| path.canonicalize().is_ok_and(|path| path == target))
    {
        return Err(QuantizeError::SameFile { path: dst.to_path_buf() });
    }
    quantize_file(&source, dst, file_type, options, progress)
}

/// Writes `src` to `dst` as one file of type `file_type`. `progress` is called before every tensor and may break off;
/// an existing `dst` is replaced only when all is written. Uses rayon's current thread pool; memory is that of the
/// largest tensor of the target.
/// # Errors
/// Metadata that is missing, tensors that cannot be converted or may not be, numbers that are not finite or become
/// so, I/O. None of them leaves anything of the target.
pub fn quantize_file(
    src: &Gguf,
    dst: &Path,
    file_type: FileType,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(QuantizeProgress<'_>) -> ControlFlow<()>,
) -> Result<QuantizeReport, QuantizeError> {
    let mut infos: Vec<&TensorInfo> = src.tensors().iter().collect();
    infos.sort_by_key(|info| mix::rank(&info.name));
    let sources: Vec<Source<'_>> = infos
        .iter()
        .map(|info| Source { name: &info.name, ty: info.ty, ne: trimmed(info.dims.ne()) })
        .collect();
    let metadata = src.metadata();
    let mix = mix::choose(facts(&metadata)?, file_type, &sources)?;
    for (source, &ty) in sources.iter().zip(&mix.types) {
        check_convertible(source, ty, options)?;
    }

    let mut writer = plan(&metadata, file_type, &sources, &mix.types).create(dst)?;
    let mut report = QuantizeReport {
        n_tensors: infos.len(),
        n_converted: 0,
        n_fallback: mix.n_fallback,
        bytes_from: 0,
        bytes_to: 0,
    };
    let bytes_total = infos.iter().map(|info| info.n_bytes as u64).sum();
    let mut buffer = Vec::new();
    for (index, (info, &to)) in infos.iter().zip(&mix.types).enumerate() {
        let (n_tensors, name, from) = (infos.len(), info.name.as_str(), info.ty);
        let bytes_done = report.bytes_from;
        let step = QuantizeProgress { index, n_tensors, name, from, to, bytes_done, bytes_total };
        if progress(step).is_break() {
            return Err(QuantizeError::Cancelled);
        }
        let view = src.tensor(name)?;
        if from == to {
            check_source(name, &view)?;
            writer.write_tensor(view.data)?;
            report.bytes_to += view.data.len() as u64;
        } else {
            convert(name, &view, to, &mut buffer)?;
            writer.write_tensor(&buffer)?;
            report.n_converted += 1;
            report.bytes_to += buffer.len() as u64;
        }
        report.bytes_from += info.n_bytes as u64;
    }
    writer.finish()?;
    Ok(report)
}

/// The types that a file of `file_type` gives to the tensors of a dense model: name, present type and dimensions
/// (innermost first) of each, layers ascending. `n_gqa` is the number of query heads to a head of K and V.
pub(crate) fn mix_types<'a>(
    architecture: &str,
    n_layer: usize,
    n_gqa: usize,
    file_type: FileType,
    tensors: impl Iterator<Item = (&'a str, GgmlType, &'a [u64])>,
) -> Result<Vec<GgmlType>, QuantizeError> {
    let sources: Vec<Source<'_>> =
        tensors.map(|(name, ty, ne)| Source { name, ty, ne: trimmed(ne) }).collect();
    let facts = Facts { architecture, n_layer, n_expert: 0, n_gqa, is_70b: false };
    Ok(mix::choose(facts, file_type, &sources)?.types)
}

/// The files of a model: `path`, and its siblings if it is the first of several.
fn shards(path: &Path, metadata: &Metadata<'_>) -> Vec<PathBuf> {
    let mut paths = vec![path.to_path_buf()];
    let n = metadata.get_opt::<u16>("split.count").ok().flatten().unwrap_or(1);
    let stem = path.file_name().and_then(|name| name.to_str());
    if let Some(stem) = stem.and_then(|name| name.strip_suffix(&format!("-00001-of-{n:05}.gguf"))) {
        paths.extend((2..=n).map(|i| path.with_file_name(format!("{stem}-{i:05}-of-{n:05}.gguf"))));
    }
    paths
}

/// What decides the mix, from the metadata.
fn facts<'a>(metadata: &Metadata<'a>) -> Result<Facts<'a>, QuantizeError> {
    let architecture: &str = metadata.get("general.architecture")?;
    if architecture == "glm5-next" {
        return Err(QuantizeError::Architecture { architecture: architecture.to_owned() });
    }
    let n_layer: u32 = metadata.get(&format!("{architecture}.block_count"))?;
    let n_expert = metadata.get_opt::<u32>(&format!("{architecture}.expert_count"))?.unwrap_or(0);
    let heads = |key| first_u32(metadata.value(&format!("{architecture}.attention.{key}")));
    let n_head = heads("head_count");
    let n_head_kv = heads("head_count_kv").or(n_head);
    let is_70b = match (architecture, n_layer) {
        ("llama", 80) => n_expert <= 1 && n_head != n_head_kv,
        ("qwen2" | "deci" | "olmo", 80) | ("jais2", 68) => true,
        _ => false,
    };
    let n_gqa = n_head.unwrap_or(0).checked_div(n_head_kv.unwrap_or(0)).unwrap_or(0) as usize;
    let (n_layer, n_expert) = (n_layer as usize, n_expert as usize);
    Ok(Facts { architecture, n_layer, n_expert, n_gqa, is_70b })
}

/// A number, or the first of an array of numbers (one a layer).
fn first_u32(value: Option<Value<'_>>) -> Option<u32> {
    match value? {
        Value::U32(n) => Some(n),
        Value::Array(array) => array.iter().next().and_then(|n| match n {
            Value::U32(n) => Some(n),
            Value::I32(n) => u32::try_from(n).ok(),
            _ => None,
        }),
        _ => None,
    }
}

/// Dimensions without trailing ones, but for the first.
fn trimmed(ne: &[u64]) -> &[u64] {
    let n = ne.iter().rposition(|&n| n != 1).map_or(1, |i| i + 1);
    &ne[..n.min(ne.len())]
}

/// Refuses, before anything is written, what would fail later.
fn check_convertible(
    source: &Source<'_>,
    to: GgmlType,
    options: &QuantizeOptions,
) -> Result<(), QuantizeError> {
    let (tensor, from) = (|| source.name.to_owned(), source.ty);
    if from == to {
        Ok(())
    } else if from.block_elems() > 1 && !options.allow_requantize {
        Err(QuantizeError::Requantize { tensor: tensor(), ty: from })
    } else if !dequant::is_supported(from) || !dequant::is_target(to) {
        Err(QuantizeError::Unsupported { tensor: tensor(), from, to })
    } else {
        Ok(())
    }
}

/// The target's header.
fn plan(
    metadata: &Metadata<'_>,
    file_type: FileType,
    sources: &[Source<'_>],
    types: &[GgmlType],
) -> GgufPlan {
    let mut plan = GgufPlan::new();
    for (key, value) in metadata.iter() {
        let is_other_alignment = key == "general.alignment" && value != Value::U32(32);
        let is_split = ["split.no", "split.count", "split.tensors.count"].contains(&key);
        if !is_other_alignment && !is_split {
            plan.set(key, value);
        }
    }
    plan.set("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
    plan.set("general.file_type", Value::U32(file_type.id()));
    for (source, &ty) in sources.iter().zip(types) {
        plan.tensor(source.name, ty, source.ne);
    }
    plan
}

/// Checks the bytes of a tensor whose type stays. Of types unknown here nothing can be said.
fn check_source(name: &str, view: &TensorView<'_>) -> Result<(), QuantizeError> {
    match dequant::check_finite(view.ty, view.data) {
        Ok(()) | Err(DequantError::Unsupported { .. }) => Ok(()),
        Err(source) => Err(QuantizeError::NotFinite { tensor: name.to_owned(), source }),
    }
}

/// Converts a tensor into `out`, which is resized to fit. Rows are spread over threads; a row is independent of all
/// others, so the bytes do not depend on how.
fn convert(
    name: &str,
    view: &TensorView<'_>,
    to: GgmlType,
    out: &mut Vec<u8>,
) -> Result<(), QuantizeError> {
    /// Enough to outweigh the handing out, little enough for the f32 between to stay in a core's cache.
    const CHUNK_ELEMS: usize = 1 << 15;
    let unsupported = || QuantizeError::Unsupported { tensor: name.to_owned(), from: view.ty, to };
    let n_cols = view.dims.n_cols();
    let chunk_rows = CHUNK_ELEMS.div_ceil(n_cols);
    let n_bytes = |ty: GgmlType| ty.row_bytes(n_cols)?.checked_mul(chunk_rows);
    let (from_bytes, to_bytes) = n_bytes(view.ty).zip(n_bytes(to)).ok_or_else(unsupported)?;
    let row_bytes = to.row_bytes(n_cols).ok_or_else(unsupported)?;
    out.resize(row_bytes.checked_mul(view.dims.n_rows()).ok_or_else(unsupported)?, 0);

    let first_error = out
        .par_chunks_mut(to_bytes)
        .zip(view.data.par_chunks(from_bytes))
        .map_init(Vec::new, |x, (out, data)| convert_rows(view.ty, data, n_cols, x, to, out))
        .enumerate()
        .filter_map(|(i, result)| result.err().map(|error| (i, error)))
        .min_by_key(|&(i, _)| i);
    let Some((chunk, error)) = first_error else { return Ok(()) };
    let tensor = name.to_owned();
    Err(match error {
        DequantError::NotFinite { ty, block } => {
            let source = DequantError::NotFinite {
                ty,
                block: block + chunk * chunk_rows * n_cols / ty.block_elems(),
            };
            if ty == view.ty {
                QuantizeError::NotFinite { tensor, source }
            } else {
                QuantizeError::OutOfRange { tensor, to, source }
            }
        }
        _ => unsupported(),
    })
}

/// Converts whole rows, `x` being room for their f32.
fn convert_rows(
    from: GgmlType,
    data: &[u8],
    n_cols: usize,
    x: &mut Vec<f32>,
    to: GgmlType,
    out: &mut [u8],
) -> Result<(), DequantError> {
    dequant::check_finite(from, data)?;
    x.resize(data.len() / from.block_bytes() * from.block_elems(), 0.0);
    dequant::dequantize(from, data, x)?;
    dequant::quantize(to, x, n_cols, out)?;
    dequant::check_finite(to, out)
}
