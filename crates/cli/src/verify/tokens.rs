//! Text to ids and back, and the chat template.
use super::{
    certificate::{Template as TemplateReport, Tokens},
    ladder::{Climbed, Step},
};
use crate::errors::At;
use chat_template::{Conversation, Options, Template, TemplateError};
use gguf_parse::Gguf;
use std::path::Path;
use tokenizer::{Special, Tokenizer};

/// Texts that tokenizers stumble over.
const TEXTS: [&str; 28] = [
    "The capital of France is Paris.",
    " a space in front",
    "a space behind ",
    "two  spaces,   three",
    "\ttabs\tand\n\nnewlines\r\n\r\n",
    "\n",
    "I'm sure they've said it's what we'll do; HE'S NOT.",
    "3.14159 1,000,000 2026-11-26 0x7fff 1e-9",
    "12345678901234567890",
    "camelCase snake_case kebab-case SCREAMING_CASE",
    "fn main() {\n    println!(\"{:?}\", [1, 2, 3]);\n}\n",
    "<html><body class=\"x\">&amp;</body></html>",
    "a=b*c/d%e^f|g&h~i`j\\k",
    "https://example.org/a?b=c&d=%20#e",
    "Größe, naïve, façade, ærlig, œuvre, señor",
    "e\u{301} is not \u{e9}",
    "Это предложение на русском языке.",
    "Αυτή είναι μια πρόταση.",
    "これは日本語の文です。",
    "这是一个中文句子。",
    "이것은 한국어 문장입니다.",
    "هذه جملة عربية.",
    "यह एक हिंदी वाक्य है।",
    "😀 👩‍👩‍👧 🏳️‍🌈 \u{1f1eb}\u{1f1f7}",
    "zero\u{200b}width, no\u{a0}break, \u{feff}BOM",
    "<s></s><unk><|endoftext|><|im_start|>[INST]",
    "▁is not a space, Ġ neither",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// What is shown of a text that is lost.
const MAX_CHARS: usize = 60;

/// The file's tokenizer, and whether texts come back as they were.
pub(super) fn tokens(path: &Path, gguf: &Gguf) -> Climbed<(Tokenizer, Tokens)> {
    if gguf.metadata().value("tokenizer.ggml.model").is_none() {
        return Ok(Step::skipped("the file has no tokenizer"));
    }
    let tokenizer = Tokenizer::from_metadata(gguf.metadata()).at(path)?;
    let mut report = Tokens::new(&tokenizer, TEXTS.len());
    let mut notes = tokenizer.warnings().to_vec();
    for text in TEXTS {
        if comes_back(&tokenizer, text) {
            report.n_whole += 1;
        } else if text.chars().all(|c| comes_back(&tokenizer, c.encode_utf8(&mut [0; 4]))) {
            let shown: String = text.chars().take(MAX_CHARS).collect();
            report.lost.push(shown);
        } else {
            report.n_unwritable += 1;
        }
    }
    notes.extend(report.lost.iter().map(|text| format!("comes back as another text: {text}")));
    let unread = unread_specials(&tokenizer);
    notes.extend(unread.iter().map(|name| {
        format!("the {name} token, written out, is not read as that token: prompts cannot name it")
    }));
    if report.eog.is_empty() {
        notes.push("no token ends a generation".to_owned());
    }
    let detail = describe(&report);
    let (lost, value) = (!report.lost.is_empty(), (tokenizer, report));
    let step = if lost { Step::fail(value, detail) } else { Step::ok(value, detail) };
    Ok(step.with_notes(notes))
}

/// Whether a text is the same behind ids.
fn comes_back(tokenizer: &Tokenizer, text: &str) -> bool {
    let ids = tokenizer.encode(text, false, Special::AsText);
    tokenizer.decode_bytes(&ids, false, true) == text.as_bytes()
}

/// Tokens with a role that their own text does not lead to.
fn unread_specials(tokenizer: &Tokenizer) -> Vec<&'static str> {
    let roles = [("BOS", tokenizer.bos()), ("EOS", tokenizer.eos()), ("EOT", tokenizer.eot())];
    let is_unread = |id: u32| {
        tokenizer.is_control(id)
            && tokenizer.encode(tokenizer.text(id), false, Special::Parse) != [id]
    };
    roles.iter().filter(|(_, id)| id.is_some_and(is_unread)).map(|(name, _)| *name).collect()
}

fn describe(report: &Tokens) -> String {
    let eog: Vec<_> = report.eog.iter().map(u32::to_string).collect();
    let id = |id: Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
    let unwritable = match report.n_unwritable {
        0 => String::new(),
        n => format!(" ({n} have characters that it does not have)"),
    };
    format!(
        "{} {}, {} tokens; {} of {} texts come back{unwritable}; BOS {}, EOS {}, ending {}",
        report.model,
        report.pre,
        report.n_vocab,
        report.n_whole,
        report.n_texts,
        id(report.bos),
        id(report.eos),
        if eog.is_empty() { "none".to_owned() } else { eog.join(" ") },
    )
}

/// Whether the chat templates are understood, and what the first makes of a conversation.
pub(super) fn template(gguf: &Gguf, tokenizer: Option<&Tokenizer>) -> Climbed<TemplateReport> {
    let metadata = gguf.metadata();
    let templates: Vec<(&str, &str)> = metadata
        .iter()
        .filter(|(key, _)| key.starts_with("tokenizer.chat_template"))
        .filter_map(|(key, _)| Some((key, metadata.get::<&str>(key).ok()?)))
        .collect();
    if templates.is_empty() {
        return Ok(Step::skipped("the file has none"));
    }
    let mut report = TemplateReport { n_templates: templates.len(), n_prompt_tokens: None };
    let mut notes = Vec::new();
    for (key, source) in &templates {
        let parsed = Template::new(source)
            .map_err(|e| crate::errors::CliError::from(e).with_hint(&format!(" ({key})")))?;
        match render(&parsed, tokenizer) {
            Ok(prompt) if report.n_prompt_tokens.is_none() => {
                let count = |t: &Tokenizer| t.encode(&prompt, true, Special::Parse).len();
                report.n_prompt_tokens = tokenizer.map(count);
            }
            Ok(_) => {}
            // Templates may want roles in another order, or tools.
            Err(error) => notes.push(format!("{key}: {error}")),
        }
    }
    let tokens =
        report.n_prompt_tokens.map(|n| format!("; a conversation of three turns has {n} tokens"));
    let count =
        if templates.len() == 1 { "it is".to_owned() } else { format!("{} are", templates.len()) };
    let detail = format!("{count} understood{}", tokens.unwrap_or_default());
    Ok(Step::ok(report, detail).with_notes(notes))
}

/// The prompt of a short conversation.
fn render(template: &Template, tokenizer: Option<&Tokenizer>) -> Result<String, TemplateError> {
    let mut conversation = Conversation::default();
    conversation.push("user", "What is the capital of France?");
    conversation.push("assistant", "Paris.");
    conversation.push("user", "And of Italy?");
    let mut options = Options::default();
    if let Some(tokenizer) = tokenizer {
        let text = |id: Option<u32>| id.map(|id| tokenizer.text(id).to_owned()).unwrap_or_default();
        (options.bos, options.eos) = (text(tokenizer.bos()), text(tokenizer.eos()));
        (options.add_bos, options.add_eos) = (tokenizer.add_bos(), tokenizer.add_eos());
    }
    Ok(template.render(&conversation, &options)?.text)
}
