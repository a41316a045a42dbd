//! Models' own templates, and the ids of their prompts.
use super::goldens::check;
use gguf_parse::Gguf;
use tokenizer::{Special, Tokenizer};

/// Compares the golden `templates/models/GOLDEN` with what the template of a registry model renders, and the prompts' ids
/// with those of its tokenizer. Returns the number of prompts.
pub(crate) fn check_model(golden: &str, model: &str) -> usize {
    let path = model_store::Store::open().unwrap().resolve(model, &mut |_, _| ()).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let name = format!("models/{golden}");
    check(&name, gguf.metadata().get("tokenizer.chat_template").unwrap()).unwrap();

    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).unwrap();
    let text = golden::load("templates", &name);
    let lines: Vec<&str> = text.lines().collect();
    let mut n_prompts = 0;
    for pair in lines.windows(2) {
        let Some(ids) = pair[1].strip_prefix("ids ") else { continue };
        let (case, prompt) = pair[0].split_once(' ').unwrap();
        let prompt: String = serde_json::from_str(prompt).unwrap();
        let ids: Vec<u32> = ids.split(',').map(|id| id.parse().unwrap()).collect();
        // llama-server was asked to see special tokens everywhere.
        assert_eq!(tokenizer.encode(&prompt, true, Special::Parse), ids, "{name}, {case}");
        n_prompts += 1;
    }
    n_prompts
}
