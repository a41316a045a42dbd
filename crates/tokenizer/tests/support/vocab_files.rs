//! The `ggml-vocab-*.gguf` of llama.cpp, out of the source package of the reference, fetched once into the cache.

use model_store::Store;
use std::fs;
use std::path::PathBuf;

/// The file of a vocabulary, checked against the SHA-256 that its golden was captured from.
pub(crate) fn fetch(name: &str) -> PathBuf {
    let cache = Store::open().unwrap().root().join("vocabs");
    let folder = golden::package::extract(&cache, "ggml-vocab-", ".gguf");
    let path = folder.join(format!("ggml-vocab-{name}.gguf"));
    let found = golden::package::sha256(&fs::read(&path).unwrap());
    let expected = golden::info("tokens", name)["model_sha256"].as_str().unwrap().to_owned();
    if found != expected {
        fs::remove_file(&path).unwrap();
        panic!("{} had SHA-256 {found}, must be {expected}; it was removed", path.display());
    }
    path
}
