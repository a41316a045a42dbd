//! From the first divergence to its name: which stage, how it looks, what explains it.

use crate::compare::further;
use crate::laws::{attention, norm, rope, sums};
use crate::pair::Pair;
use crate::reader::{Node, TraceFile};
use crate::shape::kind_of;
use crate::stage::{Stage, tensor_of};
use crate::verdict::{Divergence, Kind, Row};
use crate::view::View;
use crate::{TraceError, TraceHparams};

/// Below this correlation a product was made with other weights altogether.
const OTHER_MATRIX: f64 = 0.15;

/// What is found beyond the numbers of the node.
struct Findings {
    stage: Stage,
    kind: Option<Kind>,
    texts: Vec<String>,
}

/// Names the divergence at `node`. `grown`: its error is no more than what errors before it have grown to.
pub(crate) fn divergence(
    files: [&TraceFile; 2],
    node: &Node,
    row: &Row,
    pair: &Pair,
    grown: bool,
) -> Result<Divergence, TraceError> {
    let sides = files.map(|file| View { file, eval: row.eval, il: row.layer });
    let hparams = hparams(files);
    let size = head_size(node, &hparams, pair.n_cols);
    let mut found = Findings { stage: row.stage, kind: None, texts: Vec::new() };
    let tensor = tensor_of(node).map(|name| with_type(files, name));
    if row.stats.n_not_finite[0] == row.stats.n_not_finite[1] {
        explain(sides, node, &hparams, &mut found)?;
        if found.stage == Stage::KvCache && found.texts.is_empty() {
            found.texts.extend(attention::empty_cells(pair));
        }
        if found.texts.is_empty() {
            explain_product(node, row, pair, tensor.as_ref(), &mut found);
        }
    } else {
        let [a, b] = row.stats.n_not_finite;
        found.texts.push(format!("{a} values of A and {b} of B are NaN or infinite"));
    }
    let looks = kind_of(pair, &row.stats, size);
    let kind = match found.kind {
        Some(kind) => kind,
        None if grown && found.texts.is_empty() => Kind::Growth,
        None => looks,
    };
    if kind == Kind::Growth {
        let text = "no node stands out: the error grew to this step by step; take a noise trace, or a smaller model";
        found.texts.push(text.to_owned());
    }
    Ok(Divergence {
        eval: row.eval,
        node: row.node(),
        layer: row.layer,
        stage: found.stage,
        tensor,
        kind,
        findings: found.texts,
        next: found.stage.advice().to_owned(),
        further_from_oracle: further(row.oracle),
    })
}

/// What either side tells of the model; B is asked first.
fn hparams(files: [&TraceFile; 2]) -> TraceHparams {
    let [a, b] = files.map(|file| &file.info().hparams);
    TraceHparams {
        n_head: b.n_head.or(a.n_head),
        n_head_kv: b.n_head_kv.or(a.n_head_kv),
        n_embd_head: b.n_embd_head.or(a.n_embd_head),
        n_rot: b.n_rot.or(a.n_rot),
        norm_rms_eps: b.norm_rms_eps.or(a.norm_rms_eps),
        rope_freq_base: b.rope_freq_base.or(a.rope_freq_base),
    }
}

fn with_type(files: [&TraceFile; 2], name: String) -> (String, Option<String>) {
    let types = files.map(|file| &file.info().tensor_types);
    let find = |name: &str| types.iter().find_map(|types| types.get(name).cloned());
    match find(&name) {
        // A model without an output matrix takes the embedding.
        None if name == "output.weight" => match find("token_embd.weight") {
            Some(ty) => ("token_embd.weight".to_owned(), Some(ty)),
            None => (name, None),
        },
        ty => (name, ty),
    }
}

/// Elements that belong together in a row: a head where the node has heads.
fn head_size(node: &Node, hparams: &TraceHparams, n_cols: usize) -> usize {
    match node.label() {
        "Qcur" | "Kcur" | "Vcur" | "kqv_out" => hparams.n_embd_head.unwrap_or(n_cols),
        _ => n_cols,
    }
}

/// Asks the law of the node's stage on both sides.
fn explain(
    [a, b]: [View<'_>; 2],
    node: &Node,
    hparams: &TraceHparams,
    found: &mut Findings,
) -> Result<(), TraceError> {
    let label = node.label();
    match found.stage {
        Stage::RmsNorm | Stage::OutputNorm if label == "norm" => {
            let which = node.occurrence;
            if let (Some(a), Some(b)) = (norm::norm(a, which)?, norm::norm(b, which)?) {
                found.texts = norm::explain(&a, &b);
                found.kind = (!found.texts.is_empty()).then_some(Kind::RowScale);
            }
        }
        Stage::Rope => {
            let Some(size) = hparams.n_embd_head else { return Ok(()) };
            let n_rot = hparams.n_rot.unwrap_or(size).min(size);
            let of = |side| rope::rope(side, label, size, n_rot);
            if let (Some(a), Some(b)) = (of(a)?, of(b)?) {
                let (shift, texts) = rope::explain(&a, &b);
                found.texts = texts;
                found.kind = shift.map(Kind::Shift).or(Some(Kind::Different));
            }
        }
        Stage::Scores | Stage::KvCache => explain_reading([a, b], hparams, false, found)?,
        Stage::AttentionOutput if label == "kqv" => explain_reading([a, b], hparams, true, found)?,
        Stage::Softmax => {
            let heads = attention::Heads::new(hparams);
            if let (Some(a), Some(b)) = (attention::softmax(a)?, attention::softmax(b)?) {
                found.texts = attention::explain_softmax(&a, &b, heads);
                found.kind = (!found.texts.is_empty()).then_some(Kind::Different);
            }
        }
        Stage::Residual => {
            if let (Some(Some(text)), Some(None)) =
                (sums::residual(a, label)?, sums::residual(b, label)?)
            {
                found.texts.push(text.to_owned());
                found.kind = Some(Kind::Different);
            }
        }
        Stage::Ffn => {
            let of = |side| sums::activation(side, label);
            if let (Some((of_a, rest_a)), Some((of_b, rest_b))) = (of(a)?, of(b)?)
                && of_a != of_b
                && rest_a.max(rest_b) < 1e-4
            {
                found.texts.push(format!("the activation is {of_a} on A and {of_b} on B"));
                found.kind = Some(Kind::Different);
            }
        }
        _ => {}
    }
    Ok(())
}

/// What the sides read from the cache: keys for scores, values for sums.
fn explain_reading(
    [a, b]: [View<'_>; 2],
    hparams: &TraceHparams,
    sums: bool,
    found: &mut Findings,
) -> Result<(), TraceError> {
    let Some(heads) = attention::Heads::new(hparams) else { return Ok(()) };
    let of =
        |side| if sums { attention::sums(side, heads) } else { attention::scores(side, heads) };
    let (Some((of_a, rest_a)), Some((of_b, rest_b))) = (of(a)?, of(b)?) else { return Ok(()) };
    if of_a == of_b || rest_a.max(rest_b) > 1e-2 {
        return Ok(());
    }
    if let Some((cache, text)) = of_a.explain(if sums { "V" } else { "K" }) {
        found.texts.push(text);
        found.stage = if cache { Stage::KvCache } else { Stage::Scores };
        found.kind = Some(if of_a.shift != 0 { Kind::Shift(of_a.shift) } else { Kind::Different });
    }
    Ok(())
}

/// A product whose inputs agree: other weights, the same ones read wrongly, or a softcap.
fn explain_product(
    node: &Node,
    row: &Row,
    pair: &Pair,
    tensor: Option<&(String, Option<String>)>,
    found: &mut Findings,
) {
    if row.stage == Stage::OutputProjection {
        if let Some(cap) = sums::softcap(&pair.a, &pair.b) {
            found.texts.push(format!(
                "B's logits are A's under a softcap of {cap:.1}: it is missing on A"
            ));
            found.kind = Some(Kind::Different);
            return;
        }
        if let Some(cap) = sums::softcap(&pair.b, &pair.a) {
            found.texts.push(format!("A's logits are B's under a softcap of {cap:.1}"));
            found.kind = Some(Kind::Different);
            return;
        }
    }
    let Some((name, ty)) = tensor else { return };
    let is_product = node.op.as_deref().is_none_or(|op| op == "MUL_MAT" || op == "GET_ROWS");
    if !is_product || kind_of(pair, &row.stats, pair.n_cols) != Kind::Different {
        return;
    }
    if row.stats.cosine.abs() < OTHER_MATRIX {
        found.texts.push(format!(
            "the product has nothing in common with B's (cosine {:.3}): {name} is another matrix, or transposed",
            row.stats.cosine
        ));
        return;
    }
    let quantized =
        ty.as_ref().filter(|ty| !matches!(ty.to_lowercase().as_str(), "f32" | "f16" | "bf16"));
    if let Some(ty) = quantized {
        found.texts.push(format!(
            "the inputs agree and the products resemble each other (cosine {:.3}): the weights of {name} ({ty}) are read differently",
            row.stats.cosine
        ));
        found.stage = Stage::Weights;
    }
}
