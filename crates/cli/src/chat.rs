//! `lockstep chat`: a conversation on the terminal.
pub(crate) mod args;
mod command;
mod history;
mod reader;
mod settings;
mod turn;

use crate::{
    errors::{At, CliError, Exit},
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
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};
use turn::{Answer, Chat};

/// Runs the command.
pub(crate) fn chat(args: &ChatArgs, interrupt: &Interrupt) -> Result<Exit, CliError> {
    // What is wrong with the command line is told before a model is fetched or loaded.
    sampling::check(&args.sampling)?;
    session::isa(&args.engine.isa)?;
    let history = match &args.load {
        Some(file) => History::load(file)?,
        None => History::new(args.system.clone()),
    };
    let name = args.name.as_ref().or(args.model.as_ref());
    let path = model::resolve(name.map_or("smollm2".as_ref(), |name| name.as_os_str()))?;
    let opened = session::open(&path, &args.engine, &args.sampling, Some(&args.template))?;
    let Some(template) = opened.template else {
        let text = format!("{NO_TEMPLATE}; `lockstep run` continues texts without one");
        return Err(CliError::new("E-TEMPLATE", Exit::Unsupported, text).at(&path));
    };
    let settings = settings::of(args, &path, &opened.gguf, &opened.engine.tokenizer)?;
    let mut talk = Talk {
        reader: Reader::open()?,
        saved: args.load.clone(),
        chat: Chat::new(opened.engine, template, history, settings),
        gguf: opened.gguf,
        path,
        interrupt,
        set: Vec::new(),
        last: None,
    };
    talk.run()
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

impl Talk<'_> {
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
            let (used, all) = self.chat.fill();
            match self.reader.next(&format!("[{used}/{all}] > "))? {
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

    /// Does what was typed; whether the chat goes on.
    fn obey(&mut self, input: Input) -> Result<bool, CliError> {
        match input {
            Input::Nothing => {}
            Input::Exit => return Ok(false),
            Input::Say(text) => {
                self.chat.history.push_user(&text);
                if let Err(error) = self.answer() {
                    self.chat.history.pop_exchange();
                    return Err(error);
                }
            }
            Input::Retry => {
                let had_answer = self.chat.history.pop_answer();
                if !had_answer && !self.chat.history.waits_for_answer() {
                    return Err(CliError::usage("there is no message to answer"));
                }
                self.answer()?;
            }
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
            Input::System(text) => {
                self.chat.history.system = text;
                self.chat.recount();
            }
            Input::Save(file) => self.save(Path::new(&file))?,
            Input::Load(file) => {
                self.chat.history = History::load(Path::new(&file))?;
                self.saved = Some(file.into());
                self.chat.recount();
            }
            Input::Set(None) => self.tell(&settings::shown(&self.chat.settings)),
            Input::Set(Some((name, value))) => self.set(name, value)?,
            Input::Stats => self.stats(),
            Input::Wrong(text) => return Err(CliError::usage(text)),
        }
        Ok(true)
    }

    /// Answers and says how it ended, if that is worth a word.
    fn answer(&mut self) -> Result<(), CliError> {
        let cancel = self.chat.engine.context.cancel_flag();
        cancel.store(false, Ordering::SeqCst);
        self.interrupt.set_on_first(Arc::clone(&cancel));
        let answer = self.chat.answer(&mut output::print);
        self.interrupt.release();
        cancel.store(false, Ordering::SeqCst);
        let answer = answer.at(&self.path)?;
        output::print("\n")?;
        if answer.n_left_out > 0 {
            let n = answer.n_left_out;
            self.tell(&format!(
                "the context is full: the {n} oldest messages are left out from now on"
            ));
        }
        match answer.end {
            End::Interrupted => self.tell("stopped; /retry asks for another answer"),
            End::Context => self.tell("the context is full: the answer is not complete; /undo, /clear, a larger --ctx-size, or --context-shift"),
            End::Length => self.tell("as long as --n-predict allows"),
            End::Eog | End::Stop => {}
        }
        self.last = Some(answer);
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
        self.set.push((name, value));
        let tokenizer = &self.chat.engine.tokenizer;
        match settings::changed(&self.set, &self.path, &self.gguf, tokenizer) {
            Ok(settings) => {
                self.tell(&settings::shown(&settings));
                self.chat.settings = settings;
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
        if let Some(Answer { timings, .. }) = &self.last {
            let rate = |n, time: std::time::Duration| human::rate(n, time.as_secs_f64());
            text += &format!(
                "\nlast answer: {} new tokens read at {:.1} tok/s, {} known already, {} written at {:.1} tok/s",
                timings.n_prompt,
                rate(timings.n_prompt, timings.prefill),
                timings.n_reused,
                timings.n_decoded + 1,
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

/// The beginning of a text, safe for a terminal.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    crate::errors::one_line(&short)
}
