//! Two traces side by side, node by node in the order of the graph, up to the first that is not noise.

use crate::TraceError;
use crate::diagnose;
use crate::floor::Floors;
use crate::pair::{Pair, pair};
use crate::reader::{Node, TraceFile};
use crate::stage::{Stage, stage_of};
use crate::stats::{nmse, stats};
use crate::verdict::{Comparison, Divergence, Kind, Row, Side, TopTokens};

/// Traces beside the two.
#[derive(Debug, Clone, Copy, Default)]
pub struct Others<'a> {
    /// A third trace of the same evaluations: what it differs from B by is noise.
    pub noise: Option<&'a TraceFile>,
    /// A trace in f64, or of whoever is to be believed.
    pub oracle: Option<&'a TraceFile>,
}

/// How many of the likeliest tokens are told.
const N_TOP: usize = 10;

/// Compares A with B.
///
/// # Errors
/// A file that can no longer be read; `NothingInCommon`.
pub fn compare(a: &TraceFile, b: &TraceFile, others: Others<'_>) -> Result<Comparison, TraceError> {
    let mut floors = Floors::new(a, b, others.noise)?;
    let mut found = Comparison {
        in_lockstep: true,
        divergence: None,
        floor: floors.source(),
        n_unmatched: [0; 2],
        notes: notes(a, b),
        rows: Vec::new(),
        tops: Vec::new(),
    };
    let n_evals = a.info().evals.len().min(b.info().evals.len());
    for eval in 0..n_evals {
        if let Some(end) = tokens_differ(a, b, eval, &mut found) {
            found.divergence = found.divergence.or(end);
            break;
        }
        compare_eval(a, b, others, eval, &mut floors, &mut found)?;
    }
    if found.rows.is_empty() && found.divergence.is_none() {
        return Err(TraceError::NothingInCommon);
    }
    found.in_lockstep = found.divergence.is_none();
    Ok(found)
}

fn notes(a: &TraceFile, b: &TraceFile) -> Vec<String> {
    let mut notes = Vec::new();
    let hashes = [&a.info().model_sha256, &b.info().model_sha256];
    if hashes.iter().all(|hash| !hash.is_empty()) && hashes[0] != hashes[1] {
        notes.push("the traces are of different model files".to_owned());
    }
    let n = [a.info().evals.len(), b.info().evals.len()];
    if n[0] != n[1] {
        notes.push(format!("A has {} evaluations, B {}; the rest is not compared", n[0], n[1]));
    }
    notes
}

/// If the sides evaluate different tokens the comparison ends here; in the prompt and behind equal logits that is a
/// divergence.
fn tokens_differ(
    a: &TraceFile,
    b: &TraceFile,
    eval: usize,
    found: &mut Comparison,
) -> Option<Option<Divergence>> {
    let (ea, eb) = (&a.info().evals[eval], &b.info().evals[eval]);
    if ea == eb {
        return None;
    }
    let divergence = |stage: Stage, findings: String| Divergence {
        eval,
        node: String::new(),
        layer: None,
        stage,
        tensor: None,
        kind: Kind::Different,
        findings: vec![findings],
        next: stage.advice().to_owned(),
        further_from_oracle: None,
    };
    if eval == 0 {
        let (ta, tb) = (&ea.tokens, &eb.tokens);
        let at = ta.iter().zip(tb).take_while(|(a, b)| a == b).count();
        let id = |t: &[u32]| t.get(at).map_or("nothing".to_owned(), u32::to_string);
        let text = format!(
            "A's prompt has {} tokens, B's {}; the first that differ, at {at}, are {} and {}",
            ta.len(),
            tb.len(),
            id(ta),
            id(tb)
        );
        return Some(Some(divergence(Stage::Tokenizer, text)));
    }
    let text = format!(
        "A goes on with {:?} at {}, B with {:?} at {}",
        ea.tokens, ea.n_past, eb.tokens, eb.n_past
    );
    // Each side took its likeliest token, and these are not the same: a tie that noise decided, or a divergence
    // that has been told.
    let behind_a_tie = found.tops.last().is_some_and(|top| {
        let likeliest = [0, 1].map(|side| top.top[side].first().map(|(id, _)| *id));
        likeliest == [ea.tokens.first().copied(), eb.tokens.first().copied()]
            && likeliest[0] != likeliest[1]
    });
    if behind_a_tie {
        found.notes.push(format!("{text}: two likeliest tokens nearly tied; compared up to there"));
        return Some(None);
    }
    Some(Some(divergence(Stage::Sampler, text)))
}

/// The nodes of an evaluation in the order in which they matter: the cache's contents before they are read.
fn graph_order(file: &TraceFile, eval: usize) -> Vec<&Node> {
    let (caches, mut nodes): (Vec<&Node>, Vec<&Node>) = file
        .nodes()
        .iter()
        .filter(|node| node.eval == eval)
        .partition(|node| node.label().starts_with("cache_"));
    for cache in caches {
        let reads = |node: &&Node| {
            node.layer() == cache.layer()
                && matches!(stage_of(node), Stage::Scores | Stage::AttentionOutput)
        };
        let at = nodes.iter().position(reads).unwrap_or(nodes.len());
        nodes.insert(at, cache);
    }
    nodes
}

fn compare_eval(
    a: &TraceFile,
    b: &TraceFile,
    others: Others<'_>,
    eval: usize,
    floors: &mut Floors,
    found: &mut Comparison,
) -> Result<(), TraceError> {
    let info = &b.info().evals[eval];
    let mut layer = None;
    let mut n_matched = 0;
    for node in graph_order(b, eval) {
        layer = node.layer().or(if node.label() == "node" { layer } else { None });
        let twin = a.node(eval, &node.name, node.occurrence);
        let pair = match twin {
            Some(twin) => pair([a, b], [twin, node], info)?.map(|pair| (twin, pair)),
            None => None,
        };
        let Some((twin, Pair { a: va, b: vb, n_cols })) = pair else {
            found.n_unmatched[1] += 1;
            continue;
        };
        n_matched += 1;
        let mut described = node.clone();
        described.op = node.op.clone().or(twin.op.clone());
        let stats = stats(&va, &vb);
        let (floor, diverged) = floors.judge(&described, &stats);
        let truth =
            others.oracle.and_then(|o| Some((o, o.node(eval, &node.name, node.occurrence)?)));
        let oracle = match truth {
            Some((o, truth)) => to_oracle([a, b], o, [twin, node], truth, info)?,
            None => None,
        };
        let row = Row {
            eval,
            name: node.name.clone(),
            occurrence: node.occurrence,
            op: described.op.clone(),
            layer,
            stage: stage_of(&described),
            stats,
            floor,
            diverged,
            oracle,
        };
        if diverged && found.divergence.is_none() {
            let pair = Pair { a: va, b: vb, n_cols };
            let grown = floors.has_grown(&stats);
            found.divergence = Some(diagnose::divergence([a, b], &described, &row, &pair, grown)?);
        }
        found.rows.push(row);
    }
    found.n_unmatched[0] += a.nodes().iter().filter(|n| n.eval == eval).count() - n_matched;
    top_tokens(a, b, eval, found)
}

/// NMSE of both sides against a third.
fn to_oracle(
    sides: [&TraceFile; 2],
    oracle: &TraceFile,
    nodes: [&Node; 2],
    truth: &Node,
    info: &crate::EvalInfo,
) -> Result<Option<[f64; 2]>, TraceError> {
    let mut errors = [0.0; 2];
    for i in 0..2 {
        let Some(pair) = pair([sides[i], oracle], [nodes[i], truth], info)? else {
            return Ok(None);
        };
        errors[i] = nmse(&pair.a, &pair.b);
    }
    Ok(Some(errors))
}

/// What each side says comes next.
fn top_tokens(
    a: &TraceFile,
    b: &TraceFile,
    eval: usize,
    found: &mut Comparison,
) -> Result<(), TraceError> {
    let mut logits = Vec::new();
    for side in [a, b] {
        let is_logits = |node: &&Node| node.eval == eval && node.name == "result_output";
        let Some(node) = side.nodes().iter().rfind(is_logits) else { return Ok(()) };
        let values = side.values(node)?;
        let n_vocab = node.shape.last().copied().unwrap_or(0);
        logits.push(values[values.len() - n_vocab.min(values.len())..].to_vec());
    }
    let [la, lb] = [&logits[0], &logits[1]];
    if la.is_empty() || la.len() != lb.len() {
        return Ok(());
    }
    let top = [top(la), top(lb)];
    let rank = |logits: &[f64], id: u32| {
        let own = logits[id as usize];
        logits.iter().filter(|l| **l > own).count()
    };
    let first = |side: usize| top[side].first().map_or(0, |(id, _)| *id);
    let rank_on_other = [rank(lb, first(0)), rank(la, first(1))];
    found.tops.push(TopTokens { eval, top, rank_on_other });
    Ok(())
}

/// The highest logits, lower ids first where equal.
fn top(logits: &[f64]) -> Vec<(u32, f64)> {
    let mut ids: Vec<(u32, f64)> = (0..).zip(logits.iter().copied()).collect();
    let order = |x: &(u32, f64), y: &(u32, f64)| y.1.total_cmp(&x.1).then(x.0.cmp(&y.0));
    if ids.len() > N_TOP {
        ids.select_nth_unstable_by(N_TOP, order);
        ids.truncate(N_TOP);
    }
    ids.sort_by(order);
    ids
}

/// Which side is further from the oracle.
pub(crate) fn further(oracle: Option<[f64; 2]>) -> Option<Side> {
    oracle.map(|[a, b]| if a > b { Side::A } else { Side::B })
}
