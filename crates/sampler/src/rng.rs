//! Random numbers as llama.cpp on Linux draws them: `std::mt19937` and libstdc++'s
//! `uniform_real_distribution` of `double` and of `float`.

use crate::Params;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The generator, with the seed it runs on.
#[derive(Debug, Clone)]
pub(crate) struct Rng {
    seed: u32,
    mt: rand_mt::Mt,
}

impl Rng {
    /// A generator of this seed, or, for [`Params::RANDOM_SEED`], of one from the system.
    pub(crate) fn new(seed: u32) -> Self {
        let seed = if seed == Params::RANDOM_SEED { random_seed() } else { seed };
        Self { seed, mt: rand_mt::Mt::new(seed) }
    }

    /// The seed in use.
    pub(crate) fn seed(&self) -> u32 {
        self.seed
    }

    /// A number in [0, 1), from two outputs.
    pub(crate) fn uniform(&mut self) -> f64 {
        let low = self.mt.next_u32();
        let high = self.mt.next_u32();
        unit(low, high)
    }

    /// A number in [0, 1), from one output.
    pub(crate) fn uniform_f32(&mut self) -> f32 {
        unit_f32(self.mt.next_u32())
    }
}

/// 32 bits over 2^32; rounded to f32, but not up to 1.
fn unit_f32(bits: u32) -> f32 {
    (bits as f32 / 2.0_f32.powi(32)).min(1.0_f32.next_down())
}

/// 64 bits, the low half drawn first, over 2^64; rounded to f64, but not up to 1.
fn unit(low: u32, high: u32) -> f64 {
    let bits = u64::from(high) << 32 | u64::from(low);
    (bits as f64 / 2.0_f64.powi(64)).min(1.0_f64.next_down())
}

/// A seed from the system's entropy, which the standard library takes for its hash keys.
fn random_seed() -> u32 {
    let bits = RandomState::new().build_hasher().finish();
    let folded = (bits >> 32) ^ (bits & 0xffff_ffff);
    // Not the number that stands for "random", so that the seed reported can be given again.
    u32::try_from(folded).map_or(0, |seed| seed.min(Params::RANDOM_SEED - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mersenne_twister_is_the_published_one() {
        let mut rng = Rng::new(5489);
        let outputs: Vec<u32> = (0..10_000).map(|_| rng.mt.next_u32()).collect();
        let first = [3_499_211_612, 581_869_302, 3_890_346_734];
        assert!(outputs.starts_with(&first), "the first of mt19937ar: {first:?}");
        // What the C++ standard asks of the 10,000th ([rand.predef]).
        assert_eq!(outputs.last(), Some(&4_123_659_995), "the 10,000th");
    }

    #[test]
    fn uniform_takes_the_low_half_first() {
        assert_eq!(unit(1, 0), 2.0_f64.powi(-64), "low");
        assert_eq!(unit(0, 1 << 31), 0.5, "high");
        assert!(unit(u32::MAX, u32::MAX) < 1.0, "2^64 - 1 must not round up to 1");
        let expected = unit(3_499_211_612, 581_869_302);
        assert_eq!(Rng::new(5489).uniform(), expected, "in the order drawn");
    }

    #[test]
    fn uniform_f32_takes_one_output() {
        assert_eq!(unit_f32(1 << 31), 0.5, "half");
        assert!(unit_f32(u32::MAX) < 1.0, "2^32 - 1 must not round up to 1");
        let mut rng = Rng::new(5489);
        assert_eq!(rng.uniform_f32(), unit_f32(3_499_211_612), "the first");
        assert_eq!(rng.uniform_f32(), unit_f32(581_869_302), "the next");
    }

    #[test]
    fn random_seed_is_reported_and_repeatable() {
        let mut random = Rng::new(Params::RANDOM_SEED);
        assert_ne!(random.seed(), Params::RANDOM_SEED, "a seed that can be given again");
        let mut again = Rng::new(random.seed());
        assert_eq!(random.uniform(), again.uniform(), "same seed, same numbers");
        let seeds: std::collections::HashSet<u32> = (0..8).map(|_| random_seed()).collect();
        assert!(seeds.len() > 1, "eight random seeds are one number: {seeds:?}");
    }
}
