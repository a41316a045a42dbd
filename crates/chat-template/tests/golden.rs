//! Our own templates, against llama.cpp's engine: every corner of the dialect.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support {
    pub(crate) mod goldens;
}

use support::goldens;

#[test]
fn own_templates_render_as_llama_cpp_renders_them() {
    let folder = golden::root().join("chat/templates");
    let source =
        |name: &str| std::fs::read_to_string(folder.join(format!("{name}.jinja"))).unwrap();
    assert_eq!(goldens::check_all("ours", source), 5);
}
