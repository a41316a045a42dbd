//! The first half of a gated feed-forward block, up to the activations of the second.

use super::{DYNAMIC_FROM, Product, SWEEP};
use crate::team::{BlockMut, Cut, FieldPart, Schedule};
use crate::{ActForm, ActForms, Acts, Isa, Matrix, Team, norm};

/// What is done to a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// As [`crate::swiglu`].
    Silu,
    /// As [`crate::geglu`].
    Gelu,
}

/// `act(gate * x) * (up * x)`.
#[derive(Debug, Clone, Copy)]
pub struct Gated<'a> {
    /// `[n_ff, n_cols]`
    pub gate: &'a Matrix,
    /// The same shape.
    pub up: &'a Matrix,
    /// The function.
    pub act: Gate,
}

/// A thread's part on its way: products, then activations.
#[derive(Debug, Default)]
pub(crate) struct GatedScratch {
    gate: Vec<f32>,
    up: Vec<f32>,
    acts: Acts,
}

/// Columns that are multiplied before the next ones are begun, where there are many tokens.
const COLUMNS: usize = 32;

/// Columns of a part that holds whole blocks of every form; `None` if there are no such parts, or so few that some
/// thread would have a sixteenth more to do than its share. (Of many tokens, blocks of 256 are dealt out by [`SWEEP`].)
fn unit(team: &Team, forms: ActForms, n_ff: usize, n_tokens: usize) -> Option<usize> {
    let unit = if forms.contains(ActForm::Q8_K) { 256 } else { COLUMNS };
    let many = unit > COLUMNS && n_tokens >= DYNAMIC_FROM;
    let n_parts = n_ff / unit * if many { n_tokens.div_ceil(SWEEP) } else { 1 };
    let most = n_parts.div_ceil(team.n_threads()) * team.n_threads();
    (n_ff.is_multiple_of(unit) && 16 * most <= 17 * n_parts).then_some(unit)
}

/// Computes `what` of `acts` straight into the forms of the matrices that follow: `next` is as if it had been prepared
/// from the result. Returns whether it did: not if blocks of those forms cannot be dealt out evenly.
/// # Panics
/// On shapes that do not match; if `acts` was not prepared in the forms that the matrices need.
pub fn gated(
    isa: Isa,
    team: &Team,
    acts: &Acts,
    what: &Gated<'_>,
    forms: ActForms,
    next: &mut Acts,
) -> bool {
    let (n_tokens, n_ff) = (acts.n_tokens(), what.gate.n_rows());
    for w in [what.gate, what.up] {
        assert_eq!((w.n_rows(), w.n_cols()), (n_ff, acts.n_cols()), "shape of a matrix");
        assert!(acts.has(w.act_form()), "activations were not prepared as {:?}", w.act_form());
    }
    let Some(unit) = unit(team, forms, n_ff, n_tokens).filter(|_| n_tokens > 0) else {
        return false;
    };
    let few = n_tokens < DYNAMIC_FROM;
    let products = [what.gate, what.up].map(|w| Product::new(isa, team, w, acts, None, false));
    let sweep = if unit > COLUMNS { SWEEP } else { products[0].sweep_tokens() };
    let cut = Cut {
        n_tokens: sweep / isa.tile() * isa.tile(),
        n_cols: unit,
        schedule: if few { Schedule::Static } else { Schedule::Dynamic },
    };
    let mut states = std::mem::take(next.gated_scratch());
    states.resize_with(states.len().max(team.n_threads()), GatedScratch::default);
    let mut field = next.field(isa, forms, n_tokens, n_ff);
    team.for_parts(&mut field, cut, &mut states, &|scratch: &mut GatedScratch, part| {
        scratch.compute(
            isa,
            &products,
            what.act,
            if few { part.columns().len() } else { COLUMNS },
            part,
        );
        scratch.finish(isa, forms, part);
    });
    *next.gated_scratch() = states;
    true
}

impl GatedScratch {
    /// The gated products of a part, into `self.gate`; `step` columns at a time.
    fn compute(
        &mut self,
        isa: Isa,
        [gate, up]: &[Product<'_>; 2],
        act: Gate,
        step: usize,
        part: &FieldPart<'_>,
    ) {
        let (tokens, columns) = (part.tokens(), part.columns());
        let n = tokens.len() * columns.len();
        self.gate.resize(self.gate.len().max(n), 0.0);
        self.up.resize(self.up.len().max(tokens.len() * step), 0.0);
        let mut gates = BlockMut::of(&mut self.gate[..n], columns.len());
        for start in columns.clone().step_by(step) {
            let rows = start..columns.end.min(start + step);
            let place = rows.start - columns.start..rows.end - columns.start;
            let mut ups = BlockMut::of(&mut self.up[..tokens.len() * rows.len()], rows.len());
            gate.compute(tokens.clone(), rows.clone(), &mut gates.columns(place.clone()));
            up.compute(tokens.clone(), rows.clone(), &mut ups);
            if place.len() < columns.len() {
                for i in 0..tokens.len() {
                    norm::gate_in_place(isa, act, &mut gates.row(i)[place.clone()], ups.row(i));
                }
            }
        }
        if step >= columns.len() {
            norm::gate_in_place(isa, act, &mut self.gate[..n], &self.up[..n]);
        }
    }

    /// Brings `self.gate` into the forms that are wanted, and those to where they belong.
    fn finish(&mut self, isa: Isa, forms: ActForms, part: &mut FieldPart<'_>) {
        let n_cols = part.columns().len();
        self.acts.prepare_alone(isa, forms, &self.gate[..part.tokens().len() * n_cols], n_cols);
        self.acts.put_into(part);
    }
}
