//! Our own templates, against llama.cpp's engine: every corner of the dialect. And that of the default model.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support {
    pub(crate) mod goldens;
    pub(crate) mod models;
}

use support::{goldens, models};

#[test]
fn own_templates_render_as_llama_cpp_renders_them() {
    let folder = golden::root().join("chat/templates");
    let source =
        |name: &str| std::fs::read_to_string(folder.join(format!("{name}.jinja"))).unwrap();
    assert_eq!(goldens::check_all("ours", source), 5);
}

#[test]
fn smollm2_is_prompted_as_llama_cpp_prompts_it() {
    assert_eq!(models::check_model("smollm2-q4_1", "smollm2"), 14);
}
