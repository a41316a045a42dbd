//! The command line of `perplexity`.
use crate::{
    args::{Limit, LoadArgs, NumericsArg},
    cache::CacheArgs,
};
use clap::Args;
use std::{ffi::OsString, path::PathBuf};

pub(crate) const EXAMPLES: &str = "\
Examples:
  lockstep perplexity smollm2 -f wiki.test.raw
  lockstep perplexity smollm2 -f wiki.test.raw --chunks 10 --numerics reference
  lockstep perplexity big.gguf -f wiki.test.raw --kl-base big.kld     write what others are compared with
  lockstep perplexity small.gguf --kl-base big.kld --kl-divergence    compare

The text is cut into chunks of --ctx-size tokens; each begins with the token that begins texts, if the model has one,
and its second half is scored: llama-perplexity's way, and so its number. Its --kl-divergence-base files can be read
here, and those written here there.";

#[derive(Debug, Args)]
pub(crate) struct PerplexityArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf
    pub(crate) model: OsString,

    /// The text (- is standard input); one newline at its end is dropped
    #[arg(short, long, value_name = "FILE", required_unless_present = "kl_divergence")]
    pub(crate) file: Option<PathBuf>,

    /// Tokens of a chunk
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    pub(crate) ctx_size: usize,

    /// Chunks to compute; -1: all
    #[arg(long, value_name = "N", default_value = "-1")]
    pub(crate) chunks: Limit,

    /// Write the probabilities of all tokens to FILE, for others to be compared with
    #[arg(long, value_name = "FILE", visible_alias = "kl-divergence-base")]
    pub(crate) kl_base: Option<PathBuf>,

    /// Compare with the probabilities in the file of --kl-base, on the text that is in it
    #[arg(long, requires = "kl_base", conflicts_with_all = ["file", "ctx_size"])]
    pub(crate) kl_divergence: bool,

    /// Write all logits to FILE, as a NumPy array [chunks * (ctx-size - 1), vocabulary] of f32
    #[arg(long, value_name = "FILE")]
    pub(crate) logits: Option<PathBuf>,

    /// Threads to compute with [default: the physical cores allowed]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Arithmetic: fast; reference (bit-identical to llama.cpp's scalar build); oracle (f64)
    #[arg(long, value_name = "KIND", default_value = "fast")]
    pub(crate) numerics: NumericsArg,

    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// Instruction set of fast: auto, scalar, avx2, …
    #[arg(long, value_name = "NAME", default_value = "auto", env = "LOCKSTEP_ISA")]
    pub(crate) isa: String,

    #[command(flatten)]
    pub(crate) load: LoadArgs,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}
