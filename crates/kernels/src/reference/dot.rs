//! Dot products of weight rows and activation rows: the one operation inside a matrix product.
//!
//! Sums of integers are exact, so their order is free; they wrap, for the compiler turns sums that are checked for
//! overflow into one product at a time. No sum here can overflow: 32 products of at most 2^19 are the largest.

use dequant::GgmlType;

use super::Rows;

/// One element of a matrix product: the dot product of a row of weights of type `ty` with a row of activations of
/// type [`act_type(ty)`](super::act_type), both as raw little-endian blocks that cover the same elements.
///
/// # Panics
/// If a row is no whole number of blocks, the rows do not cover the same elements, or `ty` has no dot product
/// here ([`act_type`](super::act_type) is `None`).
#[must_use]
pub fn vec_dot(ty: GgmlType, w_row: &[u8], act_row: &[u8]) -> f32 {
    let act_type = super::act_type(ty);
    let Some(act_type) = act_type else { unreachable!("no dot product for {}", ty.name()) };
    let mut out = [0.0];
    dots(&Rows::new(ty, w_row), &Rows::new(act_type, act_row), &mut out);
    out[0]
}

/// The dot products of one row of weights with `out.len()` rows of activations.
///
/// Types and orders:
/// - F32, F16, BF16: product rounded to f32, sum in f64, rounded to f32 at the end.
/// - Types with blocks of 32: integer sum per block, scaled in f32, added in f32 block by block. The order of the
///   factors differs from type to type, and shows in the last bit.
/// - Q2_K: the same, the minimums' part subtracted before the block is added.
/// - IQ4_XS: integer sum per sub-block of 32, times the block's scales and the sub-block's, added in f32.
/// - The other K-quants: eight f32 sums (element index modulo 8) and one of the minimums' parts, over the whole row;
///   the eight are added to the one at the end.
///
/// # Panics
/// If the rows do not cover the same elements, or the activations are not of the
/// [`act_type`](super::act_type) of the weights.
pub fn dots(w: &Rows, acts: &Rows, out: &mut [f32]) {
    let ty = w.ty.unwrap_or(GgmlType::F32);
    assert_eq!(super::act_type(ty), acts.ty, "the activations of {} rows", ty.name());
    let same = w.codes.len() * out.len() == acts.codes.len()
        && w.floats.len() * out.len() == acts.floats.len();
    assert!(same, "the rows differ in length");
    match ty {
        GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => floats(&w.floats, &acts.floats, out),
        GgmlType::Q4_0 => by_block(w, acts, out, |dot, [d, _], [e, _]| dot * d * e),
        GgmlType::Q5_0 | GgmlType::Q8_0 | GgmlType::IQ4_NL | GgmlType::MXFP4 => {
            by_block(w, acts, out, |dot, [d, _], [e, _]| (d * e) * dot);
        }
        GgmlType::Q4_1 | GgmlType::Q5_1 => {
            by_block(w, acts, out, |dot, [d, min], [e, sum]| (d * e) * dot + min * sum);
        }
        GgmlType::Q2_K => each(w, acts, out, |w, a| {
            w.super_blocks(a).fold(0.0, |sum, (dot, [d, dmin], e, minimums)| {
                sum + ((e * d) * dot.iter().sum::<i32>() as f32 - (e * dmin) * minimums as f32)
            })
        }),
        GgmlType::IQ4_XS => by_sub_block(w, acts, out),
        GgmlType::Q4_K | GgmlType::Q5_K => by_lane::<true>(w, acts, out),
        _ => by_lane::<false>(w, acts, out),
    }
}

/// Sums of rows, each times its weight: `out[c]` is the sum over `r` of `weights[r] * rows[r][c]`, in the order of
/// `r` and in the arithmetic of a product of floats: products in f32, their sum in f64. That is how ggml multiplies
/// with the KV cache, whichever way its matrices lie.
///
/// # Panics
/// If `rows` are not `weights.len()` rows of `out.len()`.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
pub fn weighted_sum(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    /// So many sums stay in registers.
    const LANES: usize = 8;
    let n = out.len();
    assert_eq!(rows.len(), weights.len() * n, "the rows differ in length");
    let (lanes, rest) = out.as_chunks_mut::<LANES>();
    let n_lanes = lanes.len() * LANES;
    for (i, out) in lanes.iter_mut().enumerate() {
        let mut sums = [0.0_f64; LANES];
        for (&weight, row) in weights.iter().zip(rows.chunks_exact(n)) {
            let Some(row) = row[i * LANES..].first_chunk::<LANES>() else { continue };
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x * weight);
            }
        }
        *out = sums.map(|sum| sum as f32);
    }
    for (i, out) in rest.iter_mut().enumerate() {
        let column = rows.iter().skip(n_lanes + i).step_by(n);
        *out = column.zip(weights).fold(0.0_f64, |sum, (x, w)| sum + f64::from(x * w)) as f32;
    }
}

/// Products in f32, their sum in f64; four rows at once, each in its own order.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
fn floats(w: &[f32], acts: &[f32], out: &mut [f32]) {
    let n = w.len().max(1);
    let dot =
        |a: &[f32]| w.iter().zip(a).fold(0.0_f64, |sum, (w, a)| sum + f64::from(w * a)) as f32;
    let (fours, rest) = out.as_chunks_mut::<4>();
    let (acts, rest_acts) = acts.split_at(fours.len() * 4 * w.len());
    for (out, acts) in fours.iter_mut().zip(acts.chunks_exact(4 * n)) {
        let (ab, cd) = acts.split_at(2 * n);
        let ((a, b), (c, d)) = (ab.split_at(n), cd.split_at(n));
        let mut sums = [0.0_f64; 4];
        for ((((w, a), b), c), d) in w.iter().zip(a).zip(b).zip(c).zip(d) {
            for (sum, x) in sums.iter_mut().zip([a, b, c, d]) {
                *sum += f64::from(w * x);
            }
        }
        *out = sums.map(|sum| sum as f32);
    }
    for (out, acts) in rest.iter_mut().zip(rest_acts.chunks(n)) {
        *out = dot(acts);
    }
}

/// Blocks of one row.
#[derive(Clone, Copy)]
struct Row<'a> {
    codes: &'a [i16],
    scales: &'a [[f32; 2]],
    groups: &'a [[i16; 16]],
}

impl<'a> Row<'a> {
    /// Row `i` of `rows`, all of which are as long as the one of `w`.
    fn new(rows: &'a Rows, i: usize, w: &Rows) -> Self {
        Self {
            codes: &rows.codes[i * w.codes.len()..][..w.codes.len()],
            scales: &rows.scales[i * w.scales.len()..][..w.scales.len()],
            groups: &rows.groups[i * w.groups.len()..][..w.groups.len()],
        }
    }

    /// Of each pair of blocks of 256: eight sums of products, by element index modulo 8; the weights' two scales;
    /// the activations' scale; the sum of the minimums' products.
    fn super_blocks(self, acts: Self) -> impl Iterator<Item = ([i32; 8], [f32; 2], f32, i32)> + 'a {
        let codes = self.codes.as_chunks::<256>().0.iter().zip(acts.codes.as_chunks::<256>().0);
        let scales = self.scales.iter().zip(acts.scales);
        let groups = self.groups.iter().zip(acts.groups);
        codes.zip(scales).zip(groups).map(|(((w, a), (ws, [scale, _])), (mins, sums))| {
            let mut lanes = [0_i32; 8];
            for (w, a) in w.as_chunks::<8>().0.iter().zip(a.as_chunks::<8>().0) {
                for ((lane, &w), &a) in lanes.iter_mut().zip(w).zip(a) {
                    *lane = lane.wrapping_add(i32::from(w).wrapping_mul(a.into()));
                }
            }
            let products =
                mins.iter().zip(sums).map(|(&m, &s)| i32::from(m).wrapping_mul(s.into()));
            (lanes, *ws, *scale, products.fold(0_i32, i32::wrapping_add))
        })
    }
}

/// Calls `dot` with the row of weights and each row of activations.
fn each(w: &Rows, acts: &Rows, out: &mut [f32], dot: impl Fn(Row<'_>, Row<'_>) -> f32) {
    for (i, value) in out.iter_mut().enumerate() {
        *value = dot(Row::new(w, 0, w), Row::new(acts, i, w));
    }
}

/// The sum of the products of blocks of 32, in f32.
fn by_block(
    w: &Rows,
    acts: &Rows,
    out: &mut [f32],
    product: impl Fn(f32, [f32; 2], [f32; 2]) -> f32,
) {
    each(w, acts, out, |w, a| {
        let codes = w.codes.as_chunks::<32>().0.iter().zip(a.codes.as_chunks::<32>().0);
        let scales = w.scales.iter().zip(a.scales);
        codes.zip(scales).fold(0.0, |sum, ((w, a), (&ws, &as_))| {
            sum + product(sum_of_products(w, a) as f32, ws, as_)
        })
    });
}

/// The sum of the products of sub-blocks of 32, in f32: their scales come after the blocks' two.
fn by_sub_block(w: &Rows, acts: &Rows, out: &mut [f32]) {
    each(w, acts, out, |w, a| {
        let scales = w.scales.iter().zip(a.scales).zip(w.groups);
        let scales = scales.flat_map(|(([d, _], [e, _]), groups)| {
            let de = d * e;
            groups.as_chunks::<2>().0.iter().map(move |&[scale, _]| de * f32::from(scale))
        });
        let codes = w.codes.as_chunks::<32>().0.iter().zip(a.codes.as_chunks::<32>().0);
        codes
            .zip(scales)
            .fold(0.0, |sum, ((w, a), scale)| sum + scale * sum_of_products(w, a) as f32)
    });
}

/// Of 32 codes each.
fn sum_of_products(w: &[i16; 32], a: &[i16; 32]) -> i32 {
    let products = w.iter().zip(a).map(|(&w, &a)| i32::from(w).wrapping_mul(a.into()));
    products.fold(0_i32, i32::wrapping_add)
}

/// The sums of the blocks' lanes and minimums, in f32, then their sum.
fn by_lane<const MINIMUMS: bool>(w: &Rows, acts: &Rows, out: &mut [f32]) {
    each(w, acts, out, |w, a| {
        let (mut lanes, mut sum) = ([0.0_f32; 8], 0.0_f32);
        for (dots, [d, dmin], e, minimums) in w.super_blocks(a) {
            let scale = d * e;
            for (lane, dot) in lanes.iter_mut().zip(dots) {
                *lane += scale * dot as f32;
            }
            if MINIMUMS {
                sum -= (dmin * e) * minimums as f32;
            }
        }
        lanes.into_iter().fold(sum, |sum, lane| sum + lane)
    });
}
