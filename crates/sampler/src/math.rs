//! `exp`, `ln`, `log2` and `pow` in f32, the same bits on every machine.
//!
//! A pick must not depend on the operating system, so nothing here calls the system's libm: all is
//! multiplication and addition of f64, rounded to f32 once at the end. And a pick should be
//! llama.cpp's, whose `expf`, `logf` and `powf` are glibc's. Those are *not* correctly rounded
//! (`logf` errs by up to 0.82 units in the last place), so a better function would be a different
//! one: the approximation itself is the specification. It is that of Arm's Optimized Routines
//! (<https://github.com/ARM-software/optimized-routines>), which glibc took over: table sizes,
//! interval centers and minimax coefficients below are theirs; the other table entries follow
//! (logarithms of the centers and roots of two, rounded to f64).
//!
//! `golden/snapshots/sampler/libm.snap` pins the agreement over dense ranges, and
//! `examples/libm_sweep.rs` compares with the machine's libm over all inputs. With glibc 2.36 on a
//! processor with FMA, which glibc uses and this does not, `ln` never differed, `exp` for 2 of all
//! 2^32 inputs (-63.09946 and 32.564632), and `pow` for 1 in three exponents' 2^30 each.
#![expect(clippy::indexing_slicing, reason = "indices are reduced modulo the table's length")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the rounding to f32 at the end is the point; indices are reduced before"
)]

/// 2^(i/32), rounded to nearest.
#[rustfmt::skip]
const ROOTS_OF_TWO: [f64; 32] = [
    1.0, 1.0218971486541166, 1.0442737824274138, 1.0671404006768237,
    1.0905077326652577, 1.1143867425958924, 1.1387886347566916, 1.1637248587775775,
    1.189207115002721, 1.215247359980469, 1.241857812073484, 1.2690509571917332,
    1.2968395546510096, 1.3252366431597413, 1.3542555469368927, 1.383909881963832,
    std::f64::consts::SQRT_2, 1.4451808069770467, 1.4768261459394993, 1.5091644275934228,
    1.5422108254079407, 1.5759808451078865, 1.6104903319492543, 1.645755478153965,
    1.681792830507429, 1.718619298122478, 1.7562521603732995, 1.7947090750031072,
    1.8340080864093424, 1.8741676341103, 1.9152065613971474, 1.9571441241754002,
];

/// One sixteenth of the mantissa's range: a center c near its middle, as 1/c, ln c and log2 c.
struct Segment {
    inv_c: f64,
    ln_c: f64,
    log2_c: f64,
}

/// The segments of [2^-1, 2) that start at [`MANTISSA_LOW`]; the one around 1 has c = 1, so that
/// ln 1 is exactly 0.
#[rustfmt::skip]
const SEGMENTS: [Segment; 16] = [
    Segment { inv_c: 1.398907162146528, ln_c: -0.33569133332882284, log2_c: -0.48430022186289673 },
    Segment { inv_c: 1.3403141896637998, ln_c: -0.2929040563774074, log2_c: -0.42257122959194704 },
    Segment { inv_c: 1.286432210124115, ln_c: -0.2518726580937369, log2_c: -0.3633754347673556 },
    Segment { inv_c: 1.2367150214269895, ln_c: -0.21245868807117255, log2_c: -0.30651309567405577 },
    Segment { inv_c: 1.1906977166711752, ln_c: -0.17453945183745634, log2_c: -0.25180720160537634 },
    Segment { inv_c: 1.1479821020556429, ln_c: -0.1380057072319758, log2_c: -0.19910014943794563 },
    Segment { inv_c: 1.1082251448272158, ln_c: -0.10275976698545139, log2_c: -0.14825100623281615 },
    Segment { inv_c: 1.0711297413057381, ln_c: -0.06871392447020525, log2_c: -0.09913323807318392 },
    Segment { inv_c: 1.036437278977283, ln_c: -0.0357891387398228, log2_c: -0.051632812977629436 },
    Segment { inv_c: 1.0, ln_c: 0.0, log2_c: 0.0 },
    Segment { inv_c: 0.9492859795739057, ln_c: 0.05204517742929496, log2_c: 0.07508531937943004 },
    Segment { inv_c: 0.8951049428609004, ln_c: 0.11081431298787942, log2_c: 0.15987125980713107 },
    Segment { inv_c: 0.8476821620351103, ln_c: 0.1652495223695143, log2_c: 0.2384046664317681 },
    Segment { inv_c: 0.8050314851692001, ln_c: 0.21687389031699977, log2_c: 0.31288288605863257 },
    Segment { inv_c: 0.7664671008843108, ln_c: 0.2659635028121397, log2_c: 0.38370422656453185 },
    Segment { inv_c: 0.731428603316328, ln_c: 0.3127556664073557, log2_c: 0.451211048935815 },
];

/// Bits of the f32 where the first segment starts, about 0.7.
const MANTISSA_LOW: u32 = 0x3f33_0000;

/// A positive normal or subnormal number as 2^k · z, with z in the range of [`SEGMENTS`].
fn decompose(x: f32) -> (f64, f64, &'static Segment) {
    // 2^23 · x is normal, exact, and has its exponent 23 higher.
    let (bits, below) = if x < f32::MIN_POSITIVE {
        ((x * 8_388_608.0).to_bits(), 23.0)
    } else {
        (x.to_bits(), 0.0)
    };
    let above = bits.wrapping_sub(MANTISSA_LOW);
    let exponent = above.cast_signed() >> 23;
    let z = f32::from_bits(bits.wrapping_sub(above & 0xff80_0000));
    let segment = &SEGMENTS[(above >> 19) as usize & 15];
    (f64::from(exponent) - below, f64::from(z), segment)
}

/// log2 of a positive finite number, to about 2^-33 relative.
fn log2(x: f32) -> f64 {
    let (k, z, segment) = decompose(x);
    let r = z * segment.inv_c - 1.0;
    let r2 = r * r;
    let high = 0.288457581109214 * r - 0.36092606229713164;
    let middle = 0.480898481472577 * r - 0.7213474675006291;
    let low = 1.4426950408774342 * r + (segment.log2_c + k);
    high * (r2 * r2) + (middle * r2 + low)
}

/// 2^t for |t| < 1022, to about 2^-34 relative.
fn exp2(t: f64) -> f64 {
    // Adding and taking away this much leaves t rounded to the nearest multiple of 1/32.
    const ROUND: f64 = 1.5 * (1_u64 << 52) as f64 / 32.0;
    let rounded = (t + ROUND) - ROUND;
    let r = t - rounded;
    let k = (rounded * 32.0) as i64;
    // Multiplying by 2^(k div 32): an addition to the exponent.
    let root = ROOTS_OF_TWO[k.rem_euclid(32) as usize];
    let scale = f64::from_bits(root.to_bits().wrapping_add_signed((k >> 5) << 52));
    let high = 0.05550361559341535 * r + 0.2402284522445722;
    let low = 0.6931471806916203 * r + 1.0;
    (high * (r * r) + low) * scale
}

/// e^x.
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond these, e^x rounds to 0 and to infinity.
    if x < -103.972_08 {
        return 0.0;
    }
    if x > 88.722_83 {
        return f32::INFINITY;
    }
    exp2(f64::from(x) * std::f64::consts::LOG2_E) as f32
}

/// Natural logarithm; -inf of 0, NaN of negative numbers.
pub(crate) fn ln(x: f32) -> f32 {
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == f32::INFINITY {
        return x;
    }
    let (k, z, segment) = decompose(x);
    let r = z * segment.inv_c - 1.0;
    let r2 = r * r;
    let low = 0.333456765744066 * r - 0.4999997485802103;
    let high = -0.25089342214237154 * r2 + low;
    (high * r2 + (segment.ln_c + k * std::f64::consts::LN_2 + r)) as f32
}

/// log2 x in f32, which is another approximation than the one inside [`pow`]; -inf of 0, NaN of
/// negative numbers.
pub(crate) fn log2f(x: f32) -> f32 {
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == f32::INFINITY {
        return x;
    }
    let (k, z, segment) = decompose(x);
    let r = z * segment.inv_c - 1.0;
    let r2 = r * r;
    let high = -0.36051725506874704 * r2 + (0.4811247078767291 * r - 0.7213476299867769);
    (high * r2 + (1.4426950186867042 * r + (segment.log2_c + k))) as f32
}

/// x^n in f64 by squaring, whose error of some units in the last place is far below half of one of
/// the f32 that is made of it.
pub(crate) fn power(x: f64, mut n: usize) -> f64 {
    let (mut square, mut product) = (x, 1.0);
    while n > 0 {
        if n & 1 == 1 {
            product *= square;
        }
        square *= square;
        n >>= 1;
    }
    product
}

/// x^y for x >= 0, either of them maybe infinite; NaN if one of them is, or if x is negative.
pub(crate) fn pow(x: f32, y: f32) -> f32 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if x.is_nan() || y.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == 0.0 || x == f32::INFINITY {
        return if (x == 0.0) == (y > 0.0) { 0.0 } else { f32::INFINITY };
    }
    let t = f64::from(y) * log2(x);
    if t <= -150.0 {
        return 0.0;
    }
    if t >= 128.0 {
        return f32::INFINITY;
    }
    exp2(t) as f32
}

/// e^x in f64 for x <= 0, to less than 1 unit in the last place; 0 below the smallest normal number.
///
/// Reduction to |r| <= ln(2)/2 with ln 2 in two parts, then the Taylor series, whose first term
/// left out is under 2^-57.
pub(crate) fn exp_f64(x: f64) -> f64 {
    const LN_2_HIGH: f64 = 0.693_147_180_369_123_8; // 33 bits: k times it is exact
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    if x < -708.0 {
        return 0.0;
    }
    let k = (x * std::f64::consts::LOG2_E).round_ties_even();
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    // Horner's scheme divides by n at each step, so that no table of 1/n! is needed.
    let series = (1..=13).rev().fold(1.0, |sum, n| sum * r / f64::from(n) + 1.0);
    series * f64::from_bits(((k + 1023.0) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::fmt::Write;

    /// Name, function, first and last bits of the inputs, step.
    type Range = (&'static str, fn(f32) -> f32, u32, u32, usize);

    /// As `LIBM_RANGES` of golden/capture/sampler.py.
    const RANGES: [Range; 9] = [
        ("expf x<=0", exp, 0x8000_0000, 0xc2d2_0000, 2203),
        ("expf x>=0", exp, 0, 0x42b2_0000, 2203),
        ("logf", ln, 1, 0x7f7f_ffff, 4211),
        ("log2f", log2f, 1, 0x7f7f_ffff, 4211),
        ("powf y=-0.7", |x| pow(x, -0.7), 0x3000_0000, 0x4f90_0000, 1009),
        ("powf x=2", |y| pow(2.0, y), 0x3c00_0000, 0x42f0_0000, 1009),
        ("powf y=0.5", |x| pow(x, 0.5), 0x3000_0000, 0x3f90_0000, 1009),
        ("powf y=1.7", |x| pow(x, 1.7), 0x3000_0000, 0x3f90_0000, 1009),
        ("powf y=3", |x| pow(x, 3.0), 0x3000_0000, 0x3f90_0000, 1009),
    ];

    #[test]
    fn libm() {
        let mut text = String::new();
        for (name, function, first, last, step) in RANGES {
            let inputs: Vec<u32> = (first..=last).step_by(step).collect();
            let outputs: Vec<u32> =
                inputs.iter().map(|bits| function(f32::from_bits(*bits)).to_bits()).collect();
            let bytes: Vec<u8> = outputs.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
            writeln!(
                text,
                "{name}: {} inputs, bits {first:08x} to {last:08x} by {step}, sha256 {hash}",
                inputs.len()
            )
            .unwrap();
            for (x, y) in inputs.iter().zip(&outputs).step_by(inputs.len() / 8) {
                writeln!(text, "  {x:08x} -> {y:08x}").unwrap();
            }
        }
        golden::check("sampler", "libm", &text);
    }

    #[test]
    fn ends_of_the_ranges() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0, "exp(-inf)");
        assert_eq!(exp(f32::MIN), 0.0, "exp(-max)");
        assert_eq!(exp(0.0), 1.0, "exp(0): a greedy pick has probability 1");
        assert_eq!(exp(f32::INFINITY), f32::INFINITY, "exp(inf)");
        assert!(exp(f32::NAN).is_nan(), "exp(NaN)");
        assert_eq!(ln(0.0), f32::NEG_INFINITY, "ln(0)");
        assert_eq!(ln(1.0), 0.0, "ln(1)");
        assert_eq!(ln(f32::INFINITY), f32::INFINITY, "ln(inf)");
        assert!(ln(-1.0).is_nan() && ln(f32::NAN).is_nan(), "ln of what has none");
        assert_eq!(log2f(0.0), f32::NEG_INFINITY, "log2(0)");
        assert_eq!(log2f(0.125), -3.0, "log2(1/8)");
        assert_eq!(log2f(f32::INFINITY), f32::INFINITY, "log2(inf)");
        assert!(log2f(-1.0).is_nan() && log2f(f32::NAN).is_nan(), "log2 of what has none");
        assert_eq!(pow(0.0, 0.0), 1.0, "0^0");
        assert_eq!(pow(0.0, -2.0), f32::INFINITY, "0^-2");
        assert_eq!(pow(f32::INFINITY, -1.0), 0.0, "inf^-1");
        assert_eq!(pow(f32::INFINITY, 1.0), f32::INFINITY, "inf^1");
        assert_eq!(pow(2.0, f32::INFINITY), f32::INFINITY, "2^inf");
        assert_eq!(pow(0.5, f32::INFINITY), 0.0, "0.5^inf");
        assert_eq!(pow(2.0, f32::NEG_INFINITY), 0.0, "2^-inf");
        assert_eq!(pow(4.0, -0.5), 0.5, "4^-0.5");
        assert!(pow(f32::NAN, 2.0).is_nan() && pow(-1.0, 2.0).is_nan(), "NaN^2, (-1)^2");
        assert_eq!(pow(0.0, 2.0), 0.0, "0^2");
        assert_eq!(pow(1.0, f32::MAX), 1.0, "1^max");
        assert_eq!(pow(0.5, f32::MAX), 0.0, "underflow");
        assert_eq!(pow(1.5, f32::MAX), f32::INFINITY, "overflow");
    }

    /// Against values computed with 50 digits.
    #[test]
    fn exp_f64_is_within_one_ulp() {
        let known = [
            (0.0, 1.0),
            (-0.001, 0.999_000_499_833_375),
            (-0.3466, 0.707_088_106_941_018_9),
            (-0.5, 0.606_530_659_712_633_4),
            (-1.0, 0.367_879_441_171_442_33),
            (-10.0, 4.539_992_976_248_485_4e-5),
            (-37.7, 4.237_386_047_496_670_5e-17),
            (-103.5, 1.123_365_606_080_569_1e-45),
            (-700.25, 7.678_723_813_110_872e-305),
            (-708.0, 3.307_553_003_638_408e-308),
            (-709.0, 0.0),
        ];
        for (x, y) in known {
            let found = exp_f64(x);
            assert!((found - y).abs() <= y * f64::EPSILON, "exp({x}) is {found:e}, not {y:e}");
        }
    }
}
