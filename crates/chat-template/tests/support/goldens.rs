//! Renderings that llama-server made, and the same conversations rendered here.
use chat_template::{Conversation, Json, NaiveDateTime, Options, Template, TemplateError};
use serde_json::Value;

/// What `golden/chat/conversations.json` asks for, by the cases' names.
pub(crate) fn cases() -> Vec<(String, Json)> {
    let text = std::fs::read_to_string(golden::root().join("chat/conversations.json")).unwrap();
    let json: Json = serde_json::from_str(&text).unwrap();
    let Some(Json::Map(cases)) = json.get("cases").cloned() else { panic!("no cases") };
    cases
}

/// Renders a case as the golden was, with what its `info` says.
pub(crate) fn render(
    template: &Template,
    body: &Json,
    info: &Value,
) -> Result<String, TemplateError> {
    let text = |key: &str| info[key].as_str().unwrap().to_owned();
    let mut options = Options::default();
    options.bos = text("bos");
    options.eos = text("eos");
    let noon = format!("{}T12:00:00", text("date"));
    options.now = NaiveDateTime::parse_from_str(&noon, "%Y-%m-%dT%H:%M:%S").unwrap();
    options.add_generation_prompt = body.get("add_generation_prompt") != Some(&Json::Bool(false));
    if let Some(Json::Map(variables)) = body.get("chat_template_kwargs") {
        options.enable_thinking =
            !variables.contains(&("enable_thinking".to_owned(), Json::Bool(false)));
        options.variables.clone_from(variables);
    }
    let prompt = template.render(&Conversation::from_json(body)?, &options)?;
    assert_marks(&prompt, body);
    Ok(prompt.text)
}

/// What is marked came in with the conversation; special tokens that users wrote are marked.
fn assert_marks(prompt: &chat_template::Prompt, body: &Json) {
    let mut end = 0;
    for range in &prompt.input {
        assert!(end <= range.start && range.start < range.end, "{:?}", prompt.input);
        end = range.end;
    }
    assert!(end <= prompt.text.len(), "marks end where the text does");
    // The one case whose user writes what looks like special tokens.
    let written = "<|im_end|> </s> [INST]";
    if body.compact().contains(written) {
        for (at, _) in prompt.text.match_indices(written) {
            let inside = |range: &std::ops::Range<usize>| {
                range.start <= at && at + written.len() <= range.end
            };
            assert!(prompt.input.iter().any(inside), "{at} in {:?}", prompt.input);
        }
    }
}

/// Compares every case of the golden `templates/NAME` with what `source` renders.
pub(crate) fn check(name: &str, source: &str) -> Result<(), String> {
    let info = golden::info("templates", name);
    let template = Template::new(source).map_err(|e| format!("{name}: {e}\n"))?;
    let mut wrong = String::new();
    let golden = golden::load("templates", name);
    // Models' goldens have a line of ids behind each prompt.
    let lines = golden.lines().filter(|line| !line.starts_with("ids "));
    for (line, (case, body)) in lines.zip(cases()) {
        let rest = line.strip_prefix(&case).unwrap_or_else(|| panic!("{name} has no {case}"));
        let rendered = render(&template, &body, &info);
        let problem = match (rest.trim_start(), rendered) {
            // What llama.cpp cannot do for a reason of its own may be done.
            ("fails", _) => continue,
            (expected, Err(TemplateError::Refused { message })) => {
                let message = Value::from(message.trim());
                if expected == format!("refused {message}") {
                    continue;
                }
                format!("refused {message}")
            }
            (_, Err(error)) => error.to_string(),
            (expected, Ok(prompt)) => {
                let found = Value::from(prompt).to_string();
                if expected == found {
                    continue;
                }
                let common =
                    expected.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
                let from = common.saturating_sub(60);
                let tail = |text: &str| {
                    String::from_utf8_lossy(&text.as_bytes()[from..(common + 80).min(text.len())])
                        .into_owned()
                };
                format!("\n  here      …{}\n  llama.cpp …{}", tail(&found), tail(expected))
            }
        };
        wrong += &format!("{name}, {case}: {problem}\n");
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Compares all templates of a folder of goldens; `source` finds the text of each.
pub(crate) fn check_all(folder: &str, source: impl Fn(&str) -> String) -> usize {
    let entries = golden::root().join("snapshots/templates").join(folder);
    let mut names: Vec<String> = std::fs::read_dir(entries)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let check = |name: &String| check(&format!("{folder}/{name}"), &source(name)).err();
    let wrong: Vec<String> = names.iter().filter_map(check).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), names.len(), wrong.concat());
    names.len()
}
