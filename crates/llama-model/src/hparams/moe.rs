//! Mixtures of experts.

use super::ModelError;
use super::keys::Keys;
use crate::arch::{Arch, MoeKind, SharedExpert};

/// A mixture of experts (arXiv 2101.03961, 2401.04088).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Experts {
    /// What the architecture's are like.
    pub(crate) kind: MoeKind,
    /// Experts of a layer.
    pub(crate) n_expert: usize,
    /// How many of them a token passes.
    pub(crate) n_used: usize,
    /// Width of an expert where it has a key of its own.
    n_ff_exp: Option<usize>,
    /// Width of the expert that every token passes, where a key gives it.
    n_ff_shexp: Option<usize>,
    /// `feed_forward_length`.
    n_ff: usize,
}

impl Experts {
    /// Width of the expert that every token passes.
    pub(crate) fn n_ff_shexp(&self) -> Option<usize> {
        match self.kind.shared {
            SharedExpert::None => None,
            SharedExpert::ByKey => self.n_ff_shexp,
            SharedExpert::Gated => Some(self.n_ff_shexp.unwrap_or(self.n_ff)),
        }
    }
}

impl Keys<'_> {
    pub(super) fn experts(&self, arch: &Arch) -> Result<Option<Experts>, ModelError> {
        let n_expert = self.opt::<u32>("expert_count")?.unwrap_or(0);
        let n_used = self.opt::<u32>("expert_used_count")?.unwrap_or(0);
        if n_expert > 512 {
            return Err(self.wrong("expert_count", n_expert, "0..=512"));
        }
        if n_used > n_expert || (n_expert > 0 && n_used == 0) {
            return Err(self.wrong(
                "expert_used_count",
                n_used,
                &format!("1..={n_expert}, or absent without experts"),
            ));
        }
        let Some(kind) = arch.moe.filter(|moe| n_expert > 0 || moe.required) else {
            return match n_expert {
                0 => Ok(None),
                _ => Err(ModelError::Unsupported {
                    key: format!("{}.expert_count", self.arch),
                    found: n_expert.to_string(),
                    feature: "a mixture of experts in this architecture",
                }),
            };
        };
        if n_expert == 0 {
            return Err(self.wrong("expert_count", n_expert, "1..=512"));
        }
        let width = |key: &str| -> Result<Option<usize>, ModelError> {
            let n = self.opt::<u32>(key)?.filter(|n| *n > 0);
            n.map(|n| self.in_range(key, n, 1 << 26)).transpose()
        };
        let own_width = kind.required.then(|| width("expert_feed_forward_length")).transpose()?;
        Ok(Some(Experts {
            kind,
            n_expert: n_expert as usize,
            n_used: n_used as usize,
            n_ff_exp: own_width.flatten(),
            n_ff_shexp: width("expert_shared_feed_forward_length")?,
            n_ff: 0,
        }))
    }

    /// Width of the feed-forward block, or of an expert.
    pub(super) fn n_ff(
        &self,
        n_layer: usize,
        experts: &mut Option<Experts>,
    ) -> Result<usize, ModelError> {
        let key = "feed_forward_length";
        let n_ff = self.uniform(key, n_layer, 1 << 26)?;
        let n_ff = match (n_ff, &experts) {
            (Some(n), _) => n,
            // Where experts have keys of their own, the dense width may be missing or 0.
            (None, Some(e)) if e.n_ff_exp.is_some() => 0,
            (None, _) => return Err(self.missing(key)),
        };
        let Some(experts) = experts else { return Ok(n_ff) };
        experts.n_ff = n_ff;
        let width = match experts.n_ff_exp {
            Some(n) => n,
            None if experts.kind.required => n_ff / experts.n_used,
            None => n_ff,
        };
        if width == 0 || experts.n_ff_shexp() == Some(0) {
            return Err(self.wrong(key, n_ff, "at least one element for each expert used"));
        }
        Ok(width)
    }
}
