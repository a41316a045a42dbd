//! Arguments of `lockstep compare`.
use clap::Args;
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  lockstep compare ours.safetensors theirs.safetensors
  lockstep compare ours.safetensors theirs.safetensors --noise native.safetensors --html report.html
  lockstep compare ours.safetensors theirs.safetensors --oracle f64.safetensors --json

A is the trace in question, B what it is held against. The noise floor is what a third trace differs from B by
(--noise), every bit if both name the same arithmetic, else it is derived.
Exit status: 0 in lockstep, 1 diverged, others as `lockstep help` says. docs/porting-guide.md shows how to use it.";

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The trace in question
    pub(crate) a: PathBuf,

    /// The trace it is held against
    pub(crate) b: PathBuf,

    /// A third trace of the same evaluations: what it differs from B by is noise
    #[arg(long, value_name = "TRACE")]
    pub(crate) noise: Option<PathBuf>,

    /// A trace by --numerics oracle: tells which side is further from the truth
    #[arg(long, value_name = "TRACE")]
    pub(crate) oracle: Option<PathBuf>,

    /// Write a report with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Show every node, not only the ends of the layers and what is around the divergence
    #[arg(long, conflicts_with = "json")]
    pub(crate) full: bool,
}
