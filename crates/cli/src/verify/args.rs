//! Arguments of `lockstep verify`.
use clap::Args;
use std::{ffi::OsString, path::PathBuf};

pub(crate) const EXAMPLES: &str = "\
Examples:
  lockstep verify smollm2                            the whole ladder, about half a minute
  lockstep verify model.gguf --quick                 fewer tokens, threads and instruction sets, no checksums
  lockstep verify model.gguf --full -o model.json    also tables; the certificate goes to a file
  lockstep verify model.gguf --json | jq .passed
  lockstep verify model.gguf --trace theirs.safetensors       also against llama.cpp (tools/trace_llama_cpp.py)

The rungs: the file and its SHA-256; header; tokens; chat template; every weight dequantized, hashed and looked at; the
model loaded; a prompt and some steps in three arithmetics, every tensor of them held against the other two; the logits;
and the bits of `fast` with and without cache, in other batches, on other threads and instruction sets,
and of weights that stay in the file.
The certificate of a file is the same at every run on one machine.
Exit status: 0 all rungs hold, 1 one does not, 130 interrupted; where the file itself is broken or cannot be run, that of
`lockstep help` (65, 66, 69, 71).";

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf
    pub(crate) model: OsString,

    /// The text to evaluate [default: one that comes with lockstep]
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,

    /// Read the text from FILE (- is standard input)
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) file: Option<PathBuf>,

    /// Evaluate these token ids instead of a text
    #[arg(long, value_name = "ID,ID,…", value_delimiter = ',', conflicts_with_all = ["prompt", "file"])]
    pub(crate) ids: Option<Vec<u32>>,

    /// Tokens to evaluate; the text is cut to as many [default: 32, --quick: 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) n_tokens: Option<u16>,

    /// Greedy steps behind them [default: 4, --quick: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub(crate) steps: Option<u16>,

    /// Be quick: fewer tokens, threads and instruction sets, and no checksums of tensors
    #[arg(long)]
    pub(crate) quick: bool,

    /// Also hold lockstep against this trace, of llama.cpp or any other engine
    #[arg(long, value_name = "TRACE")]
    pub(crate) trace: Option<PathBuf>,

    /// With --trace: another trace of the same evaluations; what the two differ by is noise
    #[arg(long, value_name = "TRACE", requires = "trace")]
    pub(crate) noise: Option<PathBuf>,

    /// Threads to compute with [default: the physical cores allowed]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Instruction set of fast that the others are held against: auto, scalar, avx2, …
    #[arg(long, value_name = "NAME", default_value = "auto", env = "LOCKSTEP_ISA")]
    pub(crate) isa: String,

    /// Also show the worst error of every stage and the RMS of every layer
    #[arg(long, conflicts_with = "json")]
    pub(crate) full: bool,

    /// Print the certificate, one JSON object, instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the certificate to FILE
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

impl VerifyArgs {
    /// Tokens of the prompt.
    pub(super) fn n_tokens(&self) -> usize {
        self.n_tokens.map_or(if self.quick { 8 } else { 32 }, usize::from)
    }

    /// Steps behind it.
    pub(super) fn n_steps(&self) -> usize {
        self.steps.map_or(if self.quick { 1 } else { 4 }, usize::from)
    }
}
