//! One answer: the chat as a prompt, of which only what is new is computed.
use super::history::History;
use crate::{
    errors::{CliError, Exit},
    generate::{Emit, End, Engine, Request, Text, Timings},
    template::ChatTemplate,
};
use chat_template::Prompt;
use sampler::{Params, Sampler};
use std::{ops::Range, sync::Arc};
use tokenizer::Tokenizer;

/// A chat and the model that answers.
pub(super) struct Chat {
    pub(super) engine: Engine,
    pub(super) template: ChatTemplate,
    pub(super) history: History,
    pub(super) settings: Settings,
    /// The last prompt and its answer.
    known: Option<Known>,
    /// Answers given since the seed was set, to the same message, too: each has its own random numbers.
    n_answers: u32,
    n_tokens: usize,
}

/// What `/set` changes.
pub(super) struct Settings {
    /// The sampler of the first answer.
    pub(super) sampler: Sampler,
    pub(super) n_predict: Option<usize>,
    pub(super) stops: Vec<String>,
    pub(super) ignore_eos: bool,
    pub(super) context_shift: bool,
}

/// A text of which the tokens are known, as the model wrote them.
struct Known {
    text: String,
    ids: Vec<u32>,
}

/// A prompt and its tokens.
struct Ready {
    text: String,
    ids: Vec<u32>,
}

/// How an answer went.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) end: End,
    pub(super) timings: Timings,
    /// Its tokens.
    pub(super) n_written: usize,
    /// Messages that had to be left out for it.
    pub(super) n_left_out: usize,
}

impl Chat {
    pub(super) fn new(
        engine: Engine,
        template: ChatTemplate,
        history: History,
        settings: Settings,
    ) -> Self {
        let mut chat =
            Self { engine, template, history, settings, known: None, n_answers: 0, n_tokens: 0 };
        chat.recount();
        chat
    }

    /// Tokens of the chat, and how many the context holds.
    pub(super) fn fill(&self) -> (usize, usize) {
        (self.n_tokens, self.engine.context.n_ctx())
    }

    /// From now on answers are as in a chat that begins with these settings' seed.
    pub(super) fn restart_seed(&mut self) {
        self.n_answers = 0;
    }

    /// The history was changed: counts its tokens.
    pub(super) fn recount(&mut self) {
        // Its text may stand in the new history with other authors.
        self.known = None;
        self.n_tokens = match self.ready() {
            Ok(ready) if !self.history.is_empty() => ready.ids.len(),
            // What a template refuses is told when there is something to answer.
            _ => 0,
        };
    }

    /// Answers the last message, which is the user's.
    pub(super) fn answer(&mut self, emit: Emit<'_>) -> Result<Answer, CliError> {
        let n_left_out = self.history.n_left_out();
        let mut ready = self.fit(0)?;
        self.engine.sampler = self.settings.sampler_of(self.n_answers, &self.engine.tokenizer)?;
        self.n_answers = self.n_answers.wrapping_add(1);
        ready.ids.iter().for_each(|id| self.engine.sampler.accept(*id));

        let tokenizer = Arc::clone(&self.engine.tokenizer);
        let stops = self.settings.stops.clone();
        let mut text = Text::new(&tokenizer, &stops);
        let mut timings = Timings::default();
        let (end, n_written) = self.write(&mut ready, &mut timings, &mut text, &mut *emit)?;
        let text = text.finish(emit)?;
        if !text.is_empty() || end != End::Interrupted {
            self.history.push_assistant(&text);
        }
        self.n_tokens = ready.ids.len().min(self.engine.context.n_ctx());
        let Ready { text: prompt, ids } = ready;
        self.known = (end != End::Stop).then(|| Known { text: prompt + &text, ids });
        let n_left_out = self.history.n_left_out() - n_left_out;
        Ok(Answer { end, timings, n_written, n_left_out })
    }

    /// Writes an answer behind the prompt; if the context is full before it ends, and may shift, the answer goes on
    /// with less of the past. Returns how it ended, and its tokens.
    fn write(
        &mut self,
        ready: &mut Ready,
        timings: &mut Timings,
        text: &mut Text<'_>,
        emit: Emit<'_>,
    ) -> Result<(End, usize), CliError> {
        let tokenizer = Arc::clone(&self.engine.tokenizer);
        let mut written: Vec<u32> = Vec::new();
        loop {
            let n_predict = self.settings.n_predict.map(|n| n.saturating_sub(written.len()));
            let request = Request { n_predict, kv_cache: true, n_logits: 0 };
            let generation = self.engine.run(&request, &ready.ids, timings, text, &mut *emit)?;
            let picked = generation.ids.iter().copied().filter(|id| !tokenizer.is_eog(*id));
            written.extend(picked.clone());
            ready.ids.extend(picked);
            if generation.end != End::Context || !self.settings.context_shift {
                return Ok((generation.end, written.len()));
            }
            let n_left_out = self.history.n_left_out();
            match self.fit(written.len()) {
                Ok(shorter) if self.history.n_left_out() > n_left_out => *ready = shorter,
                _ => return Ok((End::Context, written.len())),
            }
            ready.ids.extend(&written);
        }
    }

    /// The prompt, with room for `n_written` tokens of the answer and more; leaves out old messages if it has to and may.
    fn fit(&mut self, n_written: usize) -> Result<Ready, CliError> {
        let n_ctx = self.engine.context.n_ctx();
        let shift = self.settings.context_shift;
        let fits = |ready: &Ready, room| ready.ids.len() + n_written + room <= n_ctx;
        match self.ready() {
            Ok(ready) if fits(&ready, 1) => return Ok(ready),
            Ok(ready) if !shift => return Err(self.full(ready.ids.len() + n_written)),
            Ok(_) => {}
            // More than a template may write is more than a context holds.
            Err(error) if shift && error.exit == Exit::OverBudget => {}
            Err(error) => return Err(error),
        }
        // The least that makes room, and then some: not again at once. Each try cuts the whole text into tokens, so the
        // place is looked for by halving.
        let before = self.history.n_left_out();
        let could = self.history.could_leave_out();
        let at = could.partition_point(|n| {
            self.history.leave_out(*n);
            !self.ready().is_ok_and(|ready| fits(&ready, n_ctx / 4))
        });
        self.history.leave_out(could.get(at).or(could.last()).copied().unwrap_or(before));
        // Little room is better than none.
        let outcome = self.ready().and_then(|ready| {
            if fits(&ready, 1) { Ok(ready) } else { Err(self.full(ready.ids.len() + n_written)) }
        });
        if outcome.is_err() {
            self.history.leave_out(before);
        }
        outcome
    }

    /// The prompt of the chat as it is.
    fn ready(&self) -> Result<Ready, CliError> {
        let prompt = self.template.render(&self.history.conversation())?;
        let ids = self.ids(&prompt);
        Ok(Ready { text: prompt.text, ids })
    }

    fn full(&self, n_ids: usize) -> CliError {
        let n_ctx = self.engine.context.n_ctx();
        let what_to_do = match self.settings.context_shift {
            false => "/undo, /clear, /set context-shift on (--context-shift), a larger --ctx-size",
            true => "a shorter message or a larger --ctx-size",
        };
        let text = format!(
            "the context is full: the chat has {n_ids} tokens, the context holds {n_ctx}; {what_to_do}"
        );
        CliError::new("E-CONTEXT", Exit::Usage, text)
    }

    /// The tokens of a prompt. If it goes on from the last answer, that keeps the tokens that the model wrote, which need
    /// not be those that its text would be cut into: so they are not computed again.
    fn ids(&self, prompt: &Prompt) -> Vec<u32> {
        let tokenizer = &*self.engine.tokenizer;
        let more = self.known.as_ref().and_then(|known| known.extended(prompt, tokenizer));
        more.unwrap_or_else(|| tokenizer.encode_chat(&prompt.text, true, &prompt.input))
    }
}

#[cfg(test)]
impl Chat {
    pub(super) fn known_ids(&self) -> Option<&[u32]> {
        self.known.as_ref().map(|known| known.ids.as_slice())
    }

    pub(super) fn known_text(&self) -> Option<&str> {
        self.known.as_ref().map(|known| known.text.as_str())
    }
}

impl Known {
    /// The tokens of `prompt` if it is this text and something behind it that begins with a control token.
    fn extended(&self, prompt: &Prompt, tokenizer: &Tokenizer) -> Option<Vec<u32>> {
        let rest = prompt.text.strip_prefix(&self.text)?;
        let n = self.text.len();
        let behind = |range: &Range<usize>| range.start.max(n) - n..range.end.max(n) - n;
        let input: Vec<_> = prompt.input.iter().map(behind).collect();
        let more = tokenizer.encode_chat(rest, false, &input);
        let begins = more.first().is_some_and(|id| tokenizer.is_control(*id));
        (begins && !tokenizer.add_eos()).then(|| [self.ids.as_slice(), &more].concat())
    }
}

impl Settings {
    /// A sampler for the answer of that number: its random numbers are its own, and can be had again.
    fn sampler_of(&self, n_answers: u32, tokenizer: &Tokenizer) -> Result<Sampler, CliError> {
        let seed = self.sampler.seed().wrapping_add(n_answers);
        // The one number that stands for a random seed.
        let seed = if seed == Params::RANDOM_SEED { 0 } else { seed };
        self.seeded(seed, tokenizer)
    }

    /// The sampler with another seed.
    fn seeded(&self, seed: u32, tokenizer: &Tokenizer) -> Result<Sampler, CliError> {
        let params = Params { seed, ..self.sampler.params().clone() };
        Ok(Sampler::new(params, tokenizer.n_vocab())?)
    }

    /// These settings, which no seed was given for, with the one that was drawn for those `before` them.
    pub(super) fn keeping_seed(
        self,
        before: &Self,
        tokenizer: &Tokenizer,
    ) -> Result<Self, CliError> {
        if self.sampler.params().seed != Params::RANDOM_SEED {
            return Ok(self);
        }
        Ok(Self { sampler: self.seeded(before.sampler.seed(), tokenizer)?, ..self })
    }
}
