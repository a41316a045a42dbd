//! The tokens that may still be picked: one array, allocated once, that every stage reshapes.

use crate::{SampleError, math};

/// A token that may still be picked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Token id.
    pub id: u32,
    /// Its logit, as the stages so far have left it. Finite or -infinity.
    pub logit: f32,
    /// Its probability, as of the last stage that computed any (0 before).
    pub p: f32,
}

/// The tokens that may still be picked, in an order that matters: sums run along it.
///
/// At first they are the whole vocabulary by id, and only logits are stored: a bias or a penalty
/// then touches the few tokens it concerns, and top-k reads 4 bytes a token. The first stage that
/// needs more writes the list out.
///
/// Invariant while sampling: no logit is NaN or +infinity, and at least one is finite.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// Logits of the whole vocabulary, `[n_vocab]`; current until the list is written out.
    logits: Vec<f32>,
    /// The list; current once it is written out.
    items: Vec<Candidate>,
    listed: bool,
    sorted: bool,
}

impl Candidate {
    /// Ascending ranks are descending logits; equal logits (0 and -0 too) are by ascending id,
    /// where llama.cpp leaves their order to the sort. An integer, which sorts fastest.
    pub(crate) fn rank(&self) -> u64 {
        let bits = (self.logit + 0.0).to_bits();
        // As integers, the bits of positive numbers ascend and those of negative ones descend.
        let descending = if bits >> 31 == 0 { !(bits | 1 << 31) } else { bits };
        u64::from(descending) << 32 | u64::from(self.id)
    }
}

/// The whole vocabulary as candidates.
fn vocabulary(logits: &[f32]) -> impl Iterator<Item = Candidate> {
    (0..).zip(logits).map(|(id, &logit)| Candidate { id, logit, p: 0.0 })
}

/// Highest of some logits, -infinity if there are none.
fn max_of(logits: &[f32]) -> f32 {
    /// Running maxima, so that the comparisons do not wait for each other.
    const N: usize = 16;
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = logits.as_chunks::<N>();
    let mut max = [f32::NEG_INFINITY; N];
    for chunk in chunks {
        for (max, &logit) in max.iter_mut().zip(chunk) {
            *max = higher(*max, logit);
        }
    }
    max.iter().chain(rest).copied().fold(f32::NEG_INFINITY, higher)
}

impl Candidates {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.listed { self.items.len() } else { self.logits.len() }
    }

    /// Whether there are none (only before the first sample).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether they are known to be in descending order of logits.
    #[must_use]
    pub fn is_sorted(&self) -> bool {
        self.sorted
    }

    /// They, in order.
    pub fn iter(&self) -> impl Iterator<Item = Candidate> {
        let (listed, vocab) = if self.listed {
            (self.items.as_slice(), [].as_slice())
        } else {
            ([].as_slice(), self.logits.as_slice())
        };
        listed.iter().copied().chain(vocabulary(vocab))
    }

    /// Starts over with the whole vocabulary.
    pub(crate) fn load(&mut self, logits: &[f32]) -> Result<(), SampleError> {
        let mut has_nan_or_inf = false;
        let mut has_finite = false;
        for logit in logits {
            has_nan_or_inf |= logit.is_nan() | (*logit == f32::INFINITY);
            has_finite |= *logit > f32::NEG_INFINITY;
        }
        if has_nan_or_inf || !has_finite {
            return Err(SampleError::NotFinite);
        }
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.listed = false;
        self.sorted = false;
        Ok(())
    }

    /// The logits of the whole vocabulary, `[n_vocab]`: the candidates until the list is written
    /// out, without effect on them after.
    pub(crate) fn by_id(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    /// Changes the logits of some tokens, as far as they are still candidates and not banned.
    ///
    /// The tokens come twice, because there are two ways to find them: `all` lists them, for the
    /// time when a token's place is its id; `of(id)` looks one up. `change` must return neither
    /// NaN nor +infinity.
    pub(crate) fn change<T>(
        &mut self,
        all: impl Iterator<Item = (u32, T)>,
        of: impl Fn(u32) -> Option<T>,
        change: impl Fn(f32, T) -> f32,
    ) {
        // -infinity is a ban: nothing lifts it, and no arithmetic shall turn it into NaN.
        let update = |logit: &mut f32, arg| {
            if *logit > f32::NEG_INFINITY {
                *logit = change(*logit, arg);
            }
        };
        if self.listed {
            for item in &mut self.items {
                if let Some(arg) = of(item.id) {
                    update(&mut item.logit, arg);
                }
            }
        } else {
            for (id, arg) in all {
                if let Some(logit) = self.logits.get_mut(id as usize) {
                    update(logit, arg);
                }
            }
        }
        self.sorted = false;
    }

    /// The logits in order.
    pub(crate) fn logits(&self) -> impl Iterator<Item = f32> {
        self.iter().map(|c| c.logit)
    }

    /// Bans all with a logit below `floor`, which must not be above the highest; they stay in the list.
    pub(crate) fn ban_below(&mut self, floor: f32) {
        let ban = |logit: &mut f32| {
            if *logit < floor {
                *logit = f32::NEG_INFINITY;
            }
        };
        if self.listed {
            self.items.iter_mut().for_each(|item| ban(&mut item.logit));
        } else {
            self.logits.iter_mut().for_each(ban);
        }
    }

    /// Whether any logit is finite.
    pub(crate) fn any_finite(&self) -> bool {
        self.max() > f32::NEG_INFINITY
    }

    /// The highest logit.
    pub(crate) fn max(&self) -> f32 {
        match self.items.first() {
            Some(first) if self.listed && self.sorted => first.logit,
            _ if self.listed => {
                self.items.iter().fold(f32::NEG_INFINITY, |max, c| max.max(c.logit))
            }
            _ => max_of(&self.logits),
        }
    }

    /// The list, written out if it was not yet.
    pub(crate) fn list(&mut self) -> &mut Vec<Candidate> {
        if !self.listed {
            self.items.clear();
            self.items.extend(vocabulary(&self.logits));
            self.listed = true;
        }
        &mut self.items
    }

    /// Says that the list is no longer, or now is, in descending order of logits.
    pub(crate) fn set_sorted(&mut self, sorted: bool) {
        self.sorted = sorted;
    }

    /// Keeps the first `n`.
    pub(crate) fn truncate(&mut self, n: usize) {
        self.list().truncate(n);
    }

    /// Leaves out the first `n`.
    pub(crate) fn drop_front(&mut self, n: usize) {
        let items = self.list();
        items.drain(..n.min(items.len()));
    }

    /// Keeps those with a logit of at least `floor`, in their order, if that leaves `at_least`.
    pub(crate) fn keep_from(&mut self, floor: f32, at_least: usize) -> bool {
        if self.listed {
            if self.items.iter().filter(|c| c.logit >= floor).count() < at_least {
                return false;
            }
            self.items.retain(|c| c.logit >= floor);
            return true;
        }
        self.items.clear();
        self.items.extend(vocabulary(&self.logits).filter(|c| c.logit >= floor));
        self.listed = self.items.len() >= at_least;
        self.listed
    }

    /// Puts all in descending order of logits.
    pub(crate) fn sort(&mut self) {
        if !self.sorted {
            self.list().sort_unstable_by_key(Candidate::rank);
            self.sorted = true;
        }
    }

    /// Brings the `k` highest to the front, in order, given that the `done` highest are there; the
    /// rest stays behind them, in any order.
    pub(crate) fn sort_front(&mut self, done: usize, k: usize) -> &[Candidate] {
        let items = self.list();
        if let Some(rest) = items.get_mut(done..)
            && let Some(n) = k.checked_sub(done)
        {
            if n < rest.len() {
                rest.select_nth_unstable_by_key(n, Candidate::rank);
            }
            if let Some(next) = rest.get_mut(..n) {
                next.sort_unstable_by_key(Candidate::rank);
            }
        }
        items.get(..k).unwrap_or_default()
    }

    /// Keeps the `k` highest, in descending order.
    pub(crate) fn keep_top(&mut self, k: usize) {
        /// Above this, inserting into a sorted list costs more than selecting and sorting.
        const MAX_INSERT: usize = 128;
        let k = k.min(self.len());
        if self.sorted {
            self.truncate(k);
        } else if !self.listed && k <= MAX_INSERT {
            keep_top_of(&self.logits, k, &mut self.items);
            self.listed = true;
        } else {
            self.sort_front(0, k);
            self.truncate(k);
        }
        self.sorted = true;
    }

    /// Sets every `p` to the softmax of the logits: exponentials and their sum in f32, in the
    /// order of the list.
    pub(crate) fn softmax(&mut self) {
        self.softmax_from(self.max());
    }

    /// As [`Self::softmax`], of the differences to `max`.
    pub(crate) fn softmax_from(&mut self, max: f32) {
        let items = self.list();
        let mut sum = 0.0_f32;
        for item in items.iter_mut() {
            item.p = math::exp(item.logit - max);
            sum += item.p;
        }
        for item in items {
            item.p /= sum;
        }
    }
}

/// The `k` highest logits, in descending order, equal ones by ascending id.
fn keep_top_of(logits: &[f32], k: usize, top: &mut Vec<Candidate>) {
    /// Logits passed over at a time if none of them can be among the highest.
    const BLOCK: usize = 64;
    top.clear();
    let mut floor = f32::NEG_INFINITY;
    for (block, start) in logits.chunks(BLOCK).zip((0_u32..).step_by(BLOCK)) {
        if top.len() == k && max_of(block) <= floor {
            continue;
        }
        for (id, &logit) in (start..).zip(block) {
            if top.len() == k {
                // Of equal logits the one seen first, whose id is lower, stays.
                if logit <= floor {
                    continue;
                }
                top.pop();
            }
            let place = top.partition_point(|c| c.logit >= logit);
            top.insert(place, Candidate { id, logit, p: 0.0 });
            if top.len() == k {
                floor = top.last().map_or(f32::NEG_INFINITY, |c| c.logit);
            }
        }
    }
}
