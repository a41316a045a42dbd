//! From a model's name to an open file.
use crate::{
    errors::{At, CliError},
    output,
    progress::Progress,
};
use gguf_parse::Gguf;
use llama_model::{LoadOptions, Model};
use model_store::Store;
use std::{
    ffi::OsStr,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokenizer::Tokenizer;

/// The path of MODEL, fetched first if it is a name.
pub(crate) fn resolve(model: &OsStr) -> Result<PathBuf, CliError> {
    // What is not UTF-8 can only be a path.
    let Some(name) = model.to_str() else { return Ok(model.into()) };
    let path = Path::new(name);
    // A path needs no cache, not even a place for one. What may not be looked at is a path, too: opening tells why.
    let is_path =
        path.symlink_metadata().map_or_else(|e| e.kind() != ErrorKind::NotFound, |_| true);
    if model_store::registry().iter().all(|m| m.name != name) && is_path {
        return Ok(path.to_owned());
    }
    let mut bar = Progress::bytes("fetching");
    Ok(Store::open()?.resolve(name, &mut |done, all| bar.set(done, all))?)
}

/// Opens and checks a file; what is odd but harmless is told.
pub(crate) fn open(path: &Path) -> Result<Gguf, CliError> {
    let gguf = Gguf::open(path).at(path)?;
    warn_all(path, gguf.warnings());
    Ok(gguf)
}

/// The file's tokenizer.
pub(crate) fn tokenizer(path: &Path, gguf: &Gguf) -> Result<Tokenizer, CliError> {
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).at(path)?;
    warn_all(path, tokenizer.warnings());
    Ok(tokenizer)
}

/// Loads the file's model; what is odd but harmless is told.
pub(crate) fn load(
    path: &Path,
    gguf: &Arc<Gguf>,
    options: &LoadOptions,
) -> Result<Model, CliError> {
    let mut bar = Progress::fraction("loading");
    let model = Model::load(Arc::clone(gguf), options, &mut |done| bar.set_fraction(done));
    drop(bar);
    let model = model.at(path)?;
    warn_all(path, model.warnings());
    Ok(model)
}

/// Prints warnings about a file.
pub(crate) fn warn_all(path: &Path, warnings: &[String]) {
    for warning in warnings {
        output::eprint_warning(path, warning);
    }
}
