//! What is noise, node by node.

use crate::TraceError;
use crate::pair::pair;
use crate::reader::{Node, TraceFile};
use crate::stats::{Stats, nmse};
use crate::verdict::FloorSource;
use std::collections::HashMap;

/// How much larger than the noise measured an error may be: one pair is one sample.
pub const MARGIN: f64 = 10.0;
/// From here on measured noise is more than rounding of sums, so that a ratio to it means something.
const MEASURABLE: f64 = 1e-8;
/// How many times noisier than the third trace A may be.
const NOISIER: f64 = 100.0;
/// f32 sums in another order: n * eps^2 with a wide margin for cancellation.
pub const F32_NOISE: f64 = 1e-10;
/// Angles multiplied up in f32 from pair to pair: an angle is off by its rounding times the pair's number, up to 3e-4
/// at thousands of positions, and a cosine by as much.
const ANGLE_NOISE: f64 = 1e-7;
/// Activations rounded to 8 bits with one scale for 32 of them: each is off by at most half a step of amax/127,
/// uniformly, so by amax^2 / (12 * 127^2) in the mean square, and amax^2 is at most 32 mean squares of the block.
const ACTIVATION_NOISE: f64 = 32.0 / (12.0 * 127.0 * 127.0);
/// How much an error may grow from one node to the next.
const GROWTH: f64 = 16.0;
/// More than this is never noise.
const CEILING: f64 = 0.25;

/// The floors of a comparison, node after node.
pub(crate) struct Floors {
    source: FloorSource,
    /// NMSE of the noise trace against B, by evaluation, name and occurrence.
    measured: HashMap<(usize, String, usize), f64>,
    /// The largest measured so far, by label and occurrence.
    largest: HashMap<(String, usize), f64>,
    /// Whether neither side rounds activations: then only sums are noisy.
    exact: bool,
    /// The evaluation that is being judged.
    eval: usize,
    /// The largest NMSE so far in this evaluation that was noise, of all nodes that this one may depend on.
    error: f64,
    /// The same at the end of each layer: in this evaluation, and the largest of those before it, whose keys and values
    /// this one reads.
    by_layer: [HashMap<usize, f64>; 2],
    /// The largest ratio so far of an error to what was measured; at least 1.
    noisier: f64,
    /// Whether a product has been passed.
    rounded: bool,
}

impl Floors {
    pub(crate) fn new(
        a: &TraceFile,
        b: &TraceFile,
        noise: Option<&TraceFile>,
    ) -> Result<Self, TraceError> {
        let arithmetic = [&a.info().arithmetic, &b.info().arithmetic];
        let exact = [a, b].iter().all(|file| file.info().activations == "exact");
        let source = match noise {
            Some(_) => FloorSource::Measured,
            None if arithmetic[0] == arithmetic[1] && !arithmetic[0].is_empty() => {
                FloorSource::Exact
            }
            None if exact => FloorSource::DerivedExact,
            None => FloorSource::Derived,
        };
        let mut measured = HashMap::new();
        if let Some(noise) = noise {
            for node in b.nodes() {
                let Some(twin) = noise.node(node.eval, &node.name, node.occurrence) else {
                    continue;
                };
                let eval = &b.info().evals[node.eval];
                if noise.info().evals.get(node.eval) != Some(eval) {
                    continue;
                }
                if let Some(pair) = pair([noise, b], [twin, node], eval)? {
                    let key = (node.eval, node.name.clone(), node.occurrence);
                    measured.insert(key, nmse(&pair.a, &pair.b));
                }
            }
        }
        Ok(Self {
            source,
            measured,
            largest: HashMap::new(),
            exact,
            eval: 0,
            error: 0.0,
            by_layer: [HashMap::new(), HashMap::new()],
            noisier: 1.0,
            rounded: false,
        })
    }

    pub(crate) fn source(&self) -> FloorSource {
        self.source
    }

    /// The floor of the next node, and whether it is above.
    pub(crate) fn judge(&mut self, node: &Node, stats: &Stats) -> (f64, bool) {
        self.come_to(node);
        let floor = match self.source {
            FloorSource::Exact => 0.0,
            FloorSource::Measured => self.measured(node),
            FloorSource::Derived | FloorSource::DerivedExact => self.derived(node),
        };
        let not_finite = stats.n_not_finite[0] != stats.n_not_finite[1];
        let diverged = not_finite || stats.nmse > floor || stats.nmse.is_nan();
        if !diverged {
            self.error = self.error.max(stats.nmse);
            if let Some(il) = node.layer() {
                raise(&mut self.by_layer[0], il, self.error);
            }
            let largest = self.largest.get(&kind(node)).copied().unwrap_or(0.0);
            if largest > MEASURABLE {
                self.noisier = self.noisier.max(stats.nmse / largest).min(NOISIER);
            }
        }
        (floor, diverged)
    }

    /// What a node may depend on: an evaluation begins anew, but its layers read what earlier ones have stored.
    fn come_to(&mut self, node: &Node) {
        if node.eval != self.eval {
            let [this, before] = &mut self.by_layer;
            for (il, error) in this.drain() {
                raise(before, il, error);
            }
            (self.eval, self.error, self.rounded) = (node.eval, 0.0, false);
        }
        let stored = node.layer().and_then(|il| self.by_layer[1].get(&il));
        self.error = self.error.max(stored.copied().unwrap_or(0.0));
    }

    /// Whether an error above its floor is no more than what came before has grown to.
    pub(crate) fn has_grown(&self, stats: &Stats) -> bool {
        self.source != FloorSource::Exact && stats.nmse < GROWTH * self.error
    }

    /// From the third trace: the largest error of this kind of node up to here, in proportion to how noisy A has been
    /// so far.
    fn measured(&mut self, node: &Node) -> f64 {
        let key = (node.eval, node.name.clone(), node.occurrence);
        let Some(here) = self.measured.get(&key).copied() else {
            // The third trace has no such node: then as without it.
            return self.derived(node);
        };
        let largest = self.largest.entry(kind(node)).or_default();
        *largest = largest.max(here);
        let measured = MARGIN * self.noisier * *largest;
        measured.max(self.local(node)).min(CEILING)
    }

    fn derived(&mut self, node: &Node) -> f64 {
        self.local(node).max(GROWTH * self.error).min(CEILING)
    }

    /// What a single node may add whatever came before: codes of activations that fall to the other side, or sums
    /// in another order.
    fn local(&mut self, node: &Node) -> f64 {
        if is_angles(node) {
            return ANGLE_NOISE;
        }
        if self.exact {
            return F32_NOISE;
        }
        self.rounded |= !is_early(node);
        if self.rounded { ACTIVATION_NOISE } else { F32_NOISE }
    }
}

/// Makes the layer's value at least `value`.
fn raise(values: &mut HashMap<usize, f64>, il: usize, value: f64) {
    let old = values.entry(il).or_default();
    *old = old.max(value);
}

/// Nodes of one kind: `l_out` of all layers.
fn kind(node: &Node) -> (String, usize) {
    (node.label().to_owned(), node.occurrence)
}

/// Whether a node is a table of cosines and sines.
fn is_angles(node: &Node) -> bool {
    node.label().starts_with("rope_table")
}

/// Whether a node comes before any product: the embedding, and the first norm. A trace need not have the products
/// themselves, so that every other node is behind one.
fn is_early(node: &Node) -> bool {
    let (label, first) = (node.label(), node.occurrence == 0);
    let is_first_norm = label.starts_with("attn_norm") || label.starts_with("norm") && first;
    label.contains("embd") || label.starts_with("inp") || node.layer() == Some(0) && is_first_norm
}
