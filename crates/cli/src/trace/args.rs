//! Arguments of `lockstep trace`.
use crate::args::{LoadArgs, NumericsArg};
use clap::Args;
use std::{ffi::OsString, path::PathBuf};

pub(crate) const EXAMPLES: &str = "\
Examples:
  lockstep trace smollm2 -p \"The capital of France is\" --numerics reference --all -o ours.safetensors
  lockstep trace smollm2 --like theirs.safetensors -o ours.safetensors     the same tokens, step by step
  lockstep trace model.gguf -p Hello --steps 16 --nodes \"l_out-*\" --nodes result_output -o rms.safetensors
  lockstep compare ours.safetensors theirs.safetensors

docs/trace-format.md describes the file, and how any other engine writes one.";

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf
    pub(crate) model: OsString,

    /// The prompt; without it (and without -f, --ids or --like) standard input is read
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,

    /// Read the prompt from FILE (- is standard input)
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) file: Option<PathBuf>,

    /// The prompt's token ids
    #[arg(long, value_name = "ID,ID,…", value_delimiter = ',', conflicts_with_all = ["prompt", "file"])]
    pub(crate) ids: Option<Vec<u32>>,

    /// Evaluate the tokens that another trace evaluated, prompt and steps
    #[arg(long, value_name = "TRACE", conflicts_with_all = ["prompt", "file", "ids", "steps"])]
    pub(crate) like: Option<PathBuf>,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Greedy steps behind the prompt
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=65536))]
    pub(crate) steps: u32,

    /// Only nodes whose name fits (* stands for anything, ? for one character); may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) nodes: Vec<String>,

    /// Also attention scores, softmax and weighted values (kq, kq_soft_max, kqv), where the arithmetic has them
    #[arg(long)]
    pub(crate) attention: bool,

    /// Also what the KV cache holds behind each evaluation
    #[arg(long)]
    pub(crate) kv_cache: bool,

    /// Also the rotations of the tokens' positions (rope_table): a cosine and a sine for each pair
    #[arg(long)]
    pub(crate) rope: bool,

    /// Every node of the graph and the cache: --attention --kv-cache
    #[arg(long)]
    pub(crate) all: bool,

    /// Arithmetic: fast; reference (bit-identical to llama.cpp's scalar build); oracle (f64)
    #[arg(long, value_name = "KIND", default_value = "fast")]
    pub(crate) numerics: NumericsArg,

    /// Threads to compute with [default: the physical cores allowed]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Instruction set of fast: auto, scalar, avx2, …
    #[arg(long, value_name = "NAME", default_value = "auto", env = "LOCKSTEP_ISA")]
    pub(crate) isa: String,

    #[command(flatten)]
    pub(crate) load: LoadArgs,
}
