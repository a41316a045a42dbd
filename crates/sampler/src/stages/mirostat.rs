//! Mirostat 1 and 2: a cut that follows the surprise of the tokens picked, so that it stays near a
//! target (Basu et al. 2020, <https://arxiv.org/abs/2007.14966>).

use super::discrete;
use crate::{Candidates, Params, math, rng::Rng};

/// How the cut follows from the surprise allowed.
#[derive(Debug, Clone, Copy)]
enum Version {
    /// Tokens are counted by Zipf's law, whose exponent is estimated from the most likely ones.
    One { n_vocab: f32 },
    /// Tokens of more surprise than allowed are left out.
    Two,
}

/// The controller: it draws, too.
#[derive(Debug, Clone)]
pub(crate) struct Mirostat {
    version: Version,
    tau: f32,
    eta: f32,
    /// The surprise allowed, in bits.
    mu: f32,
}

impl Mirostat {
    /// How many of the most likely tokens the exponent is estimated from.
    const N_ESTIMATE: usize = 100;

    /// `None` if the parameters turn it off.
    pub(crate) fn new(params: &Params, n_vocab: usize) -> Option<Self> {
        let version = match params.mirostat {
            1 => Version::One { n_vocab: n_vocab as f32 },
            2 => Version::Two,
            _ => return None,
        };
        let mut mirostat =
            Self { version, tau: params.mirostat_tau, eta: params.mirostat_eta, mu: 0.0 };
        mirostat.reset();
        Some(mirostat)
    }

    pub(crate) fn reset(&mut self) {
        self.mu = (2.0 * self.tau).min(f32::MAX);
    }

    pub(crate) fn pick(&mut self, candidates: &mut Candidates, rng: &mut Rng) -> Option<u32> {
        candidates.sort();
        candidates.softmax();
        let n = match self.version {
            Version::One { n_vocab } => self.zipf_count(candidates, n_vocab),
            Version::Two => candidates.iter().take_while(|c| surprise(c.p) <= self.mu).count(),
        };
        candidates.truncate(n.max(1));
        candidates.softmax();
        let picked = discrete::pick(candidates, rng)?;
        let error = surprise(picked.p) - self.tau;
        // Clamped, so that it never becomes NaN.
        self.mu = (self.mu - self.eta * error).clamp(f32::MIN, f32::MAX);
        Some(picked.id)
    }

    /// How many tokens have no more than the surprise allowed, by Zipf's law.
    fn zipf_count(&self, candidates: &Candidates, n_vocab: f32) -> usize {
        let ranked = (1_u16..).map(f32::from).zip(candidates.iter().map(|c| c.p));
        let next = candidates.iter().map(|c| c.p).skip(1);
        let (mut sum_tb, mut sum_tt) = (0.0_f32, 0.0_f32);
        for ((rank, p), next) in ranked.zip(next).take(Self::N_ESTIMATE - 1) {
            let t = math::ln((rank + 1.0) / rank);
            sum_tb += t * math::ln(p / next);
            sum_tt += t * t;
        }
        let exponent = sum_tb / sum_tt;
        if exponent.is_nan() {
            return 1;
        }
        let epsilon = exponent - 1.0;
        let mass = 1.0 - math::pow(n_vocab, -epsilon);
        let k = math::pow((epsilon * math::pow(2.0, self.mu)) / mass, 1.0 / exponent);
        // A cast takes NaN and what is below 0 to 0, and stops at the end of the range.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let k = k as usize;
        k
    }
}

/// Of a token of probability `p`, in bits.
fn surprise(p: f32) -> f32 {
    -math::log2f(p)
}
