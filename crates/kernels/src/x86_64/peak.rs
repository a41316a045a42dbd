//! Loops of one instruction, and a sum in wide registers. They are explained in [`crate::peak`].

use crate::peak::{Loop, Unit, plain_sum};
use std::arch::asm;

/// A loop, for a CPU that has its instructions.
pub(crate) type Run = unsafe fn(u64);

/// The fastest loop that this CPU has for `unit`.
pub(crate) fn find(unit: Unit) -> Option<Loop> {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2 && is_x86_feature_detected!("avx512f");
    let all = [
        (Unit::Int8, avx512 && is_x86_feature_detected!("avx512vnni"), VPDPBUSD),
        (Unit::Int8, avx2 && is_x86_feature_detected!("avxvnni"), VPDPBUSD_256),
        (Unit::Int8, avx2, VPMADDUBSW),
        (Unit::Bf16, avx512 && is_x86_feature_detected!("avx512bf16"), VDPBF16PS),
        (Unit::F32, avx512, FMA_512),
        (Unit::F32, avx2, FMA_256),
    ];
    all.into_iter().find(|(of, present, _)| *of == unit && *present).map(|(_, _, found)| found)
}

impl Loop {
    #[expect(unsafe_code, reason = "see the SAFETY note")]
    pub(crate) fn run(self, turns: u64) {
        // SAFETY: `find`, which alone hands out loops, has asked the CPU for the features of this one.
        unsafe { (self.run)(turns.max(1)) }
    }
}

const VPDPBUSD: Loop = Loop { instruction: "vpdpbusd zmm", macs: 12 * 64, run: vpdpbusd_512 };
const VPDPBUSD_256: Loop = Loop { instruction: "vpdpbusd ymm", macs: 12 * 32, run: vpdpbusd_256 };
const VDPBF16PS: Loop = Loop { instruction: "vdpbf16ps zmm", macs: 12 * 32, run: vdpbf16ps_512 };
const FMA_512: Loop = Loop { instruction: "vfmadd231ps zmm", macs: 12 * 16, run: fma_512 };
const FMA_256: Loop = Loop { instruction: "vfmadd231ps ymm", macs: 12 * 8, run: fma_256 };
const VPMADDUBSW: Loop = Loop { instruction: "vpmaddubsw ymm", macs: 6 * 32, run: vpmaddubsw_256 };

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
chains!(vpdpbusd_256, "avx2", "{{vex}} vpdpbusd", "ymm");
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
pub(crate) fn sum(data: &[u8]) -> u64 {
    #[target_feature(enable = "avx512f")]
    fn avx512(data: &[u8]) -> u64 {
        plain_sum(data)
    }
    #[target_feature(enable = "avx2")]
    fn avx2(data: &[u8]) -> u64 {
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
