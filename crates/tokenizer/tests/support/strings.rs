//! golden/tokens/strings.json.

use serde_json::Value as Json;

/// The entries of strings.json.
pub(crate) fn entries() -> Vec<Json> {
    let file = golden::root().join("tokens/strings.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}
