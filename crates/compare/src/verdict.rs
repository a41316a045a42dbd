//! What a comparison found.

use crate::stage::Stage;
use crate::stats::Stats;
use serde::Serialize;

/// One node on both sides.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The evaluation.
    pub eval: usize,
    /// llama.cpp's name.
    pub name: String,
    /// How many of that name came before.
    pub occurrence: usize,
    /// ggml's operation, if either side tells.
    pub op: Option<String>,
    /// The layer; for a node without a name that of the nodes around it.
    pub layer: Option<usize>,
    /// The stage.
    pub stage: Stage,
    /// How the two sides differ.
    #[serde(flatten)]
    pub stats: Stats,
    /// What NMSE is noise here.
    pub floor: f64,
    /// Whether it is above.
    pub diverged: bool,
    /// NMSE of A and of B against the oracle.
    pub oracle: Option<[f64; 2]>,
}

impl Row {
    /// `Qcur-0#1`.
    #[must_use]
    pub fn node(&self) -> String {
        format!("{}#{}", self.name, self.occurrence)
    }
}

/// How a divergence looks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A has values that are no numbers.
    NotFinite,
    /// A is B times a factor.
    Scale(f64),
    /// A is B with the sign turned.
    Sign,
    /// Each row is B's times a factor of its own.
    RowScale,
    /// The same values in other places.
    Permutation,
    /// Rows or positions are moved by so many.
    Shift(i64),
    /// One head only.
    OneHead(usize),
    /// One row (token) only.
    OneRow(usize),
    /// An error that grew from node to node, with no place where it began.
    Growth,
    /// Another operation, parameter or input: the findings say which.
    Different,
}

impl Kind {
    /// In plain words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::NotFinite => "NaN or infinity".to_owned(),
            Self::Scale(factor) => format!("scaled by {factor:.6}"),
            Self::Sign => "the sign is turned".to_owned(),
            Self::RowScale => "each row is scaled by a factor of its own".to_owned(),
            Self::Permutation => "the right values in other places".to_owned(),
            Self::Shift(n) => format!("shifted by {n:+}"),
            Self::OneHead(head) => format!("only head {head}"),
            Self::OneRow(row) => format!("only row {row}"),
            Self::Growth => "grown from node to node".to_owned(),
            Self::Different => "other values".to_owned(),
        }
    }
}

/// A side of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Side {
    /// The first trace.
    A,
    /// The second trace.
    B,
}

/// The first node at which the sides part, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Divergence {
    /// The evaluation.
    pub eval: usize,
    /// The node, `Qcur-0#1`; empty before the graph (tokenizer) and behind it (sampler).
    pub node: String,
    /// The layer.
    pub layer: Option<usize>,
    /// The stage.
    pub stage: Stage,
    /// The tensor that made the node, and its type if a trace tells.
    pub tensor: Option<(String, Option<String>)>,
    /// How it looks.
    pub kind: Kind,
    /// What was found about it, one sentence each.
    pub findings: Vec<String>,
    /// What to look at next.
    pub next: String,
    /// With an oracle: which side is further from the truth here.
    pub further_from_oracle: Option<Side>,
}

/// Where the noise floor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FloorSource {
    /// Both traces name the same arithmetic: every differing bit counts.
    Exact,
    /// From a third trace beside B.
    Measured,
    /// From what rounding activations to 8 bits may do, and how errors grow.
    Derived,
    /// The same where neither side rounds activations: from what f32 sums in another order may do.
    DerivedExact,
}

impl FloorSource {
    /// In plain words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Exact => "both sides name the same arithmetic, so every bit counts",
            Self::Measured => "ten times what the third trace differs from B by",
            Self::Derived => {
                "derived: activations rounded to 8 bits, errors grown up to 16-fold from node to node"
            }
            Self::DerivedExact => {
                "derived: f32 sums in another order, errors grown up to 16-fold from node to node"
            }
        }
    }
}

/// The likeliest tokens behind an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct TopTokens {
    /// The evaluation.
    pub eval: usize,
    /// (id, logit) of A and of B, highest first.
    pub top: [Vec<(u32, f64)>; 2],
    /// The rank of A's likeliest token on B, and of B's on A; 0 is the likeliest.
    pub rank_on_other: [usize; 2],
}

/// Everything a comparison found.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Whether no node is above its floor.
    pub in_lockstep: bool,
    /// The first divergence.
    pub divergence: Option<Divergence>,
    /// What counts as noise.
    pub floor: FloorSource,
    /// Nodes of A and of B that the other side has not, or not in this shape.
    pub n_unmatched: [usize; 2],
    /// What else is to be told.
    pub notes: Vec<String>,
    /// Every node compared, in graph order.
    pub rows: Vec<Row>,
    /// Likeliest tokens by evaluation.
    pub tops: Vec<TopTokens>,
}
