//! The command line.
use crate::{
    cache::CacheArgs,
    manual::{CompletionsArgs, ManArgs},
    pull::{ListArgs, PullArgs, RmArgs},
    sampling::SamplingArgs,
    show::ShowArgs,
    template::{TemplateArgs, TemplateOptions},
};
use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use llama_model::Numerics;
use std::{ffi::OsString, path::PathBuf, str::FromStr};

/// Runs GGUF language models on CPUs, in lockstep with llama.cpp.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print errors and warnings as JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json_errors: bool,
}

const EXAMPLES: &str = "\
Examples:
  lockstep run \"The capital of France is\"        the default model answers
  lockstep chat                                  a conversation with it
  lockstep run -m path/to/model.gguf -f prompt.txt -n 100 --temp 0
  lockstep inspect smollm2                       what is in the file
  lockstep quantize model.gguf small.gguf Q4_K_M

A MODEL is a path, a short name (see `lockstep list`), hf:OWNER/REPO/FILE.gguf, or hf:OWNER/REPO:QUANT.
Exit status: 0 success, 1 `compare` or `verify` found a difference, 2 usage, 65 malformed input,
66 missing or unreadable input, 69 not supported, 70 a defect of lockstep, 71 not enough memory,
74 input/output error, 130 interrupted.";

const RUN_EXAMPLES: &str = "\
Examples:
  lockstep run \"Why is the sky blue?\" -n 64
  lockstep run \"Once upon a time\" --raw          the text goes on as it is, without the model's chat template
  lockstep run \"2 + 2 =\" --raw --temp 0           the most likely token at each step
  echo \"Roses are red,\" | lockstep run --seed 7   the prompt from standard input
  lockstep run --ids 504,3575,282 --json --logits 5
  lockstep run \"Hello\" --numerics reference       the bits of llama.cpp's scalar build";

const BENCH_EXAMPLES: &str = "\
Examples:
  lockstep bench                                 a prompt of 512 tokens, then 128 tokens one by one
  lockstep bench -m a.gguf -m b.gguf -p 512,4096 -n 32 -d 0,4096
  lockstep bench -p 0 -n 64 -np 1,2,4,8          several sequences at once: tokens of all of them
  lockstep bench -t 1,2 -o json

A row is one test: pp512 reads a prompt, tg128 generates, pp512+tg128 does both; `@ d4096` begins behind 4096 tokens,
`x4` extends four sequences at once. Shown are the median of the repetitions and half their range. `of peak` is the
time the matrices would take at this machine's multiply peak, `of read` what generation reads of weights and cache
at its read bandwidth; both are measured first, on as many threads.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer a prompt, or continue a text
    #[command(after_help = RUN_EXAMPLES, allow_negative_numbers = true)]
    Run(Box<RunArgs>),
    /// Talk to a model
    #[command(after_help = crate::chat::args::EXAMPLES, allow_negative_numbers = true, args_override_self = true)]
    Chat(Box<crate::chat::args::ChatArgs>),
    /// Show how a text is cut into tokens
    Tokenize(TokenizeArgs),
    /// Show the prompt that a model's chat template makes of a conversation
    #[command(after_help = crate::template::EXAMPLES)]
    Template(TemplateArgs),
    /// Show a model's metadata, tensors and memory needs
    Inspect(InspectArgs),
    /// Write a model with other tensor types
    Quantize(QuantizeArgs),
    /// Measure how fast models run, and how far that is from what the machine could do
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(BenchArgs),
    /// Measure how well a model predicts a text, and how far it is from another
    #[command(after_help = crate::perplexity::args::EXAMPLES, allow_negative_numbers = true)]
    Perplexity(Box<crate::perplexity::args::PerplexityArgs>),
    /// Write down every tensor of an evaluation
    #[command(after_help = crate::trace::args::EXAMPLES)]
    Trace(crate::trace::args::TraceArgs),
    /// Find where two traces part
    #[command(after_help = crate::compare::args::EXAMPLES)]
    Compare(crate::compare::args::CompareArgs),
    /// Check a model's file and everything lockstep computes from it
    #[command(after_help = crate::verify::args::EXAMPLES)]
    Verify(Box<crate::verify::args::VerifyArgs>),
    /// Write a model of random weights, to measure a shape without having a model of it
    Synth(SynthArgs),
    /// Fetch a model into the cache and print its path
    Pull(PullArgs),
    /// List the models that have a short name, and what the cache holds
    List(ListArgs),
    /// Remove models from the cache
    Rm(RmArgs),
    /// Show what a model is: architecture, parameters, quantization, context, license
    Show(ShowArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What the model is asked, or with --raw the text to continue; without it (and without -f or --ids) standard input is read
    pub(crate) prompt: Option<String>,

    /// Read the prompt from FILE (- is standard input); one newline at its end is dropped
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) file: Option<PathBuf>,

    /// The same as PROMPT, for those who know llama.cpp
    #[arg(short = 'p', long = "prompt", value_name = "PROMPT", conflicts_with_all = ["prompt", "file"])]
    flag_prompt: Option<String>,

    /// Start from these token ids instead of a text
    #[arg(long, value_name = "ID,ID,…", value_delimiter = ',', conflicts_with_all = ["prompt", "flag_prompt", "file"])]
    pub(crate) ids: Option<Vec<u32>>,

    /// Path, short name, or hf:OWNER/REPO/FILE.gguf
    #[arg(short, long, value_name = "MODEL", default_value = "smollm2")]
    pub(crate) model: OsString,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Compute everything anew at every step; slow, and the same bits
    #[arg(long)]
    pub(crate) no_kv_cache: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// With --json: show this many highest logits for each token
    #[arg(long, value_name = "K", default_value_t = 10, requires = "json")]
    pub(crate) logits: usize,

    /// Continue the text as it is, without the model's chat template; also -no-cnv
    #[arg(long, conflicts_with_all = ["system", "chat_template_file"])]
    pub(crate) raw: bool,

    /// A system message in front of the prompt; also -sys
    #[arg(long, value_name = "TEXT", alias = "system-prompt", conflicts_with = "ids")]
    pub(crate) system: Option<String>,

    #[command(flatten)]
    pub(crate) template: TemplateOptions,

    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

impl RunArgs {
    /// The prompt, whichever way it was given.
    pub(crate) fn text(&self) -> Option<&str> {
        self.prompt.as_deref().or(self.flag_prompt.as_deref())
    }
}

/// How a model is loaded.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// With fast: no packed copy of the weights, each is packed when it is read: quick to load, slow to generate, the same
    /// bits; may be written -nr
    #[arg(long)]
    pub(crate) no_repack: bool,
}

/// How a model is run, and for how long.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Tokens to generate; -1: until the text ends or the context is full
    #[arg(short, long, value_name = "N", default_value = "-1")]
    pub(crate) n_predict: Limit,

    /// Context size in tokens; 0: that of the model's training, or what half of the free memory holds
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub(crate) ctx_size: usize,

    /// Threads to compute with [default: the physical cores allowed]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Arithmetic: fast; reference (bit-identical to llama.cpp's scalar build); oracle (f64)
    #[arg(long, value_name = "KIND", default_value = "fast")]
    pub(crate) numerics: NumericsArg,

    /// Instruction set of fast: auto, scalar, avx2, …
    #[arg(long, value_name = "NAME", default_value = "auto", env = "LOCKSTEP_ISA")]
    pub(crate) isa: String,

    #[command(flatten)]
    pub(crate) load: LoadArgs,

    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// Never end the text: ban the tokens that end it
    #[arg(long)]
    pub(crate) ignore_eos: bool,

    /// End the text in front of TEXT; may be repeated; also --reverse-prompt
    #[arg(short = 'r', long, value_name = "TEXT", alias = "reverse-prompt", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stop: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TokenizeArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf
    pub(crate) model: OsString,
    /// The text; without it standard input is read
    pub(crate) text: Option<String>,
    /// Read NUL-separated texts from standard input and print a JSON array of ids for each
    #[arg(long, conflicts_with_all = ["text", "ids_only"])]
    pub(crate) null: bool,
    /// Add no special tokens, and take those written in the text as text
    #[arg(long)]
    pub(crate) no_special: bool,
    /// Print one JSON array of ids instead of a table
    #[arg(long)]
    pub(crate) ids_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf
    pub(crate) model: OsString,
    /// Print one JSON object, arrays in full
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf
    pub(crate) src: OsString,
    /// The file to write
    pub(crate) dst: PathBuf,
    /// F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_0, IQ4_NL or IQ4_XS
    #[arg(value_name = "TYPE")]
    pub(crate) ty: String,
    /// Also take a source that is quantized already; the losses add up
    #[arg(long)]
    pub(crate) allow_requantize: bool,
}

/// The most tokens of a test.
const MAX_TOKENS: u64 = 1 << 20;

/// A number of tokens.
fn tokens(text: &str) -> Result<usize, String> {
    let n = text.trim().parse::<u64>().ok().filter(|n| *n <= MAX_TOKENS);
    let wanted = || format!("must be a number of tokens up to {MAX_TOKENS}");
    n.and_then(|n| usize::try_from(n).ok()).ok_or_else(wanted)
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf; may be repeated
    #[arg(short, long = "model", value_name = "MODEL", default_value = "smollm2")]
    pub(crate) models: Vec<OsString>,

    /// Prompts of so many tokens; 0: none
    #[arg(short = 'p', long, value_name = "N,…", value_delimiter = ',', value_parser = tokens, default_value = "512")]
    pub(crate) n_prompt: Vec<usize>,

    /// Generate so many tokens; 0: none
    #[arg(short, long, value_name = "N,…", value_delimiter = ',', value_parser = tokens, default_value = "128")]
    pub(crate) n_gen: Vec<usize>,

    /// Also a prompt and a generation together; may be repeated, and written -pg
    #[arg(long = "pg", value_name = "P,N")]
    pub(crate) prompt_gen: Vec<PromptGen>,

    /// Tokens in the cache before the clock starts
    #[arg(short, long, value_name = "N,…", value_delimiter = ',', value_parser = tokens, default_value = "0")]
    pub(crate) depth: Vec<usize>,

    /// Sequences that generate at once; may be written -np
    #[arg(long = "np", value_name = "N,…", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) n_parallel: Vec<u16>,

    #[command(flatten)]
    pub(crate) cache: CacheArgs,

    /// Threads to compute with [default: the physical cores allowed]
    #[arg(short, long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,

    /// How often each test is repeated
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) repetitions: u16,

    /// A table for people, one JSON array, or CSV
    #[arg(short, long, value_name = "KIND", default_value = "md")]
    pub(crate) output: BenchOutput,

    /// Instruction set: auto, scalar, avx2, …
    #[arg(long, value_name = "NAME", default_value = "auto", env = "LOCKSTEP_ISA")]
    pub(crate) isa: String,

    #[command(flatten)]
    pub(crate) load: LoadArgs,

    /// One more run of each test, that tells how its time is split; it does not count for the speed
    #[arg(long)]
    pub(crate) split: bool,
}

/// How `bench` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchOutput {
    Md,
    Json,
    Csv,
}

/// `P,N`: a prompt and what is generated behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PromptGen {
    pub(crate) n_prompt: usize,
    pub(crate) n_gen: usize,
}

impl FromStr for PromptGen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (n_prompt, n_gen) = text.split_once(',').ok_or("must be two numbers, as 512,128")?;
        let (n_prompt, n_gen) = (tokens(n_prompt)?, tokens(n_gen)?);
        if n_prompt == 0 || n_gen == 0 {
            return Err("must be two numbers above 0".to_owned());
        }
        Ok(Self { n_prompt, n_gen })
    }
}

/// llama.cpp's flags of one dash and several letters as clap knows them: with two dashes. llama-bench's `-pg` and `-np`
/// only behind `bench`: elsewhere `-np` is `-n p`.
pub(crate) fn long_names(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let (mut is_bench, mut ended) = (false, false);
    args.map(move |arg| {
        is_bench |= arg == "bench";
        ended |= arg == "--";
        match arg.to_str().filter(|_| !ended) {
            Some("-pg") if is_bench => "--pg".into(),
            Some("-np") if is_bench => "--np".into(),
            Some("-ctk") => "--cache-type-k".into(),
            Some("-ctv") => "--cache-type-v".into(),
            Some("-nr") => "--no-repack".into(),
            Some("-sys") => "--system".into(),
            Some("-no-cnv") => "--raw".into(),
            _ => arg,
        }
    })
}

#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// tiny, smollm2-135m, qwen2.5-0.5b, tinyllama-1.1b, llama-3.2-1b or llama-3.1-8b
    #[arg(long, value_name = "NAME")]
    pub(crate) shape: String,
    /// F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q5_1, Q5_0, Q4_1, Q4_0, IQ4_NL or IQ4_XS
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) ty: String,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Where the random numbers begin; the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// [`Numerics`] by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NumericsArg {
    Fast,
    Reference,
    Oracle,
}

impl NumericsArg {
    /// As the user writes it.
    pub(crate) fn name(self) -> &'static str {
        numerics_name(self.into())
    }
}

/// `fast`, `reference`, `oracle`.
pub(crate) fn numerics_name(numerics: Numerics) -> &'static str {
    match numerics {
        Numerics::Fast => "fast",
        Numerics::Reference => "reference",
        Numerics::Oracle => "oracle",
    }
}

impl From<NumericsArg> for Numerics {
    fn from(arg: NumericsArg) -> Self {
        match arg {
            NumericsArg::Fast => Self::Fast,
            NumericsArg::Reference => Self::Reference,
            NumericsArg::Oracle => Self::Oracle,
        }
    }
}

/// A number of tokens, or -1 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<usize>);

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<i64>().map(usize::try_from) {
            Ok(Ok(n)) => Ok(Self(Some(n))),
            Ok(Err(_)) if text == "-1" => Ok(Self(None)),
            _ => Err("must be -1 or a number of tokens"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn small_languages() {
        assert_eq!("-1".parse(), Ok(Limit(None)));
        assert_eq!("0".parse(), Ok(Limit(Some(0))));
        for bad in ["-2", "-3", "", "1.5", "99999999999999999999"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
        assert_eq!("512,16".parse(), Ok(PromptGen { n_prompt: 512, n_gen: 16 }));
        for bad in ["512", "0,1", "1,0", "1,2,3", "a,1", "1048577,1", ""] {
            assert!(bad.parse::<PromptGen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_of_llama_bench() {
        let args = |args: &[&str]| {
            let args = long_names(args.iter().map(OsString::from));
            let Command::Bench(args) = Cli::try_parse_from(args).unwrap().command else {
                panic!("bench was asked for")
            };
            args
        };
        let given =
            args(&["lockstep", "bench", "-np", "1,4", "-pg", "8,2", "-pg", "9,3", "-p", "0"]);
        assert_eq!((given.n_parallel, given.n_prompt), (vec![1, 4], vec![0]));
        assert_eq!(given.prompt_gen.len(), 2);
        let default = args(&["lockstep", "bench"]);
        assert_eq!(
            (default.n_prompt, default.n_gen, default.depth),
            (vec![512], vec![128], vec![0])
        );
        assert!(default.threads.is_empty() && default.prompt_gen.is_empty(), "none by default");
        let run =
            ["lockstep", "run", "-np", "-ctk", "q8_0", "-nr", "--", "-ctv"].map(OsString::from);
        let run: Vec<OsString> = long_names(run.into_iter()).collect();
        assert_eq!(run[2..], ["-np", "--cache-type-k", "q8_0", "--no-repack", "--", "-ctv"]);
    }
}
