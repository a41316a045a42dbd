//! The tables of `--full`.
use super::certificate::{Certificate, Compared};
use std::fmt::Write;

/// The worst error of every stage of every comparison, and the RMS of every layer.
pub(super) fn tables(certificate: &Certificate) -> String {
    let mut text = String::new();
    for compared in &certificate.comparisons {
        stages(compared, &mut text);
    }
    layers(certificate, &mut text);
    text
}

fn stages(compared: &Compared, text: &mut String) {
    let (a, b) = (&compared.a, &compared.b);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n{a} beside {b}; noise: {}", compared.floor.describe());
    let _ = writeln!(
        text,
        "{:<24} {:>6}  {:<20} {:>9} {:>9} {:>9}",
        "stage", "nodes", "worst node", "NMSE", "noise", "max error"
    );
    for stage in &compared.stages {
        let node = match stage.eval {
            0 => stage.node.clone(),
            eval => format!("{} ({eval})", stage.node),
        };
        let _ = writeln!(
            text,
            "{:<24} {:>6}  {node:<20} {:>9.1e} {:>9.1e} {:>9.1e}",
            stage.stage.name(),
            stage.n_nodes,
            stage.nmse,
            stage.floor,
            stage.max_error
        );
    }
}

fn layers(certificate: &Certificate, text: &mut String) {
    let all = &certificate.arithmetics;
    let Some(first) = all.first().filter(|first| !first.rms_by_layer.is_empty()) else { return };
    let _ = write!(text, "\n{:<8}", "RMS");
    for evaluated in all {
        let _ = write!(text, " {:>11}", evaluated.numerics);
    }
    text.push('\n');
    for il in 0..first.rms_by_layer.len() {
        let _ = write!(text, "l_out-{il:<2}");
        for evaluated in all {
            let rms = evaluated.rms_by_layer.get(il).copied().unwrap_or(f64::NAN);
            let _ = write!(text, " {rms:>11.5}");
        }
        text.push('\n');
    }
}
