//! Two nodes of one name, brought to the same elements.

use crate::TraceError;
use crate::format::EvalInfo;
use crate::reader::{Node, TraceFile};

/// Values of both sides, element by element.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) a: Vec<f64>,
    pub(crate) b: Vec<f64>,
    /// Elements of a row (the innermost dimension of B).
    pub(crate) n_cols: usize,
}

/// Reads two nodes. `None` if their shapes cannot be brought together.
pub(crate) fn pair(
    files: [&TraceFile; 2],
    nodes: [&Node; 2],
    eval: &EvalInfo,
) -> Result<Option<Pair>, TraceError> {
    let (mut a, mut b) = (files[0].values(nodes[0])?, files[1].values(nodes[1])?);
    let cols = nodes.map(|node| node.shape.last().copied().unwrap_or(1));
    let label = nodes[1].label();
    // Before the softmax, with the steps of a cap.
    let is_score = matches!(label, "kq" | "kq_scaled_1" | "kq_tanh" | "kq_scaled_2");
    if is_score || label.starts_with("kq_soft_max") {
        let n_kv = cols[0].min(cols[1]);
        // Scores of masked cells are nobody's business; the weights behind the softmax are.
        let last = |t: usize| if is_score { (eval.n_past + t + 1).min(n_kv) } else { n_kv };
        let n_tokens = eval.tokens.len().max(1);
        a = cells(&a, cols[0], n_tokens, last);
        b = cells(&b, cols[1], n_tokens, last);
        return Ok((a.len() == b.len()).then_some(Pair { a, b, n_cols: n_kv }));
    }
    // One side may have traced more rows than the outputs, or in the cache more than the cells in use.
    if a.len() != b.len() && cols[0] == cols[1] {
        let n = a.len().min(b.len());
        let is_cache = label.starts_with("cache_");
        for values in [&mut a, &mut b] {
            if is_cache {
                values.truncate(n);
            } else {
                values.drain(..values.len() - n);
            }
        }
    }
    Ok((a.len() == b.len()).then_some(Pair { a, b, n_cols: cols[1].max(1) }))
}

/// The first cells of each row `[…, n_tokens, n_kv]`; how many depends on the token.
fn cells(x: &[f64], n_kv: usize, n_tokens: usize, last: impl Fn(usize) -> usize) -> Vec<f64> {
    let rows = x.chunks_exact(n_kv.max(1)).enumerate();
    rows.flat_map(|(i, row)| row.iter().take(last(i % n_tokens))).copied().collect()
}
