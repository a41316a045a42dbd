//! Loops of one instruction. They are explained in [`crate::peak`].
#![expect(unsafe_code, reason = "see the SAFETY notes")]

use crate::peak::{Loop, Unit, plain_sum};
use std::arch::{asm, is_aarch64_feature_detected};

/// A loop, for a CPU that has its instructions.
pub(crate) type Run = unsafe fn(u64);

/// The fastest loop that this CPU has for `unit`.
pub(crate) fn find(unit: Unit) -> Option<Loop> {
    match unit {
        Unit::Int8 if is_aarch64_feature_detected!("i8mm") => Some(SMMLA),
        Unit::Int8 => is_aarch64_feature_detected!("dotprod").then_some(SDOT),
        Unit::F32 => Some(FMLA),
        Unit::Bf16 => None,
    }
}

impl Loop {
    pub(crate) fn run(self, turns: u64) {
        // SAFETY: `find`, which alone hands out loops, has asked the CPU for the features of this one.
        unsafe { (self.run)(turns.max(1)) }
    }
}

const SMMLA: Loop = Loop { instruction: "smmla v.4s", macs: 12 * 32, run: smmla };
const SDOT: Loop = Loop { instruction: "sdot v.4s", macs: 12 * 16, run: sdot };
const FMLA: Loop = Loop { instruction: "fmla v.4s", macs: 12 * 4, run: fmla };

/// A function that repeats `$op` on twelve independent accumulators, which begin as zeros.
macro_rules! chains {
    ($name:ident, $features:literal, $op:literal, $from:literal) => {
        #[target_feature(enable = $features)]
        fn $name(turns: u64) {
            chains!(@body turns, $op, $from, "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11")
        }
    };
    (@body $turns:ident, $op:literal, $from:literal, $($i:literal)+) => {
        // SAFETY: only the registers named below, the flags and the counter change; no memory is touched. The function's
        // features contain the instructions.
        unsafe {
            asm!(
                $(concat!("movi v", $i, ".2d, #0"),)+
                "movi v12.2d, #0",
                "movi v13.2d, #0",
                "2:",
                $(concat!($op, " v", $i, ".4s, v12.", $from, ", v13.", $from),)+
                "subs {turns}, {turns}, #1",
                "b.ne 2b",
                turns = inout(reg) $turns => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
                out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _,
                options(nomem, nostack),
            )
        }
    };
}
chains!(smmla, "neon,i8mm", "smmla", "16b");
chains!(sdot, "neon,dotprod", "sdot", "16b");
chains!(fmla, "neon", "fmla", "4s");

/// [`plain_sum`], in vectors as it is.
pub(crate) fn sum(data: &[u8]) -> u64 {
    plain_sum(data)
}
