//! `lockstep show`: what a model is, in a few lines.
use crate::{
    errors::{CliError, Exit, one_line},
    human,
    inspect::plan,
    model, output,
};
use clap::Args;
use gguf_parse::{Gguf, Value};
use serde::Serialize;
use std::{ffi::OsString, path::Path};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf
    model: OsString,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn show(args: &ShowArgs) -> Result<Exit, CliError> {
    let path = model::resolve(&args.model)?;
    let gguf = model::open(&path)?;
    let card = Card::new(&path, &gguf);
    if args.json {
        output::print_json(&card)?;
    } else {
        output::print_with(|out| {
            for (label, value) in card.lines() {
                writeln!(out, "{label:<18} {value}")?;
            }
            Ok(())
        })?;
    }
    Ok(Exit::Ok)
}

/// What is told; `None` is what the file does not say.
#[derive(Debug, Serialize)]
struct Card {
    path: String,
    n_bytes: u64,
    name: Option<String>,
    architecture: Option<String>,
    n_params: u64,
    quantization: String,
    n_ctx_train: Option<u64>,
    n_embd: Option<u64>,
    n_layer: Option<u64>,
    n_vocab: Option<usize>,
    tokenizer: Option<String>,
    chat_template: bool,
    license: Option<String>,
    /// `general.sampling.*`, which the sampler's defaults give way to.
    sampling: Vec<String>,
}

impl Card {
    fn new(path: &Path, gguf: &Gguf) -> Self {
        let metadata = gguf.metadata();
        let text = |key: &str| metadata.get::<&str>(key).ok().map(one_line);
        let sums = plan::by_type(gguf);
        let largest = sums.first().map_or("none", |(ty, _)| ty.name());
        let file_type = metadata.get::<u32>("general.file_type").ok().and_then(file_type);
        let sampling = metadata.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix("general.sampling.")?;
            Some(one_line(&format!("{name}={}", crate::inspect::value_text(value))))
        });
        Self {
            path: path.display().to_string(),
            n_bytes: gguf.file_bytes(),
            name: text("general.name"),
            architecture: text("general.architecture"),
            n_params: sums.iter().fold(0, |n, (_, sum)| n.saturating_add(sum.n_elems)),
            quantization: file_type.unwrap_or(largest).to_owned(),
            n_ctx_train: plan::hparam(gguf, "context_length"),
            n_embd: plan::hparam(gguf, "embedding_length"),
            n_layer: plan::hparam(gguf, "block_count"),
            n_vocab: metadata.value("tokenizer.ggml.tokens").and_then(|value| match value {
                Value::Array(tokens) => Some(tokens.len()),
                _ => None,
            }),
            tokenizer: text("tokenizer.ggml.model"),
            chat_template: metadata.value("tokenizer.chat_template").is_some(),
            license: text("general.license"),
            sampling: sampling.collect(),
        }
    }

    /// The lines for people.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let or_unknown =
            |text: &Option<String>| text.clone().unwrap_or_else(|| "not told".to_owned());
        let number = |n: Option<u64>| n.map_or_else(|| "not told".to_owned(), human::count);
        let vocabulary = self.n_vocab.map_or_else(
            || "none".to_owned(),
            |n| format!("{} tokens ({})", human::count(n as u64), or_unknown(&self.tokenizer)),
        );
        let mut lines = vec![
            ("file", one_line(&self.path)),
            ("size", human::bytes(self.n_bytes)),
            ("name", or_unknown(&self.name)),
            ("architecture", or_unknown(&self.architecture)),
            ("parameters", human::si(self.n_params)),
            ("quantization", self.quantization.clone()),
            ("context length", number(self.n_ctx_train)),
            ("embedding length", number(self.n_embd)),
            ("layers", number(self.n_layer)),
            ("vocabulary", vocabulary),
            ("chat template", if self.chat_template { "yes" } else { "no" }.to_owned()),
            ("license", or_unknown(&self.license)),
        ];
        if !self.sampling.is_empty() {
            lines.push(("sampling", self.sampling.join(", ")));
        }
        lines
    }
}

/// llama.cpp's name of a file type (`llama_ftype`).
fn file_type(id: u32) -> Option<&'static str> {
    const NAMES: [(u32, &str); 37] = [
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (7, "Q8_0"),
        (8, "Q5_0"),
        (9, "Q5_1"),
        (10, "Q2_K"),
        (11, "Q3_K_S"),
        (12, "Q3_K_M"),
        (13, "Q3_K_L"),
        (14, "Q4_K_S"),
        (15, "Q4_K_M"),
        (16, "Q5_K_S"),
        (17, "Q5_K_M"),
        (18, "Q6_K"),
        (19, "IQ2_XXS"),
        (20, "IQ2_XS"),
        (21, "Q2_K_S"),
        (22, "IQ3_XS"),
        (23, "IQ3_XXS"),
        (24, "IQ1_S"),
        (25, "IQ4_NL"),
        (26, "IQ3_S"),
        (27, "IQ3_M"),
        (28, "IQ2_S"),
        (29, "IQ2_M"),
        (30, "IQ4_XS"),
        (31, "IQ1_M"),
        (32, "BF16"),
        (36, "TQ1_0"),
        (37, "TQ2_0"),
        (38, "MXFP4_MOE"),
        (39, "NVFP4"),
        (40, "Q1_0"),
        (41, "Q2_0"),
        (1024, "guessed"),
    ];
    NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}
