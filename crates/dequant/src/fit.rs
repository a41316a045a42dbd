//! Searches for the scale (and minimum) that fits a group of weights, as K-quants use them.
//!
//! Every sum is f32 and runs in index order: the bytes of a quantized file depend on it. So one group cannot be summed
//! faster, but the groups of a block are independent: eight are searched side by side, a lane each, which is the same
//! arithmetic for each of them and lets the compiler use vectors. Choices are made lane by lane.
//!
//! Source: `nearest_int`, `make_qx_quants` and `make_qkx2_quants` in ggml's `ggml-quants.c`.
use crate::q4_0::signed_max;
use std::array::from_fn;

/// A number for each of eight groups.
pub(crate) type Lanes = [f32; 8];

/// Weights (or scales) below this are taken for zero.
pub(crate) const ALL_ZERO: f32 = 1e-15;

/// 1.5 · 2²³, the middle of the floats whose ulp is 1.
const MAGIC: f32 = 12_582_912.0;

/// The nearest integer, halves to even, for |x| < 2²².
///
/// The magic number is added: the addition itself rounds, and the low mantissa bits are the integer. Out of range, and
/// for infinities and NaN, the result is whatever those bits say, which is ggml's result too.
#[inline]
pub(crate) fn nearest_int(x: f32) -> i32 {
    ((x + MAGIC).to_bits() & 0x007F_FFFF).cast_signed() - 0x0040_0000
}

/// An integer of at most 24 bits as f32, exactly.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "codes have at most 8 bits")]
fn small_f32(x: i32) -> f32 {
    x as f32
}

/// Weight `i` of all groups together.
fn side_by_side<const N: usize>(groups: &[[f32; N]]) -> [Lanes; N] {
    from_fn(|i| from_fn(|j| groups[j][i]))
}

/// What [`scales`] found: the scales, and codes for every weight, group after group.
pub(crate) struct Scales<const N: usize> {
    /// The scales.
    pub(crate) scales: Lanes,
    /// Codes plus `nmax`.
    pub(crate) codes: [[u8; N]; 8],
}

/// For each group the scale for which signed codes `-nmax..nmax` fit best, each error weighted with `x²`.
///
/// Starts from the scale that puts the largest weight at `-nmax`, then tries 18 others near it. There are eight groups.
pub(crate) fn scales<const N: usize>(nmax: i8, groups: &[[f32; N]]) -> Scales<N> {
    let x = side_by_side(groups);
    let max: Lanes = from_fn(|j| signed_max(&groups[j]));
    let top = i32::from(nmax);
    let code = |iscale: f32, v: f32| nearest_int(iscale * v).clamp(-top, top - 1);
    let sums = |iscale: &Lanes| {
        let (mut sum_lx, mut sum_l2) = ([0.0; 8], [0.0; 8]);
        for v in &x {
            for j in 0..8 {
                let (w, l) = (v[j] * v[j], small_f32(code(iscale[j], v[j])));
                sum_lx[j] += w * v[j] * l;
                sum_l2[j] += w * l * l;
            }
        }
        (sum_lx, sum_l2)
    };

    let mut best_iscale: Lanes = max.map(|max| -f32::from(nmax) / max);
    let (sum_lx, sum_l2) = sums(&best_iscale);
    let mut scales: Lanes = from_fn(|j| if sum_l2[j] == 0.0 { 0.0 } else { sum_lx[j] / sum_l2[j] });
    let mut score: Lanes = from_fn(|j| scales[j] * sum_lx[j]);
    for step in (-9..=9_i8).filter(|&step| step != 0) {
        let iscale = max.map(|max| -(f32::from(nmax) + 0.1 * f32::from(step)) / max);
        let (sum_lx, sum_l2) = sums(&iscale);
        for j in 0..8 {
            if sum_l2[j] > 0.0 && sum_lx[j] * sum_lx[j] > score[j] * sum_l2[j] {
                best_iscale[j] = iscale[j];
                scales[j] = sum_lx[j] / sum_l2[j];
                score[j] = scales[j] * sum_lx[j];
            }
        }
    }

    let codes = from_fn(|j| match max[j].abs() < ALL_ZERO {
        true => [0; N],
        false => groups[j].map(|v| code(best_iscale[j], v).wrapping_add(top).to_le_bytes()[0]),
    });
    Scales { scales: from_fn(|j| if max[j].abs() < ALL_ZERO { 0.0 } else { scales[j] }), codes }
}

/// How [`scales_mins`] searches.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// Largest code.
    pub(crate) nmax: u8,
    /// The first divisor tried is `nmax + first` codes for the range of the weights.
    pub(crate) first: f32,
    /// Divisors tried after the first, 0.1 apart.
    pub(crate) n_steps: u8,
}

/// What [`scales_mins`] found for each group.
pub(crate) struct ScalesMins {
    /// The scales.
    pub(crate) scales: Lanes,
    /// What is subtracted: the weight of code 0, negated.
    pub(crate) mins: Lanes,
    /// Codes for every weight, group after group.
    pub(crate) codes: [[u8; 32]; 8],
}

/// For each group the scale and the minimum (at most 0) for which codes `0..=nmax` fit best, each squared error
/// weighted with rms + |x|: a least-squares fit for every way to round that the divisors give. There are eight groups.
pub(crate) fn scales_mins(groups: &[[f32; 32]], search: Search) -> ScalesMins {
    let problem = Problem::new(groups, search.nmax);
    let (max, top) = (problem.max, f32::from(search.nmax));
    let mut min = problem.min;
    let flat: [bool; 8] = from_fn(|j| max[j] == min[j]);

    // The grid (divisor and minimum) that gives the best codes, and the line through them.
    let mut grid: [Lanes; 2] = [from_fn(|j| top / (max[j] - min[j])), min];
    let mut scale = grid[0].map(|iscale| 1.0 / iscale);
    let mut error = problem.error(&scale, &min, &problem.codes(&grid));
    for step in 0..=search.n_steps {
        // `min` is that of the best fit so far: one improvement shifts the grids after it.
        let iscale = from_fn(|j| (search.first + 0.1 * f32::from(step) + top) / (max[j] - min[j]));
        let codes = problem.codes(&[iscale, min]);
        let fit = problem.least_squares(&codes);
        let this_error = problem.error(&fit.scale, &fit.min, &codes);
        for j in 0..8 {
            if fit.determinant[j] > 0.0 && this_error[j] < error[j] {
                (grid[0][j], grid[1][j], error[j]) = (iscale[j], min[j], this_error[j]);
                (scale[j], min[j]) = (fit.scale[j], fit.min[j]);
            }
        }
    }

    let code = |j: usize, v: f32| problem.code(grid[0][j], grid[1][j], v).to_le_bytes()[0];
    ScalesMins {
        scales: from_fn(|j| if flat[j] { 0.0 } else { scale[j] }),
        mins: from_fn(|j| if flat[j] { -problem.min[j] } else { -min[j] }),
        codes: from_fn(|j| if flat[j] { [0; 32] } else { groups[j].map(|v| code(j, v)) }),
    }
}

/// Eight groups with what does not change while their fit is searched.
struct Problem {
    nmax: i32,
    x: [Lanes; 32],
    weights: [Lanes; 32],
    /// Smallest weight, but at most 0.
    min: Lanes,
    max: Lanes,
    sum_w: Lanes,
    sum_x: Lanes,
}

/// Lines through (code, weight); meaningless where the determinant is not positive: there all codes are equal.
struct Fit {
    determinant: Lanes,
    scale: Lanes,
    min: Lanes,
}

impl Problem {
    fn new(groups: &[[f32; 32]], nmax: u8) -> Self {
        let x = side_by_side(groups);
        let mut sum_x2 = [0.0_f32; 8];
        for v in &x {
            for j in 0..8 {
                sum_x2[j] += v[j] * v[j];
            }
        }
        let rms = sum_x2.map(|sum| (sum / 32.0).sqrt());
        let weights = x.map(|v| from_fn(|j| rms[j] + v[j].abs()));
        let (mut min, mut max) = (x[0], x[0]);
        let mut sum_w: Lanes = weights[0];
        let mut sum_x: Lanes = from_fn(|j| weights[0][j] * x[0][j]);
        for (v, w) in x.iter().zip(&weights).skip(1) {
            for j in 0..8 {
                min[j] = if v[j] < min[j] { v[j] } else { min[j] };
                max[j] = if v[j] > max[j] { v[j] } else { max[j] };
                sum_w[j] += w[j];
                sum_x[j] += w[j] * v[j];
            }
        }
        let min = min.map(|min| if min > 0.0 { 0.0 } else { min });
        Self { nmax: i32::from(nmax), x, weights, min, max, sum_w, sum_x }
    }

    /// The code of a weight on the grid that begins at `min` with `iscale` codes to 1.
    #[inline]
    fn code(&self, iscale: f32, min: f32, v: f32) -> i32 {
        nearest_int(iscale * (v - min)).clamp(0, self.nmax)
    }

    /// The codes of all weights, as floats.
    fn codes(&self, [iscale, min]: &[Lanes; 2]) -> [Lanes; 32] {
        self.x.map(|v| from_fn(|j| small_f32(self.code(iscale[j], min[j], v[j]))))
    }

    /// The weighted squared error.
    fn error(&self, scale: &Lanes, min: &Lanes, codes: &[Lanes; 32]) -> Lanes {
        let mut sum = [0.0; 8];
        for ((v, w), l) in self.x.iter().zip(&self.weights).zip(codes) {
            for j in 0..8 {
                let diff = scale[j] * l[j] + min[j] - v[j];
                sum[j] += w[j] * (diff * diff);
            }
        }
        sum
    }

    /// Scale and minimum of the weighted least-squares line, the minimum held at or below 0.
    fn least_squares(&self, codes: &[Lanes; 32]) -> Fit {
        let (mut sum_l, mut sum_l2, mut sum_xl) = ([0.0; 8], [0.0; 8], [0.0; 8]);
        for ((v, w), l) in self.x.iter().zip(&self.weights).zip(codes) {
            for j in 0..8 {
                let wl = w[j] * l[j];
                sum_l[j] += wl;
                sum_l2[j] += wl * l[j];
                sum_xl[j] += wl * v[j];
            }
        }
        let (sum_w, sum_x) = (&self.sum_w, &self.sum_x);
        let determinant: Lanes = from_fn(|j| sum_w[j] * sum_l2[j] - sum_l[j] * sum_l[j]);
        let scale: Lanes =
            from_fn(|j| (sum_w[j] * sum_xl[j] - sum_x[j] * sum_l[j]) / determinant[j]);
        let min: Lanes =
            from_fn(|j| (sum_l2[j] * sum_x[j] - sum_l[j] * sum_xl[j]) / determinant[j]);
        Fit {
            determinant,
            scale: from_fn(|j| if min[j] > 0.0 { sum_xl[j] / sum_l2[j] } else { scale[j] }),
            min: min.map(|min| if min > 0.0 { 0.0 } else { min }),
        }
    }
}
