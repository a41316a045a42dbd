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
    /// Answers given, to the same message, too: each has its own random numbers.
    n_answers: u32,
    n_tokens: usize,
}

/// What `/set` changes.
pub(super) struct Settings {
    /// The sampler of the first answer.
    pub(super) sampler: Sampler,
    pub(super) n_predict: Option<usize>,
    pub(super) stops: Vec<String>,
    pub(super) context_shift: bool,
}

/// A text of which the tokens are known, as the model wrote them.
struct Known {
    text: String,
    ids: Vec<u32>,
}

/// How an answer went.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) end: End,
    pub(super) timings: Timings,
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

    /// The history was changed: counts its tokens.
    pub(super) fn recount(&mut self) {
        let prompt = self.template.render(&self.history.conversation());
        self.n_tokens = match prompt {
            Ok(prompt) if !self.history.is_empty() => self.ids(&prompt).len(),
            // What a template refuses is told when there is something to answer.
            _ => 0,
        };
    }

    /// Answers the last message, which is the user's. Without an answer, the history is as before.
    pub(super) fn answer(&mut self, emit: Emit<'_>) -> Result<Answer, CliError> {
        let mut n_left_out = 0;
        let (prompt, mut ids) = self.fit(0, &mut n_left_out)?;
        self.engine.sampler = self.settings.sampler_of(self.n_answers, &self.engine.tokenizer)?;
        self.n_answers = self.n_answers.wrapping_add(1);
        ids.iter().for_each(|id| self.engine.sampler.accept(*id));

        let tokenizer = Arc::clone(&self.engine.tokenizer);
        let stops = self.settings.stops.clone();
        let mut text = Text::new(&tokenizer, &stops);
        let mut timings = Timings::default();
        let mut written: Vec<u32> = Vec::new();
        let mut prompt = prompt;
        let end = loop {
            let n_predict = self.settings.n_predict.map(|n| n.saturating_sub(written.len()));
            let request = Request { n_predict, kv_cache: true, n_logits: 0 };
            let generation =
                self.engine.run(&request, &ids, &mut timings, &mut text, &mut *emit)?;
            let picked = generation.ids.iter().copied().filter(|id| !tokenizer.is_eog(*id));
            written.extend(picked.clone());
            ids.extend(picked);
            if generation.end != End::Context || !self.settings.context_shift {
                break generation.end;
            }
            let before = n_left_out;
            let Ok((shorter, shorter_ids)) = self.fit(written.len(), &mut n_left_out) else {
                break End::Context;
            };
            if n_left_out == before {
                break End::Context;
            }
            prompt = shorter;
            ids = shorter_ids;
            ids.extend(&written);
        };
        self.n_tokens = self.engine.context.len(0);
        let text = text.finish(&mut *emit)?;
        self.known = (end != End::Stop).then(|| Known { text: prompt + &text, ids });
        if !text.is_empty() || end != End::Interrupted {
            self.history.push_assistant(&text);
        }
        Ok(Answer { end, timings, n_left_out })
    }

    /// The prompt, with room for `n_written` tokens of the answer and more; leaves out old messages if it has to and may.
    fn fit(
        &mut self,
        n_written: usize,
        n_left_out: &mut usize,
    ) -> Result<(String, Vec<u32>), CliError> {
        let n_ctx = self.engine.context.n_ctx();
        let mut room = 1;
        loop {
            let prompt = self.template.render(&self.history.conversation())?;
            let ids = self.ids(&prompt);
            let n_ids = ids.len() + n_written;
            if n_ids + room <= n_ctx {
                return Ok((prompt.text, ids));
            }
            let left_out = match self.settings.context_shift {
                true => self.history.leave_out_oldest(),
                false => None,
            };
            let Some(n) = left_out else {
                // Little room is better than none.
                if n_ids < n_ctx {
                    return Ok((prompt.text, ids));
                }
                return Err(self.full(n_ids));
            };
            *n_left_out += n;
            // Not again at once.
            room = n_ctx / 4;
        }
    }

    fn full(&self, n_ids: usize) -> CliError {
        let n_ctx = self.engine.context.n_ctx();
        let what_to_do = match self.settings.context_shift {
            false => "/undo, /clear, a larger --ctx-size, or --context-shift",
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
        let params = Params { seed, ..self.sampler.params().clone() };
        Ok(Sampler::new(params, tokenizer.n_vocab())?)
    }
}
