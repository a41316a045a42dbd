//! What is told of a text's score: llama.cpp's lines for people, one object for programs.
use crate::{errors::CliError, output};
use perplexity::{Estimate, Quantile, Summary};
use serde::Serialize;
use std::io::{self, Write};

/// The object of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    pub(super) model: String,
    pub(super) numerics: &'static str,
    pub(super) n_ctx: usize,
    /// Chunks that were asked for; `chunks` has one number for each that was computed.
    pub(super) n_chunk: usize,
    pub(super) interrupted: bool,
    /// Tokens that were scored.
    pub(super) n_tokens: usize,
    pub(super) perplexity: Estimate,
    pub(super) chunks: &'a [f64],
    pub(super) kl: Option<Summary>,
    pub(super) seconds: f64,
    pub(super) tok_per_s: f64,
}

/// llama.cpp does not do statistics on fewer.
const FEW: usize = 100;

impl Report<'_> {
    pub(super) fn print(&self) -> Result<(), CliError> {
        output::print_with(|out| {
            let Estimate { mean, uncertainty } = self.perplexity;
            let (done, all) = (self.chunks.len(), self.n_chunk);
            match (self.interrupted, &self.kl) {
                (true, _) if done == 0 => writeln!(out, "Interrupted in the first chunk of {all}"),
                (true, _) => writeln!(
                    out,
                    "Interrupted after {done} of {all} chunks: PPL = {mean:.4} +/- {uncertainty:.5} so far"
                ),
                (false, None) => {
                    writeln!(out, "Final estimate: PPL = {mean:.4} +/- {uncertainty:.5}")
                }
                (false, Some(_)) => Ok(()),
            }?;
            match &self.kl {
                Some(kl) if kl.n_tokens < FEW => {
                    writeln!(out, "{} tokens: too few for statistics", kl.n_tokens)
                }
                Some(kl) => statistics(out, kl),
                None => Ok(()),
            }
        })
    }
}

/// The statistics of a comparison, as llama.cpp prints them.
fn statistics(out: &mut dyn Write, kl: &Summary) -> io::Result<()> {
    writeln!(out, "====== Perplexity statistics ======")?;
    let before = [("Mean PPL(Q)", kl.ppl), ("Mean PPL(base)", kl.ppl_base)];
    let behind = [
        ("Mean ln(PPL(Q)/PPL(base))", kl.ln_ppl_ratio),
        ("Mean PPL(Q)/PPL(base)", kl.ppl_ratio),
        ("Mean PPL(Q)-PPL(base)", kl.ppl_difference),
    ];
    means(out, &before)?;
    writeln!(out, "Cor(ln(PPL(Q)), ln(PPL(base))): {:6.2}%", 100.0 * kl.ln_ppl_correlation)?;
    means(out, &behind)?;

    writeln!(out, "\n====== KL divergence statistics ======")?;
    writeln!(out, "Mean    KLD: {:10.6} ± {:10.6}", kl.kld.mean, kl.kld.uncertainty)?;
    for quantile in &kl.kld_quantiles {
        writeln!(out, "{:<7} KLD: {:10.6}", name(quantile), quantile.value)?;
    }

    writeln!(out, "\n====== Token probability statistics ======")?;
    percent(out, "Mean    Δp", kl.p_diff)?;
    for quantile in &kl.p_diff_quantiles {
        writeln!(out, "{:<7} Δp: {:6.3}%", name(quantile), 100.0 * quantile.value)?;
    }
    percent(out, "RMS Δp    ", kl.p_diff_rms)?;
    percent(out, "Same top p", kl.same_top)
}

fn means(out: &mut dyn Write, lines: &[(&str, Estimate)]) -> io::Result<()> {
    lines.iter().try_for_each(|(label, e)| {
        writeln!(out, "{label:<30}: {:10.6} ± {:10.6}", e.mean, e.uncertainty)
    })
}

fn percent(out: &mut dyn Write, label: &str, e: Estimate) -> io::Result<()> {
    writeln!(out, "{label}: {:6.3} ± {:5.3} %", 100.0 * e.mean, 100.0 * e.uncertainty)
}

fn name(quantile: &Quantile) -> String {
    match quantile.percent {
        100.0 => "Maximum".to_owned(),
        50.0 => "Median".to_owned(),
        0.0 => "Minimum".to_owned(),
        percent => format!("{percent:4.1}%"),
    }
}
