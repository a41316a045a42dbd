//! Factors and caps on the way from the embedding to the logits.

use super::keys::Keys;
use super::{ModelError, RopeParams};
use crate::arch::{Arch, Scales};

/// A factor as llama.cpp's f32 has it, and as it was meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Factor {
    pub(crate) rounded: f32,
    pub(crate) exact: f64,
}

impl Factor {
    pub(crate) fn of(x: f32) -> Self {
        Self { rounded: x, exact: f64::from(x) }
    }

    pub(crate) fn inverse(x: f32) -> Self {
        Self { rounded: 1.0 / x, exact: 1.0 / f64::from(x) }
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
    fn sqrt(n: usize) -> Self {
        Self { rounded: (n as f32).sqrt(), exact: (n as f64).sqrt() }
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
    fn inverse_sqrt(n: usize) -> Self {
        Self { rounded: 1.0 / (n as f32).sqrt(), exact: 1.0 / (n as f64).sqrt() }
    }
}

/// Every factor of a model; `None` is 1.
#[derive(Debug, Clone)]
pub(crate) struct Scaling {
    /// Of the embedding.
    pub(crate) embedding: Option<Factor>,
    /// Of queries before they meet keys.
    pub(crate) queries: Option<Factor>,
    /// Of queries, by position.
    pub(crate) temperature: Option<Temperature>,
    /// Of scores: `1 / sqrt(n_embd_head)` unless the architecture or the file says otherwise.
    pub(crate) attention: Factor,
    /// Scores `x` become `cap * tanh(x / cap)`.
    pub(crate) attn_softcap: Option<f32>,
    /// Of what a half of a block adds to the residual stream.
    pub(crate) residual: Option<Factor>,
    /// Of logits.
    pub(crate) logits: Option<Factor>,
    /// As for scores.
    pub(crate) final_softcap: Option<f32>,
}

/// Queries at `pos` are multiplied with `1 + scale * ln(1 + floor(pos / floor))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Temperature {
    pub(crate) scale: f32,
    pub(crate) floor: usize,
}

impl Keys<'_> {
    /// `sizes`: layers, width, heads, width of a head.
    pub(super) fn scaling(
        &self,
        arch: &Arch,
        sizes: [usize; 4],
        rope: &RopeParams,
    ) -> Result<Scaling, ModelError> {
        let [n_layer, n_embd, n_head, n_embd_head] = sizes;
        let some = |x: f32| (x != 0.0).then(|| Factor::of(x));
        // The largest Gemmas divide by the square root of another number.
        let width = match (arch.name, n_layer) {
            ("gemma2", 46) | ("gemma3", 62) => n_embd / n_head,
            _ => n_embd_head,
        };
        let own = Factor::inverse_sqrt(width);
        let mut scaling = Scaling {
            embedding: None,
            queries: arch.scales_queries.then_some(own),
            temperature: self.temperature(arch, rope)?,
            attention: if arch.scales_queries { Factor::of(1.0) } else { own },
            attn_softcap: self.softcap("attn_logit_softcapping", arch.attn_softcap)?,
            residual: None,
            logits: None,
            final_softcap: self.softcap("final_logit_softcapping", arch.final_softcap)?,
        };
        match arch.scales {
            Scales::None => {}
            Scales::Gemma => scaling.embedding = Some(Factor::sqrt(n_embd)),
            Scales::Granite => {
                scaling.embedding = self.finite("embedding_scale")?.and_then(some);
                scaling.residual = self.finite("residual_scale")?.and_then(some);
                if let Some(scale) = self.finite("attention.scale")?.and_then(some) {
                    scaling.attention = scale;
                }
                let logits = self.positive("logit_scale")?;
                let logits = logits.ok_or_else(|| self.missing("logit_scale"))?;
                scaling.logits = Some(Factor::inverse(logits));
            }
            Scales::MiniCpm => {
                #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^24")]
                let (depth, n_embd) = (n_layer as f32, n_embd as f32);
                let residual = self.finite("residual_scale")?.unwrap_or(1.4 / depth.sqrt());
                scaling.embedding = some(self.finite("embedding_scale")?.unwrap_or(12.0));
                scaling.residual = some(residual);
                let logits = self.positive("logit_scale")?.unwrap_or(256.0 / n_embd);
                scaling.logits = Some(Factor::inverse(logits));
            }
            Scales::Cohere => {
                let logits = self.finite("logit_scale")?;
                if logits.is_none() && arch.swa.is_some() {
                    return Err(self.missing("logit_scale"));
                }
                scaling.logits = logits.and_then(some);
            }
        }
        Ok(scaling)
    }

    /// A finite number.
    pub(super) fn finite(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.opt::<f32>(key)? {
            Some(x) if !x.is_finite() => Err(self.wrong(key, x, "finite")),
            x => Ok(x),
        }
    }

    fn softcap(&self, key: &str, default: Option<f32>) -> Result<Option<f32>, ModelError> {
        let Some(default) = default else { return Ok(None) };
        let cap = self.scaling_factor(key)?.unwrap_or(default);
        if cap == 0.0 && default != 0.0 {
            return Err(self.wrong(key, cap, "above 0"));
        }
        Ok((cap != 0.0).then_some(cap))
    }

    fn temperature(
        &self,
        arch: &Arch,
        rope: &RopeParams,
    ) -> Result<Option<Temperature>, ModelError> {
        if !arch.rope_options.mistral3 {
            return Ok(None);
        }
        let scale = self.finite("attention.temperature_scale")?.unwrap_or(0.0);
        Ok((scale != 0.0).then_some(Temperature { scale, floor: rope.n_ctx_orig }))
    }
}
