//! Arguments of `lockstep chat`.
use crate::{args::EngineArgs, sampling::SamplingArgs, template::TemplateOptions};
use clap::Args;
use std::{ffi::OsString, path::PathBuf};

pub(crate) const EXAMPLES: &str = "\
Examples:
  lockstep chat                                   talk to the default model
  lockstep chat qwen2.5-coder-0.5b -c 4096 --system \"You are terse.\"
  lockstep chat model.gguf --temp 0 --context-shift
  lockstep chat --load chat.json                  go on where /save left off

/help in the chat lists its commands. Ctrl-C stops an answer and keeps the chat; Ctrl-D leaves. What one turn has in
common with the last, it does not compute again. Without a terminal, each line of standard input is a message.";

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf [default: smollm2]
    pub(super) name: Option<OsString>,

    /// The same, as for other commands
    #[arg(short, long, value_name = "MODEL", conflicts_with = "name")]
    pub(super) model: Option<OsString>,

    /// A system message in front of the chat; also -sys
    #[arg(long, value_name = "TEXT", alias = "system-prompt", conflicts_with = "load")]
    pub(super) system: Option<String>,

    /// Begin with the messages of a file that /save wrote
    #[arg(long, value_name = "FILE")]
    pub(super) load: Option<PathBuf>,

    /// When the context is full, leave out the oldest messages instead of refusing
    #[arg(long)]
    pub(super) context_shift: bool,

    #[command(flatten)]
    pub(super) engine: EngineArgs,

    #[command(flatten)]
    pub(super) template: TemplateOptions,

    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
}
