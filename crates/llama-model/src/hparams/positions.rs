//! What a model does with positions: RoPE, how it is stretched, and windows.

use super::keys::Keys;
use super::{LayerParams, LayerRope, ModelError, RopeParams};
use crate::arch::{Arch, Swa, SwaRope};
use gguf_parse::Value;
use kernels::RopeKind;

impl Keys<'_> {
    pub(super) fn rope(
        &self,
        arch: &Arch,
        n_embd_head: usize,
        n_ctx_train: usize,
    ) -> Result<RopeParams, ModelError> {
        let n_rot = self.n_rot(arch, n_embd_head)?;
        let kind = self.opt::<&str>("rope.scaling.type")?.unwrap_or("linear");
        let longrope = kind == "longrope" && arch.rope_options.factors;
        if !["none", "linear", "yarn"].contains(&kind) && !longrope {
            return Err(ModelError::Unsupported {
                key: format!("{}.rope.scaling.type", self.arch),
                found: kind.chars().take(64).collect(),
                feature: "this kind of RoPE scaling",
            });
        }
        let factor = match self.scaling_factor("rope.scaling.factor")? {
            None => self.scaling_factor("rope.scale_linear")?,
            some => some,
        };
        let freq_scale = match factor {
            Some(f) if f != 0.0 && kind != "none" => 1.0 / f,
            _ => 1.0,
        };
        let n_ctx_orig = match self.opt::<u32>("rope.scaling.original_context_length")? {
            Some(n) => self.in_range("rope.scaling.original_context_length", n, u32::MAX)?,
            None => n_ctx_train,
        };
        let ext_factor = if kind == "yarn" { 1.0 } else { 0.0 };
        let attn_factor = self.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
        // llama.cpp reads these keys in few architectures.
        let yarn = |key: &str, default: f32| match arch.rope_options.mistral3 {
            true => Ok::<_, ModelError>(self.positive(key)?.unwrap_or(default)),
            false => Ok(default),
        };
        let log_mul = match arch.rope_options.mistral3 {
            true => self.finite("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0),
            false => 0.0,
        };
        Ok(RopeParams {
            kind: arch.rope.unwrap_or(RopeKind::Norm),
            n_rot,
            freq_base: self.positive("rope.freq_base")?.unwrap_or(10_000.0),
            freq_scale,
            ext_factor,
            attn_factor: yarn_attn_factor(ext_factor, freq_scale, log_mul) * attn_factor,
            beta_fast: yarn("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: yarn("rope.scaling.yarn_beta_slow", 1.0)?,
            n_ctx_orig,
        })
    }

    fn n_rot(&self, arch: &Arch, n_embd_head: usize) -> Result<usize, ModelError> {
        let key = "rope.dimension_count";
        let n_rot = match self.opt::<u32>(key)? {
            Some(n) if arch.rope.is_some() => self.in_range(key, n, u32::MAX)?,
            _ => n_embd_head,
        };
        let fits =
            if arch.rope_options.partial { n_rot <= n_embd_head } else { n_rot == n_embd_head };
        // Nothing is rotated where there is no RoPE.
        if arch.rope.is_some() && !(fits && n_rot.is_multiple_of(2)) {
            let allowed = match arch.rope_options.partial {
                true => format!("at most {n_embd_head}, the size of a head, and even"),
                false => format!("{n_embd_head}, the size of a head, and even"),
            };
            return Err(self.wrong(key, n_rot, &allowed));
        }
        Ok(n_rot)
    }

    /// Windows and rotations of all layers, and the second rotation if there is one.
    pub(super) fn layers(
        &self,
        arch: &Arch,
        n_layer: usize,
        rope: &RopeParams,
    ) -> Result<(Vec<LayerParams>, Option<RopeParams>), ModelError> {
        let off = arch.rope.is_none()
            || arch.rope_options.switch
                && self.opt::<bool>("rope.scaling.finetuned")? == Some(false);
        let n_swa = match &arch.swa {
            Some(swa) if swa.n_layer.is_none_or(|n| n == n_layer) => self.n_swa(swa)?,
            _ => None,
        };
        if n_swa.is_none() && arch.name == "cohere2" {
            return Err(self.missing("attention.sliding_window"));
        }
        let windows = match (&arch.swa, n_swa) {
            (Some(swa), Some(_)) => self.swa_pattern(swa, n_layer)?,
            _ => vec![false; n_layer],
        };
        let swa_rope = arch.swa.filter(|_| n_swa.is_some()).map(|swa| swa.rope);
        let layers = windows.iter().enumerate().map(|(il, &window)| {
            let skipped = arch.rope_options.skip_every.is_some_and(|n| (il + 1).is_multiple_of(n));
            let rope = match (swa_rope, window) {
                _ if off || skipped => LayerRope::None,
                (Some(SwaRope::Only), false) => LayerRope::None,
                (None | Some(SwaRope::Only), _) | (_, false) => LayerRope::Global,
                _ => LayerRope::Swa,
            };
            LayerParams { n_swa: n_swa.filter(|_| window), rope }
        });
        let base = |default: f32| -> Result<f32, ModelError> {
            Ok(self.positive("rope.freq_base_swa")?.unwrap_or(default))
        };
        let second = match swa_rope {
            None | Some(SwaRope::Only) => None,
            Some(SwaRope::SameBase) => {
                Some(RopeParams { freq_base: base(rope.freq_base)?, ..rope.clone() })
            }
            Some(SwaRope::OwnBase) => {
                Some(RopeParams { freq_base: base(10_000.0)?, freq_scale: 1.0, ..rope.clone() })
            }
            Some(SwaRope::Unscaled) => Some(RopeParams {
                freq_scale: 1.0,
                ext_factor: 0.0,
                attn_factor: 1.0,
                ..rope.clone()
            }),
        };
        Ok((layers.collect(), second))
    }

    /// The window, if there is one.
    fn n_swa(&self, swa: &Swa) -> Result<Option<usize>, ModelError> {
        let n = self.opt::<u32>("attention.sliding_window")?.map(|n| n as usize);
        match (n, swa.n_swa) {
            // A window of no positions: llama.cpp's sign for none, where there may be none.
            (Some(0), Some(_)) => Err(self.wrong("attention.sliding_window", 0, "at least 1")),
            (Some(0), None) => Ok(None),
            (Some(n), _) => Ok(Some(n)),
            (None, default) => Ok(default),
        }
    }

    /// Which layers have a window.
    fn swa_pattern(&self, swa: &Swa, n_layer: usize) -> Result<Vec<bool>, ModelError> {
        let key = "attention.sliding_window_pattern";
        if let Some(Value::Array(array)) = self.metadata.value(&format!("{}.{key}", self.arch)) {
            let flag = |value| match value {
                Value::Bool(flag) => Some(flag),
                Value::U32(n) => Some(n != 0),
                Value::I32(n) => Some(n != 0),
                _ => None,
            };
            let flags = array.iter().map(flag).collect::<Option<Vec<bool>>>();
            return flags.filter(|flags| flags.len() == n_layer).ok_or_else(|| {
                self.wrong(key, format!("an array of {}", array.len()), &format!("{n_layer} flags"))
            });
        }
        let n = self.opt::<u32>(key)?.map_or(swa.pattern, |n| n as usize);
        Ok((0..n_layer).map(|il| n == 0 || il % n < n - 1).collect())
    }
}

/// llama.cpp's magnitude for YaRN before the rope kernel multiplies in `1 + 0.1 ln(1/freq_scale)`: that
/// factor's inverse times the intended magnitude, in its order of `f32` operations.
fn yarn_attn_factor(ext_factor: f32, freq_scale: f32, log_mul: f32) -> f32 {
    if ext_factor == 0.0 {
        return 1.0;
    }
    let factor = 1.0 / freq_scale;
    let mscale = |mul: f32| if factor <= 1.0 { 1.0 } else { 0.1 * mul * factor.ln() + 1.0 };
    let intended = if log_mul == 0.0 { mscale(1.0) } else { mscale(1.0) / mscale(log_mul) };
    intended * (1.0 / (1.0 + 0.1 * factor.ln()))
}
