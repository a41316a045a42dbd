//! Chat templates: the model's own, or one from a file; and `lockstep template`, which shows what they write.
use crate::{
    errors::{At, CliError, Exit},
    model, output,
    run::prompt,
};
use chat_template::{Conversation, Json, Options, Prompt, Template};
use chrono::Local;
use clap::Args;
use gguf_parse::Gguf;
use serde::Serialize;
use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};
use tokenizer::Tokenizer;

pub(crate) const EXAMPLES: &str = "\
Examples:
  lockstep template smollm2 --messages chat.json          the prompt and its token ids
  echo '[{\"role\": \"user\", \"content\": \"Hi\"}]' | lockstep template smollm2 --json
  lockstep template model.gguf --messages chat.json --chat-template-file chatml.jinja

Messages are those of OpenAI's API: an array of them, or an object with `messages` and, maybe, `tools`.";

/// What to do for a model that has none.
pub(crate) const NO_TEMPLATE: &str =
    "the model has no chat template; `--chat-template-file FILE` brings one";

/// How conversations become prompts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Chat")]
pub(crate) struct TemplateOptions {
    /// A template (Jinja) in place of the model's own
    #[arg(long, value_name = "FILE")]
    chat_template_file: Option<PathBuf>,

    /// Ask models that can think before they answer not to
    #[arg(long)]
    no_thinking: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TemplateArgs {
    /// Path, short name, or hf:OWNER/REPO/FILE.gguf
    model: OsString,

    /// The conversation as JSON; without it (or if it is -) standard input is read
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,

    /// End where the last message ends, not with the beginning of an answer
    #[arg(long)]
    no_generation_prompt: bool,

    /// Print one JSON object with `prompt` and `ids`
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    options: TemplateOptions,
}

/// A template with what it needs to know of the model.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    template: Template,
    options: Options,
}

/// A prompt that a template wrote.
#[derive(Debug, Serialize)]
pub(crate) struct Rendered {
    prompt: String,
    ids: Vec<u32>,
}

impl ChatTemplate {
    /// The user's template, else the model's, else none. What is wrong with it is said to be wrong with its file.
    pub(crate) fn of(
        options: &TemplateOptions,
        path: &Path,
        gguf: &Gguf,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, CliError> {
        let template = match &options.chat_template_file {
            Some(file) => Template::new(&prompt::read_path(file)?).at(file)?,
            None => match gguf.metadata().get_opt("tokenizer.chat_template").at(path)? {
                Some(source) => Template::new(source).at(path)?,
                None => return Ok(None),
            },
        };
        let text = |id: Option<u32>| id.map(|id| tokenizer.text(id).to_owned()).unwrap_or_default();
        let mut given = Options::default();
        given.bos = text(tokenizer.bos());
        given.eos = text(tokenizer.eos());
        given.add_bos = tokenizer.add_bos();
        given.add_eos = tokenizer.add_eos();
        given.enable_thinking = !options.no_thinking;
        given.now = Local::now().naive_local();
        Ok(Some(Self { template, options: given }))
    }

    /// The prompt of a conversation.
    pub(crate) fn render(&self, conversation: &Conversation) -> Result<Prompt, CliError> {
        Ok(self.template.render(conversation, &self.options)?)
    }
}

/// Runs the command.
pub(crate) fn template(args: &TemplateArgs) -> Result<Exit, CliError> {
    let path = model::resolve(&args.model)?;
    let gguf = model::open(&path)?;
    let tokenizer = model::tokenizer(&path, &gguf)?;
    let Some(mut template) = ChatTemplate::of(&args.options, &path, &gguf, &tokenizer)? else {
        return Err(CliError::new("E-TEMPLATE", Exit::Unsupported, NO_TEMPLATE).at(&path));
    };
    template.options.add_generation_prompt = !args.no_generation_prompt;
    let file = args.messages.as_deref().unwrap_or(Path::new("-"));
    let conversation = read_messages(file)?;
    let prompt = template.render(&conversation)?;
    let ids = tokenizer.encode_chat(&prompt.text, true, &prompt.input);
    let rendered = Rendered { prompt: prompt.text, ids };
    if args.json {
        output::print_json(&rendered)?;
    } else {
        output::print_with(|out| rendered.print(out))?;
    }
    Ok(Exit::Ok)
}

impl Rendered {
    /// The prompt, safe for a terminal, and its ids.
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for c in self.prompt.chars() {
            if c.is_control() && !matches!(c, '\n' | '\t') {
                write!(out, "{}", c.escape_default())?;
            } else {
                write!(out, "{c}")?;
            }
        }
        let ids: Vec<String> = self.ids.iter().map(u32::to_string).collect();
        writeln!(out, "\n\n{} tokens: {}", ids.len(), ids.join(","))
    }
}

/// A conversation from a file, or from standard input if that is `-`.
pub(crate) fn read_messages(file: &Path) -> Result<Conversation, CliError> {
    let shown = if file.as_os_str() == "-" { Path::new("standard input") } else { file };
    let text = prompt::read_path(file)?;
    let json: Json = serde_json::from_str(&text)
        .map_err(|e| CliError::new("E-JSON", Exit::Malformed, format!("no JSON: {e}")).at(shown))?;
    Conversation::from_json(&json).at(shown)
}
