//! What this machine multiplies at most, and what it reads: what a measured speed is compared with.
//!
//! Loops of one instruction on twelve independent registers, written in assembly because a compiler would shorten
//! them, and a sum over memory. A rate of multiplications is that of the fastest of several runs: other processes only
//! ever slow a run down. That of memory is what one pass in ten reaches: single ones can be twice as fast as what a
//! machine keeps up.

use crate::{Arena, Team};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 8-bit integers, summed in 32 bits.
    Int8,
    /// BF16, summed in f32.
    Bf16,
    /// f32, fused with the addition.
    F32,
}

/// The fastest way this CPU has to multiply something.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Peak {
    /// Multiply-accumulates per second, of all threads together.
    pub macs_per_second: f64,
    /// The instruction that does it: `"vpdpbusd zmm"`.
    pub instruction: &'static str,
}

/// A loop of multiplications.
#[derive(Clone, Copy)]
pub(crate) struct Loop {
    pub(crate) instruction: &'static str,
    /// Of one turn.
    pub(crate) macs: u64,
    /// Runs a number of turns, at least one.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) run: isa::Run,
}

/// Measures the multiply peak of `team`. `None` if this CPU has no instruction for it that is known here.
#[must_use]
pub fn multiply(team: &Team, unit: Unit) -> Option<Peak> {
    /// About a millisecond: long beside waking the team, short beside a turn of the scheduler.
    const TURNS: u64 = 1 << 18;
    let instructions = find(unit)?;
    let seconds = fastest(Duration::from_millis(60), || team.run(&|_| instructions.run(TURNS)));
    let macs = instructions.macs * TURNS * team.n_threads() as u64;
    Some(Peak { macs_per_second: macs as f64 / seconds, instruction: instructions.instruction })
}

/// Bytes per second at which the threads of `team` together read `n_bytes` of memory, each its own part, `n_passes`
/// times in a row. The memory is such as weights lie in. `None` if there is too little.
#[must_use]
pub fn read(team: &Team, n_bytes: usize, n_passes: usize) -> Option<f64> {
    let mut piece = Arena::new().take(n_bytes).ok()?;
    // A page that was never written is not memory yet.
    team.for_chunks_mut(piece.as_mut_slice(), 1 << 20, &|_, part| part.fill(1));
    let data = piece.as_slice();
    let seconds = fast_tenth(Duration::from_millis(400), || {
        team.run(&|tid| {
            let part = &data[team.range_of(tid, n_bytes, 64)];
            for _ in 0..n_passes {
                black_box(sum(black_box(part)));
            }
        });
    });
    Some((n_bytes * n_passes) as f64 / seconds)
}

/// Seconds of the fastest call within `budget`.
fn fastest(budget: Duration, f: impl FnMut()) -> f64 {
    sorted(budget, f)[0]
}

/// Seconds within which one call in ten within `budget` is done.
fn fast_tenth(budget: Duration, f: impl FnMut()) -> f64 {
    let calls = sorted(budget, f);
    calls[calls.len() / 10]
}

/// Seconds of each call within `budget`, at least one, after one that does not count; the fastest first.
fn sorted(budget: Duration, mut f: impl FnMut()) -> Vec<f64> {
    f();
    let (start, mut calls) = (Instant::now(), Vec::new());
    while calls.is_empty() || start.elapsed() < budget {
        let call = Instant::now();
        f();
        calls.push(call.elapsed().as_secs_f64());
    }
    calls.sort_by(f64::total_cmp);
    calls
}

/// The sum of `data` as 64-bit words. In this plain form the compiler uses the widest registers it may, and several accumulators; an
/// array of accumulators it would keep in memory.
#[inline(always)]
pub(crate) fn plain_sum(data: &[u8]) -> u64 {
    let words = data.as_chunks().0.iter();
    words.fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod isa {
    use super::{Loop, Unit, plain_sum};

    pub(super) fn find(_: Unit) -> Option<Loop> {
        None
    }

    pub(super) fn sum(data: &[u8]) -> u64 {
        plain_sum(data)
    }

    impl Loop {
        pub(super) fn run(self, _: u64) {}
    }
}

#[cfg(target_arch = "aarch64")]
use crate::aarch64::peak as isa;
#[cfg(target_arch = "x86_64")]
use crate::x86_64::peak as isa;
use isa::{find, sum};

#[cfg(test)]
mod tests {
    use super::{Unit, find, multiply, plain_sum, read, sum};
    use crate::Team;

    /// A loop whose registers were not declared would change the numbers that the compiler keeps in them.
    #[test]
    fn loops_disturb_nobody() {
        for unit in [Unit::Int8, Unit::Bf16, Unit::F32] {
            let Some(instructions) = find(unit) else { continue };
            let before: [f32; 24] = std::array::from_fn(|i| i as f32 * 1.5);
            let mut x = before;
            for turns in 0..20 {
                instructions.run(turns);
                x.iter_mut().for_each(|x| *x += 1.0);
            }
            assert!(x.iter().zip(before).all(|(x, y)| *x == y + 20.0), "{x:?}");
        }
    }

    #[test]
    fn rates_are_possible() {
        let team = Team::new(2).unwrap();
        for unit in [Unit::Int8, Unit::Bf16, Unit::F32] {
            if let Some(peak) = multiply(&team, unit) {
                assert!((1e8..1e14).contains(&peak.macs_per_second), "{unit:?}: {peak:?}");
            }
        }
        let rate = read(&team, 800_003, 3).unwrap();
        assert!((1e6..1e14).contains(&rate), "{rate}");
        assert!(read(&team, 0, 1).unwrap().abs() < 1.0, "nothing is read in some time");
    }

    #[test]
    fn sums_are_right() {
        for n in [0, 1, 31, 32, 33, 64, 1000] {
            let words: Vec<u64> = (0..n).map(|i| i * i).collect();
            let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let wanted = words.iter().sum::<u64>();
            assert_eq!((sum(&data), plain_sum(&data)), (wanted, wanted), "{n}");
        }
    }
}
