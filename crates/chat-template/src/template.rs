//! A parsed template, and its use.
use crate::{
    ast::Stmt,
    budget::{Budget, Excess, MAX_DEPTH, MAX_TEMPLATE_BYTES, MAX_VALUE_DEPTH},
    caps::{self, Caps},
    conversation::Conversation,
    error::TemplateError,
    eval::{Fault, Interp},
    json::Json,
    parser,
    quirks::{self, Family},
    text::Text,
    value::Value,
};
use chrono::NaiveDateTime;
use std::ops::Range;

/// A chat template. `Send + Sync`.
#[derive(Debug)]
pub struct Template {
    source: String,
    body: Vec<Stmt>,
    caps: Caps,
    family: Family,
}

/// What a rendering depends on besides the conversation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Ends the prompt with the beginning of the assistant's answer.
    pub add_generation_prompt: bool,
    /// Whether models that can think before they answer shall. (llama-server's default is no for templates of
    /// which its parser of answers does not know how they think.)
    pub enable_thinking: bool,
    /// Whether thoughts of earlier turns stay in the prompt, where the template can keep them.
    pub preserve_reasoning: bool,
    /// The text of the token that begins a sequence.
    pub bos: String,
    /// The text of the token that ends a sequence.
    pub eos: String,
    /// Whether the tokenizer adds BOS; then the prompt does not begin with it.
    pub add_bos: bool,
    /// Whether the tokenizer adds EOS.
    pub add_eos: bool,
    /// The local time, for templates that name the date.
    pub now: NaiveDateTime,
    /// More variables (`chat_template_kwargs`).
    pub variables: Vec<(String, Json)>,
}

impl Default for Options {
    /// An answer is wanted, with thinking, and thoughts are kept; no BOS or EOS; the first second of 1970.
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            enable_thinking: true,
            preserve_reasoning: true,
            bos: String::new(),
            eos: String::new(),
            add_bos: false,
            add_eos: false,
            now: NaiveDateTime::default(),
            variables: Vec::new(),
        }
    }
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// The bytes that came in with the conversation, in order: special tokens written there are plain text.
    pub input: Vec<Range<usize>>,
}

impl Template {
    /// Parses a template and finds out what it can do.
    ///
    /// # Errors
    /// `TooLarge`, `Syntax`.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLarge {
                found: source.len(),
                allowed: MAX_TEMPLATE_BYTES,
            });
        }
        let source = quirks::patched(&source.replace("\r\n", "\n").replace('\r', "\n"));
        let body = parser::parse(&source).map_err(|(pos, problem)| {
            let (line, column) = line_and_column(&source, pos);
            TemplateError::Syntax { line, column, problem }
        })?;
        let (caps, family) = (caps::detect(&body), Family::of(&source));
        Ok(Self { source, body, caps, family })
    }

    /// What it can do.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// The prompt of a conversation, as llama.cpp renders it.
    ///
    /// # Errors
    /// `Refused` if the template raises an exception, `Render` if it does what cannot be done, `Limit` if it runs or
    /// writes too long, `Conversation` if arguments of a tool call are no JSON.
    pub fn render(
        &self,
        conversation: &Conversation,
        options: &Options,
    ) -> Result<Prompt, TemplateError> {
        let messages = quirks::adjusted(&conversation.messages, self.caps, self.family)?;
        let variables = variables(messages, &conversation.tools, options);
        let budget = Budget::new(conversation.n_bytes(), conversation.messages.len());
        let mut interp = Interp::new(variables, budget, options.now);
        let result = interp.run(&self.body);
        let text = result.map_err(|fault| self.explained(fault, &interp))?;
        let (text, input) = self.finished(text, options).into_parts();
        Ok(Prompt { text, input })
    }

    /// Without what the tokenizer adds, and with what the model's family needs.
    fn finished(&self, text: Text, options: &Options) -> Text {
        let mut text = text;
        if options.add_bos && text.as_str().starts_with(&options.bos) {
            text = text.slice(options.bos.len()..text.len());
        }
        if options.add_eos && text.as_str().ends_with(&options.eos) {
            text.truncate(text.len() - options.eos.len());
        }
        if options.add_generation_prompt {
            text.push_str(self.family.turn_after(text.as_str()), false);
        } else if let Some((old, new)) = self.family.last_end()
            && let Some(at) = text.as_str().rfind(old)
        {
            let rest = text.slice(at + old.len()..text.len());
            text.truncate(at);
            text.push_str(new, false);
            text.push(&rest);
        }
        text
    }

    fn explained(&self, fault: Fault, interp: &Interp) -> TemplateError {
        let (line, _) = line_and_column(&self.source, interp.pos);
        let limit = |what, allowed| TemplateError::Limit { line, what, allowed };
        match fault {
            Fault::Failed(problem) => TemplateError::Render { line, problem },
            Fault::Raised(message) => TemplateError::Refused { message },
            Fault::Excess(Excess::Steps) => limit("too many steps", interp.budget.max_steps),
            Fault::Excess(Excess::Bytes) => {
                limit("too many bytes in strings", interp.budget.max_bytes)
            }
            Fault::Excess(Excess::Output) => {
                limit("too many bytes in the prompt", interp.budget.max_output)
            }
            Fault::Excess(Excess::Depth) => limit("calls nested too deeply", MAX_DEPTH as u64),
            Fault::Excess(Excess::ValueDepth) => {
                limit("lists nested too deeply", MAX_VALUE_DEPTH as u64)
            }
        }
    }
}

/// What a template finds besides the functions.
fn variables<'a>(
    messages: Vec<Json>,
    tools: &[Json],
    options: &'a Options,
) -> Vec<(&'a str, Value)> {
    let keep = options.preserve_reasoning;
    let date = |format: &str| Value::str(&options.now.format(format).to_string());
    let mut variables = vec![
        ("messages", Json::List(messages).to_value(true, None)),
        ("bos_token", Value::str(&options.bos)),
        ("eos_token", Value::str(&options.eos)),
        ("enable_thinking", Value::Bool(options.enable_thinking)),
        // One wish, and the names that templates have for it.
        ("preserve_reasoning", Value::Bool(keep)),
        ("preserve_thinking", Value::Bool(keep)),
        ("clear_thinking", Value::Bool(!keep)),
        ("truncate_history_thinking", Value::Bool(!keep)),
        ("drop_thinking", Value::Bool(!keep)),
        ("datetime", date("%b %d %Y")),
        ("date_string", date("%d %b %Y")),
    ];
    if !tools.is_empty() {
        variables.push(("tools", Json::List(tools.to_vec()).to_value(true, None)));
    }
    if options.add_generation_prompt {
        variables.push(("add_generation_prompt", Value::Bool(true)));
    }
    for (name, value) in &options.variables {
        variables.push((name, value.to_value(true, None)));
    }
    variables
}

/// Line and column, from 1.
fn line_and_column(source: &str, pos: usize) -> (usize, usize) {
    let mut end = pos.min(source.len());
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    let before = &source[..end];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
