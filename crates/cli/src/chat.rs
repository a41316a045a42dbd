//! `lockstep chat`: a conversation on the terminal.
pub(crate) mod args;
mod command;
mod history;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod turn;

use crate::{
    errors::{CliError, Exit},
    generate::{End, peak_bytes},
    human,
    interrupt::Interrupt,
    model, output, sampling, session,
    template::NO_TEMPLATE,
};
use args::ChatArgs;
use command::Input;
use gguf_parse::Gguf;
use history::History;
use reader::{Line, Reader};
use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};
use turn::{Answer, Chat, Settings};

/// Runs the command.
pub(crate) fn chat(args: &ChatArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    Talk::open(args, interrupt)?.run()
}

/// A chat and who talks.
struct Talk<'a> {
    reader: Reader,
    chat: Chat,
    gguf: Arc<Gguf>,
    path: PathBuf,
    interrupt: &'a Interrupt,
    /// What `/set` was given.
    set: Vec<(String, String)>,
    /// The file that this chat was written to or came from.
    saved: Option<PathBuf>,
    last: Option<Answer>,
}

impl<'a> Talk<'a> {
    /// A chat as the command line asks for it.
    fn open(args: &ChatArgs, interrupt: &'a Interrupt) -> Result<Self, CliError> {
        // What is wrong with the command line is told before a model is fetched or loaded.
        sampling::check(&args.sampling)?;
        session::isa(&args.engine.isa)?;
        let history = match &args.load {
            Some(file) => loaded(file)?,
            None => History::new(args.system.clone()),
        };
        let name = args.name.as_ref().or(args.model.as_ref());
        let path = model::resolve(name.map_or("smollm2".as_ref(), |name| name.as_os_str()))?;
        let opened = session::open(&path, &args.engine, &args.sampling, Some(&args.template))?;
        let Some(template) = opened.template else {
            let text = format!("{NO_TEMPLATE}; `lockstep run` continues texts without one");
            return Err(CliError::new("E-TEMPLATE", Exit::Unsupported, text).at(&path));
        };
        let settings = settings::of(args, opened.engine.sampler.clone());
        Ok(Self {
            reader: Reader::open()?,
            saved: args.load.clone(),
            chat: Chat::new(opened.engine, template, history, settings),
            gguf: opened.gguf,
            path,
            interrupt,
            set: Vec::new(),
            last: None,
        })
    }

    fn run(&mut self) -> Result<Exit, CliError> {
        if self.reader.is_terminal() {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let context = self.chat.fill().1;
            self.tell(&format!(
                "{name}, context of {context} tokens. /help lists the commands, Ctrl-D leaves."
            ));
        }
        let mut leaving = false;
        loop {
            match self.next()? {
                Line::End => return Ok(Exit::Ok),
                Line::Interrupted if leaving => return Ok(Exit::Ok),
                Line::Interrupted => {
                    self.tell("Ctrl-C again, Ctrl-D or /exit leaves.");
                    leaving = true;
                }
                Line::Text(text) => {
                    leaving = false;
                    match self.obey(command::parse(&text)) {
                        Ok(true) => {}
                        Ok(false) => return Ok(Exit::Ok),
                        // Nobody is there to say it better.
                        Err(error) if !self.reader.is_terminal() || error.is_silent() => {
                            return Err(error);
                        }
                        Err(error) => error.print(),
                    }
                }
            }
        }
    }

    /// What is typed next. From then on Ctrl-C stops what is being done, and no longer the chat.
    fn next(&mut self) -> Result<Line, CliError> {
        let cancel = self.chat.engine.context.cancel_flag();
        cancel.store(false, Ordering::SeqCst);
        // Otherwise somebody may type it before the prompt is ready, and would lose the chat.
        if !self.reader.hears_ctrl_c() {
            self.interrupt.release();
        }
        let (used, all) = self.chat.fill();
        let line = self.reader.next(&format!("[{used}/{all}] > "));
        self.interrupt.set_on_first(cancel);
        line
    }

    /// Does what was typed; whether the chat goes on.
    fn obey(&mut self, input: Input) -> Result<bool, CliError> {
        match input {
            Input::Nothing => {}
            Input::Exit => return Ok(false),
            Input::Say(text) => self.say(&text)?,
            Input::Retry => self.retry()?,
            Input::Undo => {
                let Some(text) = self.chat.history.pop_exchange() else {
                    return Err(CliError::usage("there is nothing to take back"));
                };
                self.chat.recount();
                self.tell(&format!("taken back: {}", first_line(&text)));
            }
            Input::Clear => {
                self.chat.history.clear();
                self.chat.recount();
            }
            Input::Help => output::print(&format!("{}\n", command::HELP))?,
            Input::System(None) => {
                let system = self.chat.history.system.clone();
                self.tell(&system.unwrap_or_else(|| "no system message of ours".to_owned()));
            }
            Input::System(Some(text)) => {
                self.chat.history.system = Some(text).filter(|text| !text.is_empty());
                self.chat.recount();
            }
            Input::Save(file) => self.save(&at_home(&file))?,
            Input::Load(file) => self.load(at_home(&file))?,
            Input::Set(None) => self.tell(&settings::shown(&self.chat.settings)),
            Input::Set(Some((name, value))) => self.set(name, value)?,
            Input::Stats => self.stats(),
            Input::Wrong(text) => return Err(CliError::usage(text)),
        }
        Ok(true)
    }

    /// Answers a message. One before it that got no answer gives way: the user and the assistant speak in turn.
    fn say(&mut self, text: &str) -> Result<(), CliError> {
        let before = self.chat.history.clone();
        if self.chat.history.waits_for_answer() {
            self.chat.history.pop_exchange();
            self.chat.recount();
        }
        self.chat.history.push_user(text);
        self.answer().inspect_err(|_| self.chat.history = before)
    }

    /// Answers the last message anew. If nothing comes of it, the old answer stays.
    fn retry(&mut self) -> Result<(), CliError> {
        let before = self.chat.history.clone();
        let had_answer = self.chat.history.pop_answer();
        if !self.chat.history.waits_for_answer() {
            return Err(CliError::usage("there is no message to answer"));
        }
        let outcome = self.answer();
        if had_answer && self.chat.history.waits_for_answer() {
            self.chat.history = before;
        }
        outcome
    }

    /// Answers and says how it ended, if that is worth a word.
    fn answer(&mut self) -> Result<(), CliError> {
        let mut shown = false;
        let answer = self.chat.answer(&mut |piece| {
            shown = true;
            output::print_text(piece)
        });
        if shown || answer.is_ok() {
            output::print("\n")?;
        }
        let answer = answer.map_err(|error| self.explained(error))?;
        if answer.n_left_out > 0 {
            let n = answer.n_left_out;
            self.tell(&format!(
                "the context is full: the {n} oldest messages are left out from now on"
            ));
        }
        match answer.end {
            End::Interrupted if shown => self.tell("stopped; /retry asks for another answer"),
            End::Interrupted => self.tell("stopped before the first word; /retry asks again"),
            End::Context => self.tell(
                "the context is full: the answer is not complete; /undo, /clear, /set context-shift on, \
                 or a larger --ctx-size",
            ),
            End::Length => self.tell("as long as --n-predict allows"),
            End::Eog | End::Stop => {}
        }
        self.last = Some(answer);
        Ok(())
    }

    /// Says what is wrong with what: the model's file, if it is not the user's input.
    fn explained(&self, error: CliError) -> CliError {
        match error.exit {
            Exit::Usage => error,
            Exit::Unsupported if self.chat.history.system.is_some() => error
                .at(&self.path)
                .with_hint("; `/system \"\"` takes the system message away, if it is that"),
            _ => error.at(&self.path),
        }
    }

    fn load(&mut self, file: PathBuf) -> Result<(), CliError> {
        self.chat.history = loaded(&file)?;
        self.chat.recount();
        self.tell(&format!("{} messages", self.chat.history.len()));
        self.saved = Some(file);
        Ok(())
    }

    fn save(&mut self, file: &Path) -> Result<(), CliError> {
        if self.chat.history.is_empty() {
            return Err(CliError::usage("there is nothing to save yet"));
        }
        if file.exists() && self.saved.as_deref() != Some(file) {
            let text = "is there already, and not from this chat; take another name or remove it";
            return Err(CliError::usage(text).at(file));
        }
        self.chat.history.save(file)?;
        self.saved = Some(file.to_owned());
        self.tell(&format!(
            "written to {}; `lockstep chat --load` goes on with it",
            file.display()
        ));
        Ok(())
    }

    fn set(&mut self, name: String, value: String) -> Result<(), CliError> {
        let is_seed = name == "seed";
        self.set.push((name, value));
        let tokenizer = &self.chat.engine.tokenizer;
        let changed = settings::changed(&self.set, &self.path, &self.gguf, tokenizer);
        // `seed -1` draws another one.
        let keep = |new: Settings| new.keeping_seed(&self.chat.settings, tokenizer);
        match if is_seed { changed } else { changed.and_then(keep) } {
            Ok(settings) => {
                self.tell(&settings::shown(&settings));
                self.chat.settings = settings;
                if is_seed {
                    self.chat.restart_seed();
                }
            }
            Err(error) => {
                self.set.pop();
                return Err(error);
            }
        }
        Ok(())
    }

    fn stats(&self) {
        let (used, all) = self.chat.fill();
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let percent = 100.0 * used as f64 / all as f64;
        let mut text = format!("context: {used} of {all} tokens ({percent:.0} %)");
        if let Some(Answer { timings, n_written, .. }) = &self.last {
            let rate = |n, time: std::time::Duration| human::rate(n, time.as_secs_f64());
            text += &format!(
                "\nlast answer: {} new tokens read at {:.1} tok/s, {} known already, \
                 {n_written} written at {:.1} tok/s",
                timings.n_prompt,
                rate(timings.n_prompt, timings.prefill),
                timings.n_reused,
                rate(timings.n_decoded, timings.decode),
            );
        }
        if let Some(peak) = peak_bytes() {
            text += &format!("\npeak memory: {}", human::bytes(peak));
        }
        self.tell(&text);
    }

    /// Tells people something that is not the model's.
    #[expect(clippy::unused_self, reason = "a word of this conversation")]
    fn tell(&self, text: &str) {
        output::eprint_note(text);
    }
}

/// A chat from a file.
fn loaded(file: &Path) -> Result<History, CliError> {
    if file.as_os_str() == "-" {
        return Err(CliError::usage(
            "no chat is loaded from standard input: messages come from there",
        ));
    }
    History::load(file)
}

/// A path as typed; no shell was there to say where `~` is.
fn at_home(file: &str) -> PathBuf {
    let rest = file.strip_prefix("~/");
    let home = rest.and_then(|_| env::var_os("HOME")).filter(|home| !home.is_empty());
    rest.zip(home).map_or_else(|| file.into(), |(rest, home)| Path::new(&home).join(rest))
}

/// The beginning of a text, safe for a terminal.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    crate::errors::one_line(&short)
}
