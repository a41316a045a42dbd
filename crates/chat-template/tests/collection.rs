//! The second tier: the templates that come with llama.cpp and with a larger model, against its engine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support {
    pub(crate) mod goldens;
    pub(crate) mod models;
}

use support::{goldens, models};

#[test]
fn the_collection_renders_as_llama_cpp_renders_it() {
    let cache = model_store::Store::open().unwrap().root().join("templates");
    let folder = golden::package::extract(&cache, "models/templates/", ".jinja");
    let source = |name: &str| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.jinja"))).unwrap();
        let info = golden::info("templates", &format!("llama.cpp/{name}"));
        assert_eq!(golden::package::sha256(text.as_bytes()), info["template_sha256"], "{name}");
        text
    };
    assert_eq!(goldens::check_all("llama.cpp", source), 70);
}

#[test]
fn qwen2_5_coder_is_prompted_as_llama_cpp_prompts_it() {
    assert_eq!(models::check_model("qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b"), 14);
}
