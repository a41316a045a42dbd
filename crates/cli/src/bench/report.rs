//! What is printed: a table for people, JSON and CSV for programs.
use super::{measure::Measured, split::Shares, test::Test};
use crate::{args::BenchOutput, errors::CliError, human, output};
use gguf_parse::{GgmlType, Gguf};
use llama_model::{
    ContextOptions, Isa, KvType,
    bench::{Peak, Peaks, Work},
    synth::SynthFileType,
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// What a file is.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Description {
    /// `llama 135M Q4_1`.
    model: String,
    file: String,
    n_params: u64,
    n_bytes: u64,
}

impl Description {
    pub(super) fn of(path: &Path, gguf: &Gguf) -> Self {
        let sum = |of: fn(&gguf_parse::TensorInfo) -> u64| gguf.tensors().iter().map(of).sum();
        let n_params = sum(|t| t.dims.n_elems() as u64);
        let arch: &str = gguf.metadata().get("general.architecture").unwrap_or("unknown");
        let ty = file_type(gguf);
        Self {
            model: crate::errors::one_line(&format!("{arch} {} {ty}", params(n_params))),
            file: path.display().to_string(),
            n_params,
            n_bytes: sum(|t| t.n_bytes as u64),
        }
    }
}

/// The name of the file's type, or of the type that most of its bytes have.
fn file_type(gguf: &Gguf) -> String {
    let id = gguf.metadata().get::<u32>("general.file_type").ok();
    if let Some(ty) = id.and_then(SynthFileType::from_id) {
        return ty.name().to_owned();
    }
    let mut bytes: BTreeMap<GgmlType, u64> = BTreeMap::new();
    for tensor in gguf.tensors() {
        *bytes.entry(tensor.ty).or_default() += tensor.n_bytes as u64;
    }
    let most = bytes.into_iter().max_by_key(|(_, n)| *n);
    most.map_or_else(String::new, |(ty, _)| ty.name().to_uppercase())
}

/// `135M`, `1.1B`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn params(n: u64) -> String {
    match n {
        // What would be shown as 1000M.
        999_500_000.. => format!("{:.1}B", n as f64 / 1e9),
        _ => format!("{:.0}M", n as f64 / 1e6),
    }
}

/// A test's result.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    description: Description,
    threads: usize,
    isa: &'static str,
    type_k: &'static str,
    type_v: &'static str,
    /// Whether the weights were packed at load.
    repack: bool,
    test: String,
    n_prompt: usize,
    n_gen: usize,
    depth: usize,
    n_seq: usize,
    /// Median of the repetitions.
    tok_per_s: f64,
    /// Half the range of the repetitions.
    spread: f64,
    samples_tok_per_s: Vec<f64>,
    /// What the matrices would take at the multiply peak, as a share of the time.
    of_peak: Option<f64>,
    /// Bytes a generation reads per second, as a share of the read bandwidth.
    of_read: Option<f64>,
    split: Option<Shares>,
}

impl Row {
    pub(super) fn new(
        description: &Description,
        peaks: &Peaks,
        isa: Isa,
        test: &Test,
        measured: &Measured,
        work: &Work<'_>,
    ) -> Self {
        let rates: Vec<f64> =
            measured.times.iter().map(|t| human::rate(test.n_tokens(), t.as_secs_f64())).collect();
        let (tok_per_s, spread) = median_and_spread(&rates);
        #[expect(clippy::cast_precision_loss, reason = "shares of a few digits")]
        let seconds = test.n_tokens() as f64 / tok_per_s;
        #[expect(clippy::cast_precision_loss, reason = "shares of a few digits")]
        let of_read = |bytes: u64| Some(bytes as f64 / seconds / peaks.read?);
        Self {
            description: description.clone(),
            threads: peaks.n_threads,
            isa: isa.name(),
            type_k: KvType::default().name(),
            type_v: KvType::default().name(),
            repack: true,
            test: test.to_string(),
            n_prompt: test.n_prompt,
            n_gen: test.n_gen,
            depth: test.depth,
            n_seq: test.n_seq,
            tok_per_s,
            spread,
            samples_tok_per_s: rates,
            of_peak: peaks.seconds(&test.macs(work)).map(|least| least / seconds),
            of_read: test.bytes(work).and_then(of_read),
            split: measured.split.as_ref().map(|split| split.shares()),
        }
    }
}

impl Row {
    /// Of a context with this cache.
    pub(super) fn with_cache(self, cache: &ContextOptions) -> Self {
        Self { type_k: cache.type_k.name(), type_v: cache.type_v.name(), ..self }
    }

    /// Of a model loaded so.
    pub(super) fn with_repack(self, repack: bool) -> Self {
        Self { repack, ..self }
    }

    /// The test as people read it; behind it the types of the cache, and that weights were not packed at load, where that
    /// is not as usual.
    fn title(&self) -> String {
        let usual = KvType::default().name();
        let mut title = self.test.clone();
        match (self.type_k, self.type_v) {
            (k, v) if k == usual && v == usual => {}
            (k, v) if k == v => title += &format!(" {k}"),
            (k, v) => title += &format!(" {k}/{v}"),
        }
        if !self.repack {
            title += " no-repack";
        }
        title
    }
}

/// The median and half the range.
fn median_and_spread(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return (0.0, 0.0) };
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    (f64::midpoint(low, high), (last - first) / 2.0)
}

/// What `threads` threads could do.
#[derive(Debug, Serialize)]
struct Machine {
    threads: usize,
    read_bytes_per_s: Option<f64>,
    int8_macs_per_s: Option<f64>,
    bf16_macs_per_s: Option<f64>,
    f32_macs_per_s: Option<f64>,
}

impl From<&Peaks> for Machine {
    fn from(peaks: &Peaks) -> Self {
        let rate = |peak: Option<Peak>| peak.map(|peak| peak.macs_per_second);
        Self {
            threads: peaks.n_threads,
            read_bytes_per_s: peaks.read,
            int8_macs_per_s: rate(peaks.int8),
            bf16_macs_per_s: rate(peaks.bf16),
            f32_macs_per_s: rate(peaks.f32),
        }
    }
}

/// Prints rows: as they come for people and CSV, all at the end for JSON.
pub(super) struct Printer {
    kind: BenchOutput,
    split: bool,
    rows: Vec<Row>,
}

impl Printer {
    pub(super) fn new(kind: BenchOutput, split: bool) -> Self {
        Self { kind, split, rows: Vec::new() }
    }

    /// The head of the table.
    pub(super) fn begin(&self) -> Result<(), CliError> {
        match self.kind {
            BenchOutput::Json => Ok(()),
            BenchOutput::Csv => output::print(
                "model,file,n_params,n_bytes,threads,isa,type_k,type_v,repack,test,n_prompt,n_gen,depth,n_seq,\
                 tok_per_s,spread,of_peak,of_read,linears,attention,other\n",
            ),
            BenchOutput::Md => {
                let (names, rule) = match self.split {
                    true => (" linears | attention |  other |", " ------: | --------: | -----: |"),
                    false => ("", ""),
                };
                output::print(&format!(
                    "| {:24} | {:>9} | {:>7} | {:8} | {:18} | {:>18} | {:>7} | {:>7} |{names}\n\
                     | {:-<24} | {:->8}: | {:->6}: | {:-<8} | {:-<18} | {:->17}: | {:->6}: | {:->6}: |{rule}\n",
                    "model",
                    "size",
                    "threads",
                    "isa",
                    "test",
                    "t/s",
                    "of peak",
                    "of read",
                    "",
                    "",
                    "",
                    "",
                    "",
                    "",
                    "",
                    "",
                ))
            }
        }
    }

    pub(super) fn row(&mut self, row: Row) -> Result<(), CliError> {
        match self.kind {
            BenchOutput::Json => {
                self.rows.push(row);
                Ok(())
            }
            BenchOutput::Csv => output::print(&csv(&row)),
            BenchOutput::Md => output::print(&md(&row)),
        }
    }

    /// The end: all rows, or what the shares are shares of.
    pub(super) fn finish(self, peaks: &[Peaks]) -> Result<(), CliError> {
        #[derive(Serialize)]
        struct Report {
            version: &'static str,
            machine: Vec<Machine>,
            results: Vec<Row>,
        }
        match self.kind {
            BenchOutput::Csv => Ok(()),
            BenchOutput::Json => output::print_json(&Report {
                version: env!("CARGO_PKG_VERSION"),
                machine: peaks.iter().map(Machine::from).collect(),
                results: self.rows,
            }),
            BenchOutput::Md => {
                output::print(&format!("\n{}", peaks.iter().map(machine_line).collect::<String>()))
            }
        }
    }
}

/// `2 threads: reads 31.9 GB/s, multiplies 472 GMAC/s int8 (vpdpbusd zmm), …`.
fn machine_line(peaks: &Peaks) -> String {
    let read = peaks.read.map(|rate| format!("reads {:.1} GB/s", rate / 1e9));
    let multiply = |name: &str, peak: Option<Peak>| {
        peak.map(|p| format!("{:.0} GMAC/s {name} ({})", p.macs_per_second / 1e9, p.instruction))
    };
    let parts = [
        read,
        multiply("int8", peaks.int8),
        multiply("bf16", peaks.bf16),
        multiply("f32", peaks.f32),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let n = peaks.n_threads;
    let noun = if n == 1 { "thread" } else { "threads" };
    format!("peak of {n} {noun}: {}\n", parts.join(", "))
}

fn md(row: &Row) -> String {
    let percent = |share: Option<f64>| match share {
        Some(share) => format!("{:.1} %", share * 100.0),
        None => "-".to_owned(),
    };
    let rate = format!("{:.2} ± {:.2}", row.tok_per_s, row.spread);
    let split = row.split.map(|split| {
        let [a, b, c] = [split.linears, split.attention, split.other].map(|s| percent(Some(s)));
        format!(" {a:>7} | {b:>9} | {c:>6} |")
    });
    format!(
        "| {:24} | {:>9} | {:>7} | {:8} | {:18} | {rate:>18} | {:>7} | {:>7} |{}\n",
        row.description.model,
        human::bytes(row.description.n_bytes),
        row.threads,
        row.isa,
        row.title(),
        percent(row.of_peak),
        percent(row.of_read),
        split.unwrap_or_default(),
    )
}

fn csv(row: &Row) -> String {
    // Text comes from files and their names.
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let share = |share: Option<f64>| share.map(|s| format!("{s:.4}")).unwrap_or_default();
    let d = &row.description;
    let mut fields = vec![quoted(&d.model), quoted(&d.file)];
    fields.extend([d.n_params.to_string(), d.n_bytes.to_string(), row.threads.to_string()]);
    fields.extend([row.isa, row.type_k, row.type_v].map(str::to_owned));
    fields.push(row.repack.to_string());
    fields.push(quoted(&row.test));
    let sizes = [row.n_prompt, row.n_gen, row.depth, row.n_seq];
    fields.extend(sizes.map(|n| n.to_string()));
    fields.extend([format!("{:.3}", row.tok_per_s), format!("{:.3}", row.spread)]);
    fields.extend([share(row.of_peak), share(row.of_read)]);
    let split = |of: fn(Shares) -> f64| share(row.split.map(of));
    fields.extend([split(|s| s.linears), split(|s| s.attention), split(|s| s.other)]);
    fields.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let bits = |(a, b): (f64, f64)| (a.to_bits(), b.to_bits());
        assert_eq!(bits(median_and_spread(&[3.0, 1.0, 2.5])), bits((2.5, 1.0)));
        assert_eq!(bits(median_and_spread(&[4.0, 1.0, 2.0, 3.0])), bits((2.5, 1.5)));
        assert_eq!(bits(median_and_spread(&[])), bits((0.0, 0.0)));
    }

    #[test]
    fn sizes_of_models() {
        let cases = [(134_515_008, "135M"), (1_100_048_384, "1.1B"), (999_700_000, "1.0B")];
        for (n, text) in cases {
            assert_eq!(params(n), text);
        }
    }
}
