//! The sampler's parameters: the user's, else the model's, else llama.cpp's.
mod args;
mod breakers;

pub(crate) use args::SamplingArgs;

use crate::{
    errors::{CliError, Exit},
    output,
};
use gguf_parse::{Gguf, Value};
use sampler::{MetaValue, Params, ParamsError, Sampler};
use std::path::Path;
use tokenizer::Tokenizer;

/// Refuses parameters that no model could make good.
pub(crate) fn check(args: &SamplingArgs) -> Result<(), CliError> {
    breakers::check(&args.dry_sequence_breakers())?;
    let (params, _) = args.params();
    // Whether biased tokens exist only the model knows.
    Params { logit_bias: Vec::new(), ..params }.validate(1).map_err(|e| flag_error(&e))
}

/// The sampler for a model; `ignore_eos` bans the tokens that end a text. Warns of what the model asks for in vain.
pub(crate) fn sampler(
    args: &SamplingArgs,
    ignore_eos: bool,
    path: &Path,
    gguf: &Gguf,
    tokenizer: &Tokenizer,
) -> Result<Sampler, CliError> {
    let (sampler, unsupported) = made(args, ignore_eos, path, gguf, tokenizer)?;
    for key in unsupported {
        output::eprint_warning(
            path,
            &format!("{key} asks for what lockstep does not have; ignored"),
        );
    }
    Ok(sampler)
}

/// The same, and the keys of what the model asks for in vain.
pub(crate) fn made(
    args: &SamplingArgs,
    ignore_eos: bool,
    path: &Path,
    gguf: &Gguf,
    tokenizer: &Tokenizer,
) -> Result<(Sampler, Vec<&'static str>), CliError> {
    let (mut params, user_set) = args.params();
    let metadata = gguf.metadata();
    let found = params
        .apply_metadata(user_set, |key| metadata.value(key).and_then(meta_value))
        .map_err(|e| CliError::new("E-SAMPLING", Exit::Malformed, e.to_string()).at(path))?;
    if params.dry_multiplier != 0.0 {
        params.dry_breakers = breakers::of(&args.dry_sequence_breakers(), tokenizer);
    }
    if ignore_eos {
        params.logit_bias.extend(tokenizer.eog_ids().map(|id| (id, f32::NEG_INFINITY)));
    }
    let sampler = Sampler::new(params, tokenizer.n_vocab()).map_err(|e| flag_error(&e))?;
    Ok((sampler, found.unsupported))
}

/// The sampler's names are llama.cpp's fields; people know the flags.
fn flag_error(error: &ParamsError) -> CliError {
    let flag = match error.name {
        "dynatemp_exponent" => "dynatemp-exp",
        "typical_p" => "typical",
        "penalty_last_n" => "repeat-last-n",
        "penalty_repeat" => "repeat-penalty",
        "penalty_freq" => "frequency-penalty",
        "penalty_present" => "presence-penalty",
        "top_n_sigma" => "top-nsigma",
        "mirostat_tau" => "mirostat-ent",
        "mirostat_eta" => "mirostat-lr",
        name => &name.replace('_', "-"),
    };
    CliError::usage(format!("--{flag} is {}; must be {}", error.found, error.allowed))
}

/// Metadata as the sampler takes it; arrays say nothing to it.
fn meta_value(value: Value<'_>) -> Option<MetaValue<'_>> {
    Some(match value {
        Value::U8(x) => MetaValue::Uint(x.into()),
        Value::U16(x) => MetaValue::Uint(x.into()),
        Value::U32(x) => MetaValue::Uint(x.into()),
        Value::U64(x) => MetaValue::Uint(x),
        Value::I8(x) => MetaValue::Int(x.into()),
        Value::I16(x) => MetaValue::Int(x.into()),
        Value::I32(x) => MetaValue::Int(x.into()),
        Value::I64(x) => MetaValue::Int(x),
        Value::F32(x) => MetaValue::Float(x.into()),
        Value::F64(x) => MetaValue::Float(x),
        Value::Bool(x) => MetaValue::Bool(x),
        Value::Str(x) => MetaValue::Str(x),
        Value::Array(_) => return None,
    })
}
