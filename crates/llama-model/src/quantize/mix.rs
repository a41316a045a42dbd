//! Which type each tensor of a file gets.
//!
//! The rules are llama.cpp's (`llama-quant.cpp`), for the file types made here and without an importance matrix: what
//! hurts most when it is coarse (the output, `attn_v`, `ffn_down`, the first and last layers) gets a finer type, and
//! what cannot be cut into the type's blocks gets one with smaller blocks.
use super::{FileType, QuantizeError};
use gguf_parse::GgmlType;

/// What the rules need to know of the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// `general.architecture`.
    pub(super) architecture: &'a str,
    /// Layers.
    pub(super) n_layer: usize,
    /// Experts; 0 or 1 for a dense model.
    pub(super) n_expert: usize,
    /// Query heads to a head of K and V (of the first layer).
    pub(super) n_gqa: usize,
    /// Whether it is what llama.cpp calls a 70B model.
    pub(super) is_70b: bool,
}

/// A tensor of the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// Name.
    pub(super) name: &'a str,
    /// Type.
    pub(super) ty: GgmlType,
    /// Dimensions, innermost first, without trailing ones.
    pub(super) ne: &'a [u64],
}

/// The types of all tensors, in their order.
#[derive(Debug)]
pub(super) struct Mix {
    /// The types.
    pub(super) types: Vec<GgmlType>,
    /// Tensors whose rows cannot be cut into the blocks of the type they should have had.
    pub(super) n_fallback: usize,
}

/// The rank of a tensor in a written file: those of no layer first, then layer by layer, each by name.
pub(super) fn rank(name: &str) -> (Option<u64>, &str) {
    (layer(name), name)
}

/// Chooses the types. `tensors` are in the order of [`rank`]; some rules count.
pub(super) fn choose(
    facts: Facts<'_>,
    file_type: FileType,
    tensors: &[Source<'_>],
) -> Result<Mix, QuantizeError> {
    let role = |tensor: &Source<'_>| Role::of(tensor.name);
    let mut mixer = Mixer {
        facts,
        file_type,
        tied: !tensors.iter().any(|t| role(t) == Role::Output),
        n_attn_v: tensors.iter().filter(|t| role(t) == Role::AttnV).count(),
        i_attn_v: 0,
        i_ffn_down: 0,
        n_fallback: 0,
    };
    let types = tensors.iter().map(|tensor| mixer.choose(tensor)).collect::<Result<_, _>>()?;
    Ok(Mix { types, n_fallback: mixer.n_fallback })
}

/// What a tensor is for, as far as the rules care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Output,
    TokenEmbd,
    /// V, alone or fused with others.
    AttnV,
    AttnK,
    AttnOutput,
    FfnUpOrGate,
    FfnDown,
    Other,
}

impl Role {
    fn of(name: &str) -> Self {
        const PARTS: [(&str, Role); 8] = [
            ("attn_qkv.weight", Role::AttnV),
            ("attn_kv_b.weight", Role::AttnV),
            ("attn_v.weight", Role::AttnV),
            ("attn_k.weight", Role::AttnK),
            ("attn_output.weight", Role::AttnOutput),
            ("ffn_up", Role::FfnUpOrGate),
            ("ffn_gate", Role::FfnUpOrGate),
            ("ffn_down", Role::FfnDown),
        ];
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::TokenEmbd,
            _ => PARTS
                .iter()
                .find(|(part, _)| name.contains(part))
                .map_or(Self::Other, |&(_, role)| role),
        }
    }
}

/// Parts of names of matrices that stay as they are: small, or too sensitive.
const KEPT: [&str; 35] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// Whether a tensor's type changes at all: matrices of weights do, but for a few.
fn is_quantized(tensor: &Source<'_>) -> bool {
    tensor.ne.len() >= 2
        && tensor.name.ends_with("weight")
        && !["position_embd.weight", "token_types.weight"].contains(&tensor.name)
        && !KEPT.iter().any(|part| tensor.name.contains(part))
}

struct Mixer<'a> {
    facts: Facts<'a>,
    file_type: FileType,
    /// The output is the token embedding.
    tied: bool,
    n_attn_v: usize,
    /// V tensors seen.
    i_attn_v: usize,
    /// Down projections seen.
    i_ffn_down: usize,
    n_fallback: usize,
}

impl Mixer<'_> {
    fn choose(&mut self, tensor: &Source<'_>) -> Result<GgmlType, QuantizeError> {
        let base = self.file_type.tensor_type();
        Ok(if !is_quantized(tensor) {
            tensor.ty
        } else if base.block_elems() == 1 {
            base
        } else {
            let wanted = self.by_role(tensor)?;
            self.fallback(tensor, wanted)
        })
    }

    fn by_role(&mut self, tensor: &Source<'_>) -> Result<GgmlType, QuantizeError> {
        let base = self.file_type.tensor_type();
        let is_mix = matches!(self.file_type, FileType::Q4_K_M | FileType::Q5_K_M);
        let is_iq4 = matches!(self.file_type, FileType::IQ4_NL | FileType::IQ4_XS);
        let is_falcon = self.facts.architecture == "falcon";
        let eight_experts = self.facts.n_expert == 8;
        Ok(match Role::of(tensor.name) {
            Role::Output => self.output(tensor),
            Role::TokenEmbd if self.tied => self.output(tensor),
            Role::AttnV => {
                let i = self.i_attn_v;
                self.i_attn_v += 1;
                match base {
                    // 8-bit V is cheap where eight experts outweigh it.
                    _ if eight_experts => GgmlType::Q8_0,
                    // Few heads of V, for all of which many of queries pay.
                    _ if is_iq4 && self.facts.n_gqa >= 4 => GgmlType::Q5_K,
                    _ if is_mix && use_more_bits(i, self.n_attn_v) => GgmlType::Q6_K,
                    GgmlType::Q4_K if self.facts.is_70b => GgmlType::Q5_K,
                    _ => base,
                }
            }
            Role::AttnK if eight_experts => GgmlType::Q8_0,
            Role::AttnOutput
                if eight_experts
                    && !is_falcon
                    && (is_iq4 || self.file_type == FileType::Q4_K_M) =>
            {
                GgmlType::Q5_K
            }
            Role::FfnDown => {
                let il = self.ffn_layer(tensor, self.i_ffn_down)?;
                self.i_ffn_down += 1;
                let (n, more) = (self.facts.n_layer, use_more_bits(il, self.facts.n_layer));
                match self.file_type {
                    FileType::Q4_K_M if is_falcon && il < n / 16 => GgmlType::Q6_K,
                    FileType::Q4_K_M if is_falcon && more => GgmlType::Q5_K,
                    FileType::Q4_K_M if is_falcon => base,
                    _ if is_mix && more => GgmlType::Q6_K,
                    _ if is_iq4 && il < n / 8 => GgmlType::Q5_K,
                    _ => base,
                }
            }
            Role::FfnUpOrGate => {
                // The type needs no layer, but a tensor of none is refused here too.
                self.ffn_layer(tensor, 0)?;
                base
            }
            Role::TokenEmbd | Role::AttnK | Role::AttnOutput | Role::Other => base,
        })
    }

    /// Of the matrix that makes logits.
    fn output(&self, tensor: &Source<'_>) -> GgmlType {
        let base = self.file_type.tensor_type();
        let fits = divides(base, tensor);
        if self.facts.architecture == "falcon" || !fits || base == GgmlType::Q8_0 {
            GgmlType::Q8_0
        } else {
            GgmlType::Q6_K
        }
    }

    /// The layer of a feed-forward tensor: `counted`, or what the name says where experts may come in any order.
    fn ffn_layer(&self, tensor: &Source<'_>, counted: usize) -> Result<usize, QuantizeError> {
        let n_layer = self.facts.n_layer;
        if self.facts.n_expert <= 1 {
            return Ok(counted);
        }
        layer(tensor.name)
            .and_then(|il| usize::try_from(il).ok())
            .filter(|&il| il < n_layer)
            .ok_or_else(|| QuantizeError::Layer { tensor: tensor.name.to_owned(), n_layer })
    }

    /// `wanted`, or what replaces it where rows are no whole number of its blocks.
    fn fallback(&mut self, tensor: &Source<'_>, wanted: GgmlType) -> GgmlType {
        if divides(wanted, tensor) {
            return wanted;
        }
        self.n_fallback += 1;
        let smaller = match wanted {
            GgmlType::Q4_K => GgmlType::Q5_0,
            GgmlType::Q5_K => GgmlType::Q5_1,
            GgmlType::Q6_K => GgmlType::Q8_0,
            GgmlType::IQ4_XS => GgmlType::IQ4_NL,
            _ => wanted,
        };
        if divides(smaller, tensor) { smaller } else { GgmlType::F16 }
    }
}

/// Whether rows are whole blocks.
fn divides(ty: GgmlType, tensor: &Source<'_>) -> bool {
    let n_cols = tensor.ne.first().copied().unwrap_or(1);
    n_cols.is_multiple_of(ty.block_elems() as u64)
}

/// The first and the last eighth of the layers, and every third between.
fn use_more_bits(il: usize, n_layer: usize) -> bool {
    il < n_layer / 8 || il >= 7 * n_layer / 8 || (il - n_layer / 8) % 3 == 2
}

/// The layer in a name `blk.N.…`.
fn layer(name: &str) -> Option<u64> {
    let rest = name.strip_prefix("blk.")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

#[cfg(test)]
#[path = "mix_tests.rs"]
mod tests;
