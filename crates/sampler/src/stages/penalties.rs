//! Repeat, frequency and presence penalties on the tokens of a window: Keskar et al. 2019 (CTRL,
//! <https://arxiv.org/abs/1909.05858>), section 4.1, with the sign fixed, and the two of OpenAI's API.

use crate::{Candidates, Params};
use std::collections::VecDeque;

/// The penalties and the recent tokens they look at.
#[derive(Debug, Clone)]
pub(crate) struct Penalties {
    last_n: usize,
    repeat: f32,
    freq: f32,
    present: f32,
    /// The last `last_n` tokens, oldest first.
    window: VecDeque<u32>,
    /// How often each token occurs in the window, by ascending id.
    counts: Vec<(u32, u32)>,
}

impl Penalties {
    /// `None` if the parameters turn the penalties off.
    pub(crate) fn new(params: &Params) -> Option<Self> {
        let last_n = usize::try_from(params.penalty_last_n).unwrap_or(0);
        let (repeat, freq, present) =
            (params.penalty_repeat, params.penalty_freq, params.penalty_present);
        if last_n == 0 || (repeat == 1.0 && freq == 0.0 && present == 0.0) {
            return None;
        }
        // The window grows as tokens come: `last_n` may be any number, and reserves nothing.
        Some(Self { last_n, repeat, freq, present, window: VecDeque::new(), counts: Vec::new() })
    }

    /// Moves the window on by one token.
    pub(crate) fn accept(&mut self, id: u32) {
        if self.window.len() == self.last_n
            && let Some(oldest) = self.window.pop_front()
        {
            self.forget(oldest);
        }
        self.window.push_back(id);
        match self.counts.binary_search_by_key(&id, |entry| entry.0) {
            Ok(at) => {
                if let Some(entry) = self.counts.get_mut(at) {
                    entry.1 = entry.1.saturating_add(1);
                }
            }
            Err(at) => self.counts.insert(at, (id, 1)),
        }
    }

    /// Takes one occurrence of a token back.
    fn forget(&mut self, id: u32) {
        if let Ok(at) = self.counts.binary_search_by_key(&id, |entry| entry.0)
            && let Some(entry) = self.counts.get_mut(at)
        {
            entry.1 = entry.1.saturating_sub(1);
            if entry.1 == 0 {
                self.counts.remove(at);
            }
        }
    }

    /// Empties the window.
    pub(crate) fn reset(&mut self) {
        self.window.clear();
        self.counts.clear();
    }

    /// Lowers the logits of the tokens in the window.
    pub(crate) fn apply(&self, candidates: &mut Candidates) {
        let of = |id| {
            let at = self.counts.binary_search_by_key(&id, |entry| entry.0).ok()?;
            self.counts.get(at).map(|entry| entry.1)
        };
        // Clamped, so that what overflows is the largest number and not infinity or NaN.
        let clamp = |x: f32| x.clamp(f32::MIN, f32::MAX);
        candidates.change(self.counts.iter().copied(), of, |logit, count| {
            let scaled = if logit <= 0.0 { logit * self.repeat } else { logit / self.repeat };
            clamp(clamp(scaled) - clamp(count as f32 * self.freq + self.present))
        });
    }
}
