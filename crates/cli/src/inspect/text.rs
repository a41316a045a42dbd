//! The view for people.
use super::plan::{self, Plan};
use crate::{errors::one_line, human};
use gguf_parse::{Gguf, Value};
use std::{
    io::{self, Write},
    path::Path,
};

/// How much of an array or a string is shown.
const MAX_ITEMS: usize = 6;
const MAX_CHARS: usize = 100;

/// Writes metadata, tensors and sizes.
pub(super) fn write(out: &mut dyn Write, path: &Path, gguf: &Gguf) -> io::Result<()> {
    let shown = one_line(&path.display().to_string());
    let (size, version) = (human::bytes(gguf.file_bytes()), gguf.version());
    writeln!(out, "{shown}: {size}, GGUF v{version}, alignment {}", gguf.alignment())?;

    writeln!(out, "\nMetadata ({} keys)", gguf.metadata().len())?;
    for (key, value) in gguf.metadata().iter() {
        let ty = type_name(value);
        writeln!(out, "  {:<44} {ty:<12} {}", one_line(key), value_text(value))?;
    }

    writeln!(out, "\nTensors ({})", gguf.tensors().len())?;
    for tensor in gguf.tensors() {
        let shape: Vec<_> = tensor.dims.ne().iter().rev().map(u64::to_string).collect();
        let (shape, size) = (shape.join(" x "), human::bytes(tensor.n_bytes as u64));
        writeln!(
            out,
            "  {:<32} {:<8} {shape:>20} {size:>10}",
            one_line(&tensor.name),
            tensor.ty.name()
        )?;
    }

    write_plan(out, gguf)
}

fn write_plan(out: &mut dyn Write, gguf: &Gguf) -> io::Result<()> {
    let plan = Plan::new(gguf);
    writeln!(out, "\nMemory")?;
    for (ty, sum) in plan::by_type(gguf) {
        let (n_tensors, n_elems) = (sum.n_tensors, human::count(sum.n_elems));
        let size = human::bytes(sum.n_bytes);
        writeln!(
            out,
            "  {:<8} {n_tensors:>5} tensors {n_elems:>18} weights {size:>10}",
            ty.name()
        )?;
    }
    writeln!(out, "  {:<44} {:>10}", "all weights", human::bytes(plan.weights_bytes))?;
    for (ty, per_position) in &plan.kv_bytes_per_position_by_type {
        let label = format!("KV cache for each token ({ty})");
        writeln!(out, "  {label:<44} {:>10}", human::bytes(*per_position))?;
    }
    if let (Some(n_ctx), Some(total)) = (plan.n_ctx_train, plan.total_bytes) {
        let label = format!("weights and the training context ({n_ctx}, f16)");
        writeln!(out, "  {label:<44} {:>10}", human::bytes(total))?;
    }
    Ok(())
}

/// `u32`, `string[49152]`.
fn type_name(value: Value<'_>) -> String {
    match value {
        Value::Array(array) => format!("{}[{}]", array.elem_type().name(), array.len()),
        other => other.value_type().name().to_owned(),
    }
}

/// A value on one line; long ones are cut.
fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Array(array) => {
            let mut items: Vec<_> = array.iter().take(MAX_ITEMS).map(value_text).collect();
            if array.len() > MAX_ITEMS {
                items.push("…".to_owned());
            }
            format!("[{}]", items.join(", "))
        }
        Value::Str(text) => {
            let clipped: String = text.chars().take(MAX_CHARS).collect();
            let dots = if clipped.len() < text.len() { "…" } else { "" };
            format!("\"{}{dots}\"", one_line(&clipped))
        }
        Value::U8(x) => x.to_string(),
        Value::I8(x) => x.to_string(),
        Value::U16(x) => x.to_string(),
        Value::I16(x) => x.to_string(),
        Value::U32(x) => x.to_string(),
        Value::I32(x) => x.to_string(),
        Value::U64(x) => x.to_string(),
        Value::I64(x) => x.to_string(),
        Value::F32(x) => x.to_string(),
        Value::F64(x) => x.to_string(),
        Value::Bool(x) => x.to_string(),
    }
}
