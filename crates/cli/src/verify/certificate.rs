//! The certificate: what `--json` prints. There is nothing in it that changes from run to run.
use crate::errors::{CliError, Exit};
use compare::{Divergence, FloorSource, Stage};
use serde::Serialize;
use tokenizer::Tokenizer;

/// The certificate of a file.
#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    /// `lockstep-certificate`, and the version of its form.
    pub(super) format: &'static str,
    pub(super) version: u32,
    /// Whether all rungs that could be tried hold.
    pub(super) passed: bool,
    /// The exit status.
    pub(super) exit: u8,
    /// The final sentence.
    pub(super) verdict: String,
    pub(super) lockstep: &'static str,
    pub(super) machine: Machine,
    pub(super) flags: Flags,
    pub(super) file: File,
    pub(super) rungs: Vec<Rung>,
    pub(super) tokens: Option<Tokens>,
    pub(super) template: Option<Template>,
    pub(super) weights: Option<Weights>,
    pub(super) prompt: Option<Prompt>,
    /// The evaluation in each arithmetic.
    pub(super) arithmetics: Vec<Evaluated>,
    /// Each pair of arithmetics, and lockstep beside the trace given.
    pub(super) comparisons: Vec<Compared>,
    pub(super) logits: Option<Logits>,
    /// What has to have the same bits as the traced evaluation of `fast`.
    pub(super) invariance: Vec<Invariant>,
}

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) os: &'static str,
    pub(super) arch: &'static str,
    pub(super) instruction_sets: Vec<&'static str>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Flags {
    pub(super) n_tokens: usize,
    pub(super) n_steps: usize,
    pub(super) quick: bool,
    pub(super) threads: usize,
    pub(super) isa: &'static str,
    pub(super) trace: Option<String>,
    pub(super) noise: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) sha256: Option<String>,
    pub(super) header: Option<Header>,
}

#[derive(Debug, Serialize)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) architecture: Option<String>,
    pub(super) name: Option<String>,
    pub(super) n_keys: usize,
    pub(super) alignment: usize,
    /// Of a split model: those of the files behind the first.
    pub(super) sha256_of_other_shards: Vec<String>,
    pub(super) types: Vec<Tensors>,
}

/// The tensors of a type.
#[derive(Debug, Serialize)]
pub(super) struct Tensors {
    #[serde(rename = "type")]
    pub(super) ty: &'static str,
    pub(super) n_tensors: usize,
    pub(super) n_weights: u64,
    pub(super) n_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Fail,
    Skipped,
}

#[derive(Debug, Serialize)]
pub(super) struct Rung {
    pub(super) name: &'static str,
    pub(super) status: Status,
    /// What was found, in a line.
    pub(super) detail: String,
    pub(super) notes: Vec<String>,
    /// What is wrong with the file, as other commands say it.
    pub(super) error: Option<RungError>,
}

#[derive(Debug, Serialize)]
pub(super) struct RungError {
    code: &'static str,
    message: String,
    exit: u8,
}

impl RungError {
    pub(super) fn new(error: &CliError) -> Self {
        Self { code: error.code(), message: error.message(), exit: error.exit as u8 }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Tokens {
    pub(super) model: String,
    pub(super) pre: String,
    pub(super) n_vocab: usize,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) eot: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    /// The ids that end a generation.
    pub(super) eog: Vec<u32>,
    pub(super) n_texts: usize,
    /// Texts that come back as they were.
    pub(super) n_whole: usize,
    /// Texts with characters that the vocabulary does not have.
    pub(super) n_unwritable: usize,
    /// Texts that come back as others.
    pub(super) lost: Vec<String>,
}

impl Tokens {
    pub(super) fn new(tokenizer: &Tokenizer, n_texts: usize) -> Self {
        Self {
            model: tokenizer.model_name().to_owned(),
            pre: tokenizer.pre_name().to_owned(),
            n_vocab: tokenizer.n_vocab(),
            bos: tokenizer.bos(),
            eos: tokenizer.eos(),
            eot: tokenizer.eot(),
            add_bos: tokenizer.add_bos(),
            add_eos: tokenizer.add_eos(),
            eog: tokenizer.eog_ids().collect(),
            n_texts,
            n_whole: 0,
            n_unwritable: 0,
            lost: Vec::new(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Template {
    pub(super) n_templates: usize,
    /// Tokens of a short conversation.
    pub(super) n_prompt_tokens: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(super) struct Weights {
    /// Of the tensors' SHA-256, one after the other; `None` without checksums.
    pub(super) sha256: Option<String>,
    pub(super) n_weights: u64,
    pub(super) max_abs: f32,
    pub(super) tensors: Vec<TensorCheck>,
}

impl Weights {
    pub(super) fn new(tensors: Vec<TensorCheck>) -> Self {
        let read = || tensors.iter().filter(|t| t.is_read);
        let hashes: Option<String> = read().map(|t| t.sha256.as_deref()).collect();
        Self {
            sha256: hashes.and_then(|all| model_store::sha256_of(all.as_bytes()).ok()),
            n_weights: read().map(|t| t.n_weights).sum(),
            max_abs: read().map(|t| t.max.abs().max(t.min.abs())).fold(0.0, f32::max),
            tensors,
        }
    }
}

#[derive(Debug, Default, Serialize)]
pub(super) struct TensorCheck {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) ty: &'static str,
    /// Outermost first.
    pub(super) shape: Vec<u64>,
    /// Whether this type is read at all.
    pub(super) is_read: bool,
    /// Of the values as little-endian f32.
    pub(super) sha256: Option<String>,
    pub(super) n_weights: u64,
    pub(super) n_not_finite: u64,
    pub(super) min: f32,
    pub(super) max: f32,
    pub(super) mean: f64,
    pub(super) rms: f64,
    pub(super) scales: Option<Scales>,
}

/// What the codes of blocks are multiplied by.
#[derive(Debug, Serialize)]
pub(super) struct Scales {
    pub(super) n_blocks: u64,
    pub(super) n_zero: u64,
    pub(super) n_subnormal: u64,
    pub(super) max_abs: f32,
}

#[derive(Debug, Serialize)]
pub(super) struct Prompt {
    /// Whether a text was given, ids were, or neither.
    pub(super) source: &'static str,
    pub(super) ids: Vec<u32>,
    /// What `fast` chose behind them.
    pub(super) steps: Vec<u32>,
}

/// An evaluation in one arithmetic.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Evaluated {
    pub(super) numerics: &'static str,
    pub(super) n_nodes: usize,
    /// The first node with a value that is no number.
    pub(super) not_finite: Option<String>,
    /// RMS of what leaves each layer, over the prompt.
    pub(super) rms_by_layer: Vec<f64>,
}

/// Two evaluations side by side.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    pub(super) a: String,
    pub(super) b: String,
    pub(super) in_lockstep: bool,
    /// Where the noise floor comes from.
    pub(super) floor: FloorSource,
    pub(super) n_nodes: usize,
    /// Nodes of A and of B that the other side does not have.
    pub(super) n_unmatched: [usize; 2],
    pub(super) stages: Vec<StageError>,
    pub(super) divergence: Option<Divergence>,
    pub(super) notes: Vec<String>,
}

/// The worst node of a stage.
#[derive(Debug, Serialize)]
pub(super) struct StageError {
    pub(super) stage: Stage,
    pub(super) n_nodes: usize,
    pub(super) eval: usize,
    pub(super) node: String,
    pub(super) nmse: f64,
    pub(super) max_error: f64,
    /// What NMSE is noise there.
    pub(super) floor: f64,
}

/// Mean and maximum over positions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct MeanMax {
    pub(super) mean: f64,
    pub(super) max: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Logits {
    pub(super) n_positions: usize,
    /// KL divergence of `fast` from `reference`, in nats.
    pub(super) kl_fast_from_reference: MeanMax,
    pub(super) kl_fast_from_oracle: MeanMax,
    pub(super) kl_reference_from_oracle: MeanMax,
    /// What the mean of `fast` from `oracle` may be.
    pub(super) kl_allowed: f64,
    /// Positions where `fast` has the likeliest token of `reference`.
    pub(super) n_same_top: usize,
    /// Others where the two tokens nearly tie.
    pub(super) n_near_ties: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Invariant {
    pub(super) what: String,
    pub(super) same_bits: bool,
}

impl Certificate {
    /// Fills in how it ended.
    pub(super) fn conclude(&mut self, rungs: Vec<Rung>, exit: Exit) {
        let count = |status| rungs.iter().filter(|rung| rung.status == status).count();
        let (n_ok, n_skipped) = (count(Status::Ok), count(Status::Skipped));
        let skipped = match n_skipped {
            0 => String::new(),
            n => format!(", {n} skipped"),
        };
        let first = rungs.iter().find(|rung| rung.status == Status::Fail);
        self.verdict = match (exit, first) {
            (Exit::Interrupted, _) => format!("interrupted: {n_ok} rungs hold{skipped}"),
            (_, Some(rung)) => format!("FAILED at {}: {}", rung.name, rung.detail),
            (_, None) => format!("passed: {n_ok} rungs hold{skipped}"),
        };
        self.passed = exit == Exit::Ok;
        self.exit = exit as u8;
        self.rungs = rungs;
    }
}
