//! What a run's time goes to, told by the trace: the time until a node appears is that node's. It costs the hot path
//! nothing, because the trace is there already, and one look at the clock a node while it is on.
use llama_model::{NodeData, NodeName, Trace};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Seconds by what they went to. Waiting for other threads is part of each.
#[derive(Debug, Default)]
pub(super) struct Split {
    last: Option<Instant>,
    linears: Duration,
    attention: Duration,
    other: Duration,
}

/// Shares of the whole.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Shares {
    /// Products with weights, rounding what goes in, and the stages that are fused with either.
    pub(super) linears: f64,
    /// Writing the cache, and reading it.
    pub(super) attention: f64,
    /// RoPE, looking up embeddings, and norms, activations and sums where they are not fused.
    pub(super) other: f64,
}

impl Split {
    /// A pass begins.
    pub(super) fn begin(&mut self) {
        self.last = Some(Instant::now());
    }

    /// A pass is over.
    pub(super) fn end(&mut self) {
        let lap = self.lap();
        self.other += lap;
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let last = self.last.replace(now).unwrap_or(now);
        now.duration_since(last)
    }

    pub(super) fn shares(&self) -> Shares {
        let parts = [self.linears, self.attention, self.other];
        let all = parts.iter().sum::<Duration>().as_secs_f64().max(f64::MIN_POSITIVE);
        let [linears, attention, other] = parts.map(|part| part.as_secs_f64() / all);
        Shares { linears, attention, other }
    }
}

impl Trace for Split {
    fn fused(&self) -> bool {
        true
    }

    fn node(&mut self, name: NodeName, _: &[usize], _: NodeData<'_>) {
        let lap = self.lap();
        let part = match (name.op, name.label) {
            (_, label) if label.starts_with("kq") => &mut self.attention,
            ("MUL_MAT", _) => &mut self.linears,
            _ => &mut self.other,
        };
        *part += lap;
    }
}
