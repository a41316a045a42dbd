//! What must hold whatever the reference says: bounds, round trips, and an error for every misuse.
use crate::inputs::{bell, cases, random_bytes};
use dequant::{Block, BlockQ4_K, BlockQ6_K, BlockQ8_K, DequantError, GgmlType, Quantize};

/// Rounds to `ty` and back.
fn round_trip(ty: GgmlType, x: &[f32]) -> Vec<f32> {
    let mut bytes = vec![0; ty.row_bytes(x.len()).unwrap()];
    dequant::quantize(ty, x, x.len(), &mut bytes).unwrap();
    let mut out = vec![0.0; x.len()];
    dequant::dequantize(ty, &bytes, &mut out).unwrap();
    out
}

/// The formats with one scale a block round each weight to the nearest step: half a step of error, plus what
/// rounding the scale (and minimum) to F16 moves a weight by: 2⁻¹¹ of the largest magnitude for each.
#[test]
fn simple_formats_are_within_half_a_step() {
    let x = bell(77, 32 * 2000);
    // Steps over the range of the block. Q4_0 and Q5_0 lose the top code on one side: there a whole step.
    let formats = [
        (GgmlType::Q4_0, 8.0, 1.0),
        (GgmlType::Q5_0, 16.0, 1.0),
        (GgmlType::Q8_0, 127.0, 0.5),
        (GgmlType::Q4_1, 15.0, 0.5),
        (GgmlType::Q5_1, 31.0, 0.5),
    ];
    for (ty, n_steps, steps_off) in formats {
        let y = round_trip(ty, &x);
        for (x, y) in x.as_chunks::<32>().0.iter().zip(y.as_chunks::<32>().0) {
            let amax = x.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let (min, max) = x.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
            let range =
                if matches!(ty, GgmlType::Q4_1 | GgmlType::Q5_1) { max - min } else { amax };
            let bound = range / n_steps * steps_off + (range + amax) / 2048.0;
            for (x, y) in x.iter().zip(y) {
                assert!(
                    (x - y).abs() <= bound * 1.0001,
                    "{}: {x} became {y}, bound {bound}",
                    ty.name()
                );
            }
        }
    }
}

/// K-quants give no simple bound for one weight; over many, more bits must mean less error, and the level is known
/// from the number of steps: an error uniform in a step of (range / steps) has variance step² / 12.
#[test]
fn more_bits_mean_less_error() {
    let x = bell(78, 256 * 400);
    let power: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
    let nmse = |ty| {
        let y = round_trip(ty, &x);
        let error: f64 = x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum();
        error / power
    };
    let order = [
        (GgmlType::Q4_K, 8e-3),
        (GgmlType::Q5_K, 2e-3),
        (GgmlType::Q6_K, 5e-4),
        (GgmlType::Q8_0, 3e-5),
        (GgmlType::BF16, 4e-6),
        (GgmlType::F16, 6e-8),
        (GgmlType::F32, 0.0),
    ];
    let mut last = f64::INFINITY;
    for (ty, most) in order {
        let error = nmse(ty);
        assert!(error <= most && error < last, "{}: {error:e}, at most {most:e}", ty.name());
        last = error;
    }
}

/// The float formats represent what they have made: a second round trip changes nothing.
#[test]
fn float_formats_are_idempotent() {
    for (name, x) in cases() {
        for ty in [GgmlType::F32, GgmlType::F16, GgmlType::BF16] {
            let once = round_trip(ty, &x);
            let twice = round_trip(ty, &once);
            let same = once.iter().zip(&twice).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{name} in {}", ty.name());
        }
    }
}

#[test]
fn q8_k_sums_are_sums_of_its_codes() {
    for (name, x) in cases() {
        for x in x.as_chunks::<256>().0 {
            let block = BlockQ8_K::encode(x);
            for (j, sum) in block.sums().into_iter().enumerate() {
                let want: i16 = block.codes()[16 * j..][..16].iter().map(|&q| i16::from(q)).sum();
                assert_eq!(sum, want, "{name}, group {j}");
            }
        }
    }
}

/// `codes` and the scales tell the same as `decode`: kernels use the former.
#[test]
fn accessors_agree_with_decode() {
    let bytes = random_bytes(79, 210 * 64);
    for block in dequant::blocks::<BlockQ6_K>(&bytes).unwrap() {
        for (i, x) in block.decode().into_iter().enumerate() {
            let want =
                block.scale() * f32::from(block.scales[i / 16]) * f32::from(block.codes()[i]);
            assert!(x.to_bits() == want.to_bits() || x.is_nan() && want.is_nan(), "weight {i}");
        }
    }
    for block in dequant::blocks::<BlockQ4_K>(&bytes[..144 * 64]).unwrap() {
        let (scales, mins) = block.scales_mins();
        for (i, x) in block.decode().into_iter().enumerate() {
            let scale = block.scale() * f32::from(scales[i / 32]);
            let min = block.min_scale() * f32::from(mins[i / 32]);
            let want = scale * f32::from(block.codes()[i]) - min;
            assert!(x.to_bits() == want.to_bits() || x.is_nan() && want.is_nan(), "weight {i}");
        }
    }
}

#[test]
fn unsupported_types_are_named() {
    let error = dequant::dequantize(GgmlType::TQ2_0, &[0; 66], &mut [0.0; 256]).unwrap_err();
    assert_eq!(error, DequantError::Unsupported { ty: GgmlType::TQ2_0 });
    assert_eq!(error.to_string(), "tensor type tq2_0 is not supported");
    for ty in [GgmlType::Q2_K, GgmlType::Q3_K, GgmlType::Q8_1, GgmlType::I32] {
        let error = dequant::quantize(ty, &[0.0; 256], 256, &mut [0; 1024]).unwrap_err();
        assert_eq!(error, DequantError::Unsupported { ty });
    }
}

#[test]
fn lengths_must_match() {
    let ty = GgmlType::Q8_0;
    let dequantize = |n_bytes, n| dequant::dequantize(ty, &vec![0; n_bytes], &mut vec![0.0; n]);
    assert_eq!(dequantize(68, 64), Ok(()));
    assert_eq!(dequantize(0, 0), Ok(()));
    assert_eq!(dequantize(35, 32), Err(DequantError::PartialBlock { ty, n_bytes: 35 }));
    assert_eq!(dequantize(68, 63), Err(DequantError::Length { ty, n_bytes: 68, n_elems: 63 }));

    let quantize = |n, n_per_row, n_bytes| {
        dequant::quantize(ty, &vec![0.0; n], n_per_row, &mut vec![0; n_bytes])
    };
    assert_eq!(quantize(64, 32, 68), Ok(()));
    assert_eq!(quantize(0, 32, 0), Ok(()));
    assert_eq!(quantize(66, 33, 68), Err(DequantError::PartialRow { ty, n_per_row: 33 }));
    assert_eq!(quantize(96, 64, 102), Err(DequantError::Length { ty, n_bytes: 102, n_elems: 96 }));
    assert_eq!(quantize(64, 0, 68), Err(DequantError::Length { ty, n_bytes: 68, n_elems: 64 }));
    assert_eq!(quantize(64, 32, 34), Err(DequantError::Length { ty, n_bytes: 34, n_elems: 64 }));
    assert_eq!(quantize(64, 32, 67), Err(DequantError::PartialBlock { ty, n_bytes: 67 }));
}

#[test]
#[should_panic(expected = "one block has 256 elements, not 255")]
fn a_block_needs_all_its_elements() {
    BlockQ8_K::quantize(&[0.0; BlockQ8_K::N_ELEMS - 1]);
}

#[test]
#[should_panic(expected = "activations in whole blocks")]
fn activations_need_all_their_blocks() {
    dequant::quantize_q8_k(&[0.0; 256], &mut []);
}

/// Each scale of each format alone, infinite and NaN; and what only looks like it.
#[test]
fn numbers_that_are_not_finite_are_found() {
    let scales: [(GgmlType, &[usize]); 14] = [
        (GgmlType::F16, &[0]),
        (GgmlType::BF16, &[0]),
        (GgmlType::Q4_0, &[0]),
        (GgmlType::Q4_1, &[0, 2]),
        (GgmlType::Q5_0, &[0]),
        (GgmlType::Q5_1, &[0, 2]),
        (GgmlType::Q8_0, &[0]),
        (GgmlType::Q2_K, &[80, 82]),
        (GgmlType::Q3_K, &[108]),
        (GgmlType::Q4_K, &[0, 2]),
        (GgmlType::Q5_K, &[0, 2]),
        (GgmlType::Q6_K, &[208]),
        (GgmlType::IQ4_NL, &[0]),
        (GgmlType::IQ4_XS, &[0]),
    ];
    for (ty, offsets) in scales {
        let infinity: u16 = if ty == GgmlType::BF16 { 0x7F80 } else { 0x7C00 };
        for offset in offsets {
            let at = 2 * ty.block_bytes() + offset;
            let with = |scale: u16| {
                let mut data = vec![0; 3 * ty.block_bytes()];
                data[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                dequant::check_finite(ty, &data)
            };
            for scale in [infinity, infinity | 0x8000, infinity + 1, 0xFFFF] {
                assert_eq!(
                    with(scale),
                    Err(DequantError::NotFinite { ty, block: 2 }),
                    "{scale:#x}"
                );
            }
            for scale in [0, infinity - 1, (infinity - 1) | 0x8000] {
                assert_eq!(with(scale), Ok(()), "{} {scale:#x}", ty.name());
            }
        }
    }
    for (x, is_finite) in [(f32::MAX, true), (f32::NAN, false), (f32::NEG_INFINITY, false)] {
        assert_eq!(
            dequant::check_finite(GgmlType::F32, &x.to_le_bytes()).is_ok(),
            is_finite,
            "{x}"
        );
    }
    // An exponent for NaN, the largest for a number.
    let mut exponents = [0; 3 * 17];
    exponents[2 * 17] = 255;
    let ty = GgmlType::MXFP4;
    assert_eq!(
        dequant::check_finite(ty, &exponents),
        Err(DequantError::NotFinite { ty, block: 2 })
    );
    exponents[2 * 17] = 254;
    assert_eq!(dequant::check_finite(ty, &exponents), Ok(()));
    let ty = GgmlType::TQ2_0;
    assert_eq!(dequant::check_finite(ty, &[]), Err(DequantError::Unsupported { ty }));
}
