//! The most this machine multiplies and reads: what a measured speed is compared with.
//!
//! Loops of one instruction on twelve independent registers, written in assembly because a compiler would shorten
//! them, and a sum over memory. Every rate is that of the fastest of several runs: other processes only ever slow
//! a run down.

use crate::Team;
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
struct Loop {
    instruction: &'static str,
    /// Of one turn.
    macs: u64,
    /// Runs a number of turns, at least one.
    #[cfg(target_arch = "x86_64")]
    run: unsafe fn(u64),
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

/// Bytes per second at which the threads of `team` together read `data`, each its own part, `n_passes` times in a
/// row.
///
/// A page that was never written is not memory yet: fill `data` with something other than zeros first.
#[must_use]
pub fn read(team: &Team, data: &[u64], n_passes: usize) -> f64 {
    let seconds = fastest(Duration::from_millis(250), || {
        team.run(&|tid| {
            let part = &data[team.range_of(tid, data.len(), 1)];
            for _ in 0..n_passes {
                black_box(sum(black_box(part)));
            }
        });
    });
    (size_of_val(data) * n_passes) as f64 / seconds
}

/// Seconds of the fastest call within `budget`, after one that does not count.
fn fastest(budget: Duration, mut f: impl FnMut()) -> f64 {
    f();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while best.is_infinite() || start.elapsed() < budget {
        let call = Instant::now();
        f();
        best = best.min(call.elapsed().as_secs_f64());
    }
    best
}

/// The sum of `data`. In this plain form the compiler uses the widest registers it may, and several accumulators; an
/// array of accumulators it would keep in memory.
#[inline(always)]
fn plain_sum(data: &[u64]) -> u64 {
    data.iter().fold(0, |sum, x| sum.wrapping_add(*x))
}

#[cfg(not(target_arch = "x86_64"))]
mod isa {
    use super::{Loop, Unit, plain_sum};

    pub(super) fn find(_: Unit) -> Option<Loop> {
        None
    }

    pub(super) fn sum(data: &[u64]) -> u64 {
        plain_sum(data)
    }

    impl Loop {
        pub(super) fn run(self, _: u64) {}
    }
}

#[cfg(target_arch = "x86_64")]
mod isa {
    use super::{Loop, Unit, plain_sum};
    use std::arch::asm;

    /// The fastest loop that this CPU has for `unit`.
    pub(super) fn find(unit: Unit) -> Option<Loop> {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2 && is_x86_feature_detected!("avx512f");
        let all = [
            (Unit::Int8, avx512 && is_x86_feature_detected!("avx512vnni"), VPDPBUSD),
            (Unit::Int8, avx2, VPMADDUBSW),
            (Unit::Bf16, avx512 && is_x86_feature_detected!("avx512bf16"), VDPBF16PS),
            (Unit::F32, avx512, FMA_512),
            (Unit::F32, avx2, FMA_256),
        ];
        all.into_iter().find(|(of, present, _)| *of == unit && *present).map(|(_, _, found)| found)
    }

    impl Loop {
        #[expect(unsafe_code, reason = "see the SAFETY note")]
        pub(super) fn run(self, turns: u64) {
            // SAFETY: `find`, which alone hands out loops, has asked the CPU for the features of this one.
            unsafe { (self.run)(turns.max(1)) }
        }
    }

    const VPDPBUSD: Loop = Loop { instruction: "vpdpbusd zmm", macs: 12 * 64, run: vpdpbusd_512 };
    const VDPBF16PS: Loop =
        Loop { instruction: "vdpbf16ps zmm", macs: 12 * 32, run: vdpbf16ps_512 };
    const FMA_512: Loop = Loop { instruction: "vfmadd231ps zmm", macs: 12 * 16, run: fma_512 };
    const FMA_256: Loop = Loop { instruction: "vfmadd231ps ymm", macs: 12 * 8, run: fma_256 };
    const VPMADDUBSW: Loop =
        Loop { instruction: "vpmaddubsw ymm", macs: 6 * 32, run: vpmaddubsw_256 };

    /// `$turns` times the given lines, on registers that begin as zeros.
    macro_rules! repeat {
        ($turns:ident, $($line:expr),+) => {
            // SAFETY: only the vector registers named below (whose upper halves the names include), the flags and
            // the counter change; no memory is touched. The caller's features contain the instructions.
            unsafe {
                asm!(
                    "vzeroall",
                    "2:",
                    $($line,)+
                    "dec {turns}",
                    "jnz 2b",
                    "vzeroupper",
                    turns = inout(reg) $turns => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                    out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                    out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                    options(nomem, nostack),
                )
            }
        };
    }

    /// A function that repeats `$op` on twelve independent accumulators.
    macro_rules! chains {
        ($name:ident, $features:literal, $op:literal, $register:literal) => {
            #[target_feature(enable = $features)]
            #[expect(unsafe_code, reason = "see the SAFETY note")]
            fn $name(turns: u64) {
                chains!(@body turns, $op, $register, "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11")
            }
        };
        (@body $turns:ident, $op:literal, $register:literal, $($i:literal)+) => {
            repeat!($turns, $(concat!(
                $op, " ", $register, $i, ", ", $register, "12, ", $register, "13"
            )),+)
        };
    }
    chains!(vpdpbusd_512, "avx512f,avx512vnni", "vpdpbusd", "zmm");
    chains!(vdpbf16ps_512, "avx512f,avx512bf16", "vdpbf16ps", "zmm");
    chains!(fma_512, "avx512f", "vfmadd231ps", "zmm");
    chains!(fma_256, "avx2,fma", "vfmadd231ps", "ymm");

    /// Six accumulators, each with the register its products pass through: 8 bits to 16, to 32, added.
    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "see the SAFETY note")]
    fn vpmaddubsw_256(turns: u64) {
        macro_rules! lines {
            ($($sum:literal $product:literal)+) => {
                repeat!(turns, $(
                    concat!("vpmaddubsw ymm", $product, ", ymm12, ymm13"),
                    concat!("vpmaddwd ymm", $product, ", ymm", $product, ", ymm14"),
                    concat!("vpaddd ymm", $sum, ", ymm", $sum, ", ymm", $product)
                ),+)
            };
        }
        lines!("0" "6" "1" "7" "2" "8" "3" "9" "4" "10" "5" "11")
    }

    /// [`plain_sum`] in the widest registers this CPU has.
    #[expect(unsafe_code, reason = "see the SAFETY notes")]
    pub(super) fn sum(data: &[u64]) -> u64 {
        #[target_feature(enable = "avx512f")]
        fn avx512(data: &[u64]) -> u64 {
            plain_sum(data)
        }
        #[target_feature(enable = "avx2")]
        fn avx2(data: &[u64]) -> u64 {
            plain_sum(data)
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU was asked.
            return unsafe { avx512(data) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU was asked.
            return unsafe { avx2(data) };
        }
        plain_sum(data)
    }
}

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
        let rate = read(&team, &vec![1; 100_003], 3);
        assert!((1e6..1e14).contains(&rate), "{rate}");
        assert!(read(&team, &[], 1).abs() < 1.0, "nothing is read in some time");
    }

    #[test]
    fn sums_are_right() {
        for n in [0, 1, 31, 32, 33, 64, 1000] {
            let data: Vec<u64> = (0..n).map(|i| i * i).collect();
            let wanted = data.iter().sum::<u64>();
            assert_eq!((sum(&data), plain_sum(&data)), (wanted, wanted), "{n}");
        }
    }
}
