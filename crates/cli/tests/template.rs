//! `lockstep template`, and `run` with a template.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod common;

use common::{TempFile, arg, run, run_with_input, smollm2};
use serde_json::{Value, json};

/// Every case of the golden with its conversation, the prompt, and the ids.
fn cases() -> Vec<(String, Value, String, Vec<u32>)> {
    let file = golden::root().join("chat/conversations.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let text = golden::load("templates", "models/smollm2-q4_1");
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[1].starts_with("ids "));
    let mut cases = Vec::new();
    for pair in pairs {
        let (name, prompt) = pair[0].split_once(' ').unwrap();
        let prompt = serde_json::from_str(prompt).unwrap();
        let ids = pair[1][4..].split(',').map(|id| id.parse().unwrap()).collect();
        cases.push((name.to_owned(), all["cases"][name].clone(), prompt, ids));
    }
    cases
}

#[test]
fn prompts_and_ids_are_llama_cpps() {
    let model = smollm2();
    let mut n_equal = 0;
    let cases = cases();
    assert_eq!(cases.len(), 14);
    for (name, body, prompt, ids) in &cases {
        let file = TempFile::new("chat.json", body.to_string().as_bytes());
        let mut args = vec!["template", arg(&model), "--messages", file.str(), "--json"];
        if body["add_generation_prompt"] == json!(false) {
            args.push("--no-generation-prompt");
        }
        let found = run(&args).expect_success().json();
        assert_eq!(found["prompt"], json!(prompt), "{name}");
        // What users write is never a special token here; llama-server takes it for one.
        let written = body.to_string().contains("<|im_end|>");
        assert_eq!(found["ids"] == json!(ids), !written, "{name}: {found}");
        n_equal += usize::from(!written);
    }
    assert!(n_equal >= 8, "{n_equal} cases compare ids");
}

#[test]
fn run_asks_through_the_template_unless_raw() {
    let model = smollm2();
    let (_, body, _, ids) = cases().into_iter().find(|(name, ..)| name == "system").unwrap();
    let content = |i: usize| body["messages"][i]["content"].as_str().unwrap().to_owned();
    let (system, user) = (content(0), content(1));
    let base = ["run", "-m", arg(&model), "--json", "-n", "1", "--temp", "0", &user];
    let asked = run(&[&base[..], &["--system", &system]].concat()).expect_success().json();
    assert_eq!(asked["prompt_ids"], json!(ids));
    let raw = run(&[&base[..], &["--raw"]].concat()).expect_success().json();
    assert_eq!(raw["prompt_ids"], json!([19556]));
    let own = TempFile::new("own.jinja", b"{{ messages[0].content }}!");
    let args = [&base[..], &["--chat-template-file", own.str()]].concat();
    assert_eq!(run(&args).expect_success().json()["prompt_ids"], json!([19556, 17]));
}

#[test]
fn wrong_conversations_and_templates_are_told_apart() {
    let model = smollm2();
    for (input, status, says) in [
        ("", 65, "no JSON"),
        ("{}", 65, "`messages`"),
        ("[]", 65, "no messages"),
        ("[{\"role\": \"user\"}]", 65, "message 1 has neither"),
        (
            "[{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {}}]}]",
            65,
            "only \"text\"",
        ),
    ] {
        let found = run_with_input(&["template", arg(&model)], input.as_bytes());
        assert_eq!(found.status, Some(status), "{input}: {found:?}");
        assert!(found.stderr.contains(says) && found.stdout.is_empty(), "{input}: {found:?}");
        assert_eq!(found.stderr.lines().count(), 1, "{found:?}");
    }
    for (template, status) in [
        ("{% if %}", 65),
        ("{{ raise_exception('no') }}", 69),
        ("{% for i in range(1000000000) %}{% endfor %}", 71),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 71),
    ] {
        let file = TempFile::new("x.jinja", template.as_bytes());
        let args = ["run", "-m", arg(&model), "Hi", "-n", "1", "--chat-template-file", file.str()];
        let found = run(&args);
        assert_eq!(found.status, Some(status), "{template}: {found:?}");
        assert!(found.stderr.contains("E-TEMPLATE"), "{template}: {found:?}");
    }
}

#[test]
fn a_stop_string_ends_the_text_in_front_of_it() {
    let model = smollm2();
    let base = ["run", "-m", arg(&model), "--json", "-n", "24", "--temp", "0", "--raw"];
    let prompt = "The capital of France is";
    let whole = run(&[&base[..], &[prompt]].concat()).expect_success().json();
    let text = whole["text"].as_str().unwrap();
    let at = text.find("answer").unwrap();
    // From the middle of a token to the middle of another.
    let stop = &text[at + 2..at + 9];
    let found = run(&[&base[..], &[prompt, "-r", "nowhere", "--stop", stop]].concat());
    let found = found.expect_success().json();
    assert_eq!(found["text"].as_str().unwrap(), &text[..at + 2]);
    assert_eq!(found["end"], "stop");
    let (n, n_whole) =
        (found["ids"].as_array().unwrap().len(), whole["ids"].as_array().unwrap().len());
    assert!(n < n_whole, "{n} of {n_whole} tokens were needed");
}
