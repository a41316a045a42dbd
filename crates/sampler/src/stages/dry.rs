//! DRY, don't repeat yourself: a token that would go on with a repetition of the text's end costs more
//! the longer the repetition is (<https://github.com/oobabooga/text-generation-webui/pull/5677>).

use crate::{Candidates, DryBreaker, Params, math};
use std::collections::VecDeque;

/// The penalty and the recent tokens it looks at.
#[derive(Debug, Clone)]
pub(crate) struct Dry {
    multiplier: f32,
    base: f32,
    allowed_length: usize,
    last_n: usize,
    /// By ascending head.
    breakers: Vec<DryBreaker>,
    /// The last `last_n` tokens, newest first.
    window: VecDeque<u32>,
    /// For each place of the window, how many tokens from there on are those from its beginning on.
    repeats: Vec<usize>,
    /// The longest repetition that each token would go on with, by ascending id.
    longest: Vec<(u32, usize)>,
}

impl Dry {
    /// `None` if the parameters turn it off.
    pub(crate) fn new(params: &Params) -> Option<Self> {
        let last_n = usize::try_from(params.dry_penalty_last_n).unwrap_or(0);
        if params.dry_multiplier == 0.0 || last_n == 0 {
            return None;
        }
        let mut breakers = params.dry_breakers.clone();
        breakers.sort_by_key(|breaker| breaker.head);
        Some(Self {
            multiplier: params.dry_multiplier,
            base: params.dry_base,
            allowed_length: usize::try_from(params.dry_allowed_length).unwrap_or(0),
            last_n,
            breakers,
            // These grow as tokens come: `last_n` may be any number, and reserves nothing.
            window: VecDeque::new(),
            repeats: Vec::new(),
            longest: Vec::new(),
        })
    }

    /// Moves the window on by one token.
    pub(crate) fn accept(&mut self, id: u32) {
        if self.window.len() == self.last_n {
            self.window.pop_back();
        }
        self.window.push_front(id);
    }

    /// Empties the window.
    pub(crate) fn reset(&mut self) {
        self.window.clear();
    }

    pub(crate) fn apply(&mut self, candidates: &mut Candidates) {
        if self.window.len() <= self.allowed_length {
            return;
        }
        let limit = self.limit();
        if limit < self.allowed_length {
            return;
        }
        self.window.make_contiguous();
        let window = self.window.as_slices().0;
        common_prefixes(window, &mut self.repeats);
        self.longest.clear();
        // The token in front of a repetition, in the window newest first, is the one that followed it.
        for (&next, &repeat) in window.iter().zip(self.repeats.iter().skip(1)) {
            let length = repeat.min(limit);
            if length >= self.allowed_length {
                self.longest.push((next, length));
            }
        }
        // Of each token the longest.
        self.longest.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        self.longest.dedup_by_key(|entry| entry.0);
        let breakers = &self.breakers;
        self.longest.retain(|entry| !of(breakers, entry.0).iter().any(|b| b.tail.is_empty()));
        self.penalize(candidates);
    }

    /// The longest repetition that counts: back to the newest breaker.
    fn limit(&self) -> usize {
        let token = |at: usize| self.window.get(at).copied();
        for (at, &head) in self.window.iter().enumerate() {
            let matches = |breaker: &&DryBreaker| {
                let newer = (0..at).rev().map(token);
                breaker.tail.len() <= at
                    && breaker.tail.iter().copied().map(Some).zip(newer).all(|(a, b)| a == b)
            };
            let matching = of(&self.breakers, head).iter().filter(matches);
            if let Some(longest) = matching.map(|breaker| breaker.tail.len()).max() {
                return at.saturating_sub(longest);
            }
        }
        self.window.len()
    }

    fn penalize(&self, candidates: &mut Candidates) {
        /// ln of the highest f32.
        const MAX_LN: f32 = 88.722_84;
        // Powers stay finite; where the base is nearly 1 they do so anyway.
        let max_exponent = if self.base > 1.000_001 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 1 on"
            )]
            let highest = (MAX_LN / math::ln(self.base)) as usize;
            highest
        } else {
            usize::MAX
        };
        let penalty = |length: usize| {
            let exponent = length.saturating_sub(self.allowed_length).min(max_exponent);
            let power = math::power(f64::from(self.base), exponent);
            super::temperature::round(f64::from(self.multiplier) * power)
        };
        let of = |id| {
            let at = self.longest.binary_search_by_key(&id, |entry| entry.0).ok()?;
            self.longest.get(at).map(|entry| entry.1)
        };
        // Clamped, so that what overflows is the largest number and not infinity or NaN.
        let clamp = |x: f32| x.clamp(f32::MIN, f32::MAX);
        candidates.change(self.longest.iter().copied(), of, |logit, length| {
            clamp(logit - clamp(penalty(length)))
        });
    }
}

/// The breakers that begin with a token.
fn of(breakers: &[DryBreaker], head: u32) -> &[DryBreaker] {
    let start = breakers.partition_point(|breaker| breaker.head < head);
    let end = breakers.partition_point(|breaker| breaker.head <= head);
    breakers.get(start..end).unwrap_or_default()
}

/// For each place how many elements from there on equal those from the beginning on (the Z-function);
/// in linear time.
fn common_prefixes(tokens: &[u32], lengths: &mut Vec<usize>) {
    lengths.clear();
    // The stretch known to equal the beginning that reaches farthest: from `start` to `end`.
    let (mut start, mut end) = (0_usize, 0_usize);
    for at in 0..tokens.len() {
        let known = match lengths.get(at.saturating_sub(start)) {
            Some(&length) if at < end => length.min(end.saturating_sub(at)),
            _ => 0,
        };
        let here = tokens.get(at.saturating_add(known)..).unwrap_or_default();
        let there = tokens.get(known..).unwrap_or_default();
        let more = if at == 0 {
            here.len()
        } else {
            here.iter().zip(there).take_while(|(a, b)| a == b).count()
        };
        let length = known.saturating_add(more);
        if at > 0 && at.saturating_add(length) > end {
            (start, end) = (at, at.saturating_add(length));
        }
        lengths.push(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_prefixes_are_those_of_the_definition() {
        let mut state = 7_u32;
        let mut lengths = Vec::new();
        for n in 0..60 {
            let tokens: Vec<u32> = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 30
                })
                .collect();
            common_prefixes(&tokens, &mut lengths);
            let by_hand: Vec<usize> = (0..tokens.len())
                .map(|at| tokens.iter().skip(at).zip(&tokens).take_while(|(a, b)| a == b).count())
                .collect();
            assert_eq!(lengths, by_hand, "of {tokens:?}");
        }
    }

    /// The limit after these tokens.
    fn limit(breakers: &[(u32, &[u32])], tokens: &[u32]) -> usize {
        let breaker = |&(head, tail): &(u32, &[u32])| DryBreaker { head, tail: tail.to_vec() };
        let dry_breakers = breakers.iter().map(breaker).collect();
        let params = Params { dry_multiplier: 1.0, dry_breakers, ..Params::default() };
        let mut dry = Dry::new(&params).unwrap();
        tokens.iter().for_each(|id| dry.accept(*id));
        dry.limit()
    }

    #[test]
    fn repetitions_end_at_the_newest_breaker() {
        assert_eq!(limit(&[], &[1, 2, 3]), 3, "none: all that is known");
        assert_eq!(limit(&[(2, &[])], &[2, 1, 2, 3, 3]), 2, "behind a token");
        assert_eq!(limit(&[(2, &[1])], &[2, 1, 2, 3, 3]), 3, "behind two tokens");
        assert_eq!(limit(&[(2, &[1]), (2, &[])], &[3, 2, 1, 4]), 1, "the longer of two");
        assert_eq!(limit(&[(2, &[1, 4])], &[3, 2, 1]), 3, "not whole yet");
    }
}
