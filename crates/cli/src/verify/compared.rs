//! Two evaluations side by side: the machinery of `lockstep compare`, and the worst of each stage.
use super::{
    certificate::{Compared, StageError},
    ladder::{Climbed, Step},
};
use crate::errors::CliError;
use compare::{Comparison, Others, Row, TraceFile};

/// A side by name.
pub(super) struct Side<'a> {
    pub(super) name: &'a str,
    pub(super) file: &'a TraceFile,
}

/// Holds `a` against `b`.
pub(super) fn compare(a: &Side<'_>, b: &Side<'_>, others: Others<'_>) -> Climbed<Compared> {
    let found = compare::compare(a.file, b.file, others).map_err(CliError::from)?;
    let report = Compared {
        a: a.name.to_owned(),
        b: b.name.to_owned(),
        in_lockstep: found.in_lockstep,
        floor: found.floor,
        n_nodes: found.rows.len(),
        n_unmatched: found.n_unmatched,
        stages: stages(&found.rows),
        divergence: found.divergence.clone(),
        notes: found.notes.clone(),
    };
    let notes = report.notes.clone();
    Ok(if report.in_lockstep {
        let detail = agreement(&report);
        Step::ok(report, detail).with_notes(notes)
    } else {
        let verdict = compare::verdict(&found);
        let mut lines = verdict.lines().map(|line| line.trim().to_owned());
        let detail = lines.next().unwrap_or_default();
        let who = format!("A is {}, B {}", a.name, b.name);
        let lines: Vec<_> =
            [who].into_iter().chain(lines).chain(worse(&found)).chain(notes).collect();
        Step::fail(report, detail).with_notes(lines)
    })
}

/// How many other nodes are above their floors.
fn worse(found: &Comparison) -> Option<String> {
    let n = found.rows.iter().filter(|row| row.diverged).count();
    (n > 1).then(|| format!("{n} of {} nodes are above their noise", found.rows.len()))
}

fn agreement(report: &Compared) -> String {
    let n = report.n_nodes;
    match report.stages.iter().max_by(|a, b| a.nmse.total_cmp(&b.nmse)) {
        Some(worst) if worst.nmse > 0.0 => format!(
            "{n} nodes; the worst is {} ({}), NMSE {:.1e} where {:.1e} is noise",
            worst.node,
            worst.stage.name(),
            worst.nmse,
            worst.floor
        ),
        _ => format!("{n} nodes; every bit is the same"),
    }
}

/// The worst node of each stage, in the order of the graph.
fn stages(rows: &[Row]) -> Vec<StageError> {
    let mut stages: Vec<StageError> = Vec::new();
    for row in rows {
        let here = StageError {
            stage: row.stage,
            n_nodes: 1,
            eval: row.eval,
            node: row.node(),
            nmse: row.stats.nmse,
            max_error: row.stats.max_error,
            floor: row.floor,
        };
        match stages.iter_mut().find(|stage| stage.stage == row.stage) {
            None => stages.push(here),
            Some(stage) => {
                let n_nodes = stage.n_nodes + 1;
                // NaN is the worst.
                if here.nmse.total_cmp(&stage.nmse).is_gt() {
                    *stage = here;
                }
                stage.n_nodes = n_nodes;
            }
        }
    }
    stages
}
