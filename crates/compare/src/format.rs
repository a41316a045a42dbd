//! The trace format: a safetensors file whose tensors are the nodes of a graph. docs/trace-format.md describes it
//! for those who write such files in other languages.

use crate::TraceError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `format` of the metadata.
pub(crate) const FORMAT: &str = "lockstep-trace";
/// `version` of the metadata.
pub(crate) const VERSION: &str = "1";

/// One evaluation: tokens that went through the graph at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvalInfo {
    /// Positions that were in the cache before it.
    pub n_past: usize,
    /// Its tokens, at positions `n_past..`.
    pub tokens: Vec<u32>,
}

/// What of a model's hyper-parameters helps to explain a divergence; all of it may be missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceHparams {
    /// Query heads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_head: Option<usize>,
    /// Key and value heads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_head_kv: Option<usize>,
    /// Elements of a head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_embd_head: Option<usize>,
    /// Elements of a head that are rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_rot: Option<usize>,
    /// Epsilon of the norms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_rms_eps: Option<f64>,
    /// Base of RoPE's frequencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_freq_base: Option<f64>,
}

/// What a trace says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraceInfo {
    /// Who computed (`lockstep`, `llama.cpp`, `transformers`).
    pub engine: String,
    /// Its version.
    pub engine_version: String,
    /// How it computed. Traces that name the same arithmetic promise the same bits; empty promises nothing.
    pub arithmetic: String,
    /// `exact` if activations and the cache are rounded to nothing coarser than f32; empty promises nothing.
    pub activations: String,
    /// Flags and build options, for the reader.
    pub flags: String,
    /// The model's name or file name.
    pub model: String,
    /// SHA-256 of the model file, hex; empty if unknown.
    pub model_sha256: String,
    /// The prompt as text; empty if it was given as ids.
    pub prompt: String,
    /// The evaluations; the first is the prompt.
    pub evals: Vec<EvalInfo>,
    /// Hyper-parameters.
    pub hparams: TraceHparams,
    /// Types of the model's tensors by name (`blk.0.attn_q.weight` is `Q4_K`).
    pub tensor_types: BTreeMap<String, String>,
    /// ggml's operation of each node by name without the evaluation (`Qcur-0#1` is `ROPE`).
    pub ops: BTreeMap<String, String>,
}

impl TraceInfo {
    /// As safetensors' `__metadata__`: strings only.
    pub(crate) fn to_metadata(&self) -> Result<BTreeMap<&'static str, String>, TraceError> {
        let json = |e: serde_json::Error| TraceError::Write(e.into());
        let mut map = BTreeMap::from([
            ("format", FORMAT.to_owned()),
            ("version", VERSION.to_owned()),
            ("evals", serde_json::to_string(&self.evals).map_err(json)?),
            ("hparams", serde_json::to_string(&self.hparams).map_err(json)?),
            ("tensor_types", serde_json::to_string(&self.tensor_types).map_err(json)?),
            ("ops", serde_json::to_string(&self.ops).map_err(json)?),
        ]);
        let texts = [
            ("engine", &self.engine),
            ("engine_version", &self.engine_version),
            ("arithmetic", &self.arithmetic),
            ("activations", &self.activations),
            ("flags", &self.flags),
            ("model", &self.model),
            ("model_sha256", &self.model_sha256),
            ("prompt", &self.prompt),
        ];
        map.extend(texts.map(|(key, text)| (key, text.clone())));
        Ok(map)
    }

    /// From `__metadata__`. Only `format`, `version`, `engine` and `evals` must be there.
    pub(crate) fn from_metadata(map: &BTreeMap<String, String>) -> Result<Self, TraceError> {
        let required = |key: &'static str| {
            map.get(key)
                .ok_or_else(|| TraceError::Metadata { key, problem: "is missing".to_owned() })
        };
        let exactly = |key, wanted: &str| {
            let found = required(key)?;
            let problem = || format!("is {:?}; must be {wanted:?}", clipped(found));
            if found == wanted {
                Ok(())
            } else {
                Err(TraceError::Metadata { key, problem: problem() })
            }
        };
        exactly("format", FORMAT)?;
        exactly("version", VERSION)?;
        let text = |key: &str| map.get(key).cloned().unwrap_or_default();
        Ok(Self {
            engine: required("engine")?.clone(),
            engine_version: text("engine_version"),
            arithmetic: text("arithmetic"),
            activations: text("activations"),
            flags: text("flags"),
            model: text("model"),
            model_sha256: text("model_sha256"),
            prompt: text("prompt"),
            evals: parse("evals", required("evals")?)?,
            hparams: optional(map, "hparams")?,
            tensor_types: optional(map, "tensor_types")?,
            ops: optional(map, "ops")?,
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(key: &'static str, text: &str) -> Result<T, TraceError> {
    serde_json::from_str(text)
        .map_err(|e| TraceError::Metadata { key, problem: format!("cannot be understood: {e}") })
}

fn optional<T: serde::de::DeserializeOwned + Default>(
    map: &BTreeMap<String, String>,
    key: &'static str,
) -> Result<T, TraceError> {
    map.get(key).map_or_else(|| Ok(T::default()), |text| parse(key, text))
}

/// As much of a name as a message may show.
pub(crate) fn clipped(name: &str) -> String {
    name.chars().take(80).collect()
}

/// A tensor's element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Dtype {
    F16,
    BF16,
    F32,
    F64,
}

impl Dtype {
    /// Bytes of an element.
    pub(crate) fn n_bytes(self) -> u64 {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// A tensor in safetensors' header.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HeaderEntry {
    pub(crate) dtype: Dtype,
    /// Outermost first.
    pub(crate) shape: Vec<u64>,
    /// From the end of the header.
    pub(crate) data_offsets: [u64; 2],
}
