//! Attention: which keys, heads, cells and scale explain a side's scores, weights and sums.

use crate::pair::Pair;
use crate::stats::nmse;
use crate::view::{Found, View};
use crate::{TraceError, TraceHparams};

/// How query heads share key heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Neighbors share: head h reads h / group.
    Groups,
    /// They take turns: head h reads h % n_head_kv.
    Turns,
}

/// What a side may have read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) sharing: Sharing,
    /// Cell j holds position j - shift.
    pub(crate) shift: i64,
    /// K where V belongs, or V where K belongs.
    pub(crate) swapped: bool,
    /// The oldest that a position ever held instead of the newest.
    pub(crate) stale: bool,
}

const RIGHT: Reading = Reading { sharing: Sharing::Groups, shift: 0, swapped: false, stale: false };

/// Every reading worth a try, the right one first.
fn readings(grouped: bool, overwritten: bool) -> Vec<Reading> {
    let mut all = vec![RIGHT];
    all.extend([1, -1].map(|shift| Reading { shift, ..RIGHT }));
    all.push(Reading { swapped: true, ..RIGHT });
    if grouped {
        all.push(Reading { sharing: Sharing::Turns, ..RIGHT });
    }
    if overwritten {
        all.push(Reading { stale: true, ..RIGHT });
    }
    all
}

/// Sizes of attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) n_head: usize,
    pub(crate) n_head_kv: usize,
    pub(crate) size: usize,
}

impl Heads {
    pub(crate) fn new(hparams: &TraceHparams) -> Option<Self> {
        let (n_head, n_head_kv, size) = (hparams.n_head?, hparams.n_head_kv?, hparams.n_embd_head?);
        (n_head > 0 && n_head_kv > 0 && size > 0 && n_head % n_head_kv == 0).then_some(Self {
            n_head,
            n_head_kv,
            size,
        })
    }

    fn kv_of(&self, head: usize, sharing: Sharing) -> usize {
        match sharing {
            Sharing::Groups => head / (self.n_head / self.n_head_kv),
            Sharing::Turns => head % self.n_head_kv,
        }
    }
}

/// The cells that a reading takes from what the graph made.
struct Cells {
    k: Vec<Vec<Vec<f64>>>,
    v: Vec<Vec<Vec<f64>>>,
    heads: Heads,
}

impl Cells {
    fn new(side: View<'_>, heads: Heads) -> Result<Self, TraceError> {
        let n = heads.n_head_kv * heads.size;
        Ok(Self { k: side.history("Kcur", n)?, v: side.history("Vcur", n)?, heads })
    }

    fn overwritten(&self) -> bool {
        self.k.iter().any(|versions| versions.len() > 1)
    }

    /// One head of the cell `j`: `None` where nothing was written (zeros).
    fn get(&self, of_v: bool, reading: Reading, head: usize, j: usize) -> Option<&[f64]> {
        let rows = if of_v == reading.swapped { &self.k } else { &self.v };
        let position = i64::try_from(j).ok()? - reading.shift;
        let versions = rows.get(usize::try_from(position).ok()?)?;
        let row = if reading.stale { versions.last() } else { versions.first() }?;
        let at = self.heads.kv_of(head, reading.sharing) * self.heads.size;
        row.get(at..at + self.heads.size)
    }
}

/// The reading that explains a side's scores, and what it leaves unexplained. `None` without the nodes it takes.
pub(crate) fn scores(side: View<'_>, heads: Heads) -> Found<(Reading, f64)> {
    let (Some(q), Some(kq)) = (side.last_of(&side.name("Qcur"))?, side.node(&side.name("kq"), 0)?)
    else {
        return Ok(None);
    };
    let cells = Cells::new(side, heads)?;
    let (n_tokens, n_past) = (side.n_tokens(), side.n_past());
    if q.x.len() != n_tokens * heads.n_head * heads.size
        || kq.x.len() != n_tokens * heads.n_head * kq.n_cols
        || cells.k.is_empty()
    {
        return Ok(None);
    }
    let tried =
        readings(heads.n_head_kv > 1 && heads.n_head_kv < heads.n_head, cells.overwritten());
    let rest = |reading: Reading| {
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        for (i, row) in kq.iter().enumerate() {
            let (head, t) = (i / n_tokens, i % n_tokens);
            let q = &q.x[(t * heads.n_head + head) * heads.size..][..heads.size];
            for (j, score) in row.iter().enumerate().take(n_past + t + 1) {
                let k = cells.get(false, reading, head, j);
                wanted.push(k.map_or(0.0, |k| q.iter().zip(k).map(|(q, k)| q * k).sum()));
                found.push(*score);
            }
        }
        nmse(&wanted, &found)
    };
    Ok(best(tried, rest))
}

/// The reading that explains a side's weighted sums from its weights.
pub(crate) fn sums(side: View<'_>, heads: Heads) -> Found<(Reading, f64)> {
    let (weights, kqv) =
        (side.node(&side.name("kq_soft_max"), 0)?, side.node(&side.name("kqv"), 0)?);
    let (Some(weights), Some(kqv)) = (weights, kqv) else { return Ok(None) };
    let cells = Cells::new(side, heads)?;
    let (n_tokens, n_past) = (side.n_tokens(), side.n_past());
    if kqv.x.len() != n_tokens * heads.n_head * heads.size
        || weights.x.len() != n_tokens * heads.n_head * weights.n_cols
        || cells.v.is_empty()
    {
        return Ok(None);
    }
    let tried =
        readings(heads.n_head_kv > 1 && heads.n_head_kv < heads.n_head, cells.overwritten());
    let rest = |reading: Reading| {
        let mut wanted = Vec::with_capacity(kqv.x.len());
        for (i, row) in weights.iter().enumerate() {
            let (head, t) = (i / n_tokens, i % n_tokens);
            let mut sum = vec![0.0; heads.size];
            for (j, weight) in row.iter().enumerate().take(n_past + t + 1) {
                if let Some(v) = cells.get(true, reading, head, j) {
                    sum.iter_mut().zip(v).for_each(|(s, v)| *s += weight * v);
                }
            }
            wanted.extend(sum);
        }
        nmse(&wanted, &kqv.x)
    };
    Ok(best(tried, rest))
}

fn best(tried: Vec<Reading>, rest: impl Fn(Reading) -> f64) -> Option<(Reading, f64)> {
    let rests = tried.into_iter().map(|reading| (reading, rest(reading)));
    rests.min_by(|a, b| a.1.total_cmp(&b.1))
}

impl Reading {
    /// What is wrong with it, and whether that is the cache's fault. `None` if nothing is.
    pub(crate) fn explain(self, of: &'static str) -> Option<(bool, String)> {
        if self.shift != 0 {
            let n = self.shift;
            return Some((
                true,
                format!("A's cell j holds {of} of position j{:+}: written {n:+} off", -n),
            ));
        }
        if self.swapped {
            return Some((
                true,
                "K and V are swapped: A reads the one where the other belongs".to_owned(),
            ));
        }
        if self.stale {
            let text = "A reads what positions held before they were truncated and written again";
            return Some((true, text.to_owned()));
        }
        (self.sharing == Sharing::Turns).then(|| {
            let text = "query heads take turns with key heads (h % n_head_kv); they share in groups (h / group)";
            (false, text.to_owned())
        })
    }
}

/// Cells of the cache that hold zeros on A and not on B.
pub(crate) fn empty_cells(pair: &Pair) -> Option<String> {
    let is_empty = |row: &[f64]| row.iter().all(|x| *x == 0.0);
    let rows = pair.a.chunks_exact(pair.n_cols).zip(pair.b.chunks_exact(pair.n_cols)).enumerate();
    let empty: Vec<usize> =
        rows.filter(|(_, (a, b))| is_empty(a) && !is_empty(b)).map(|(i, _)| i).collect();
    let first = empty.first()?;
    let others = match empty.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Some(format!("cell {first}{others} holds zeros on A: nothing was written there"))
}

/// How a side turns scores into weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Softmax {
    /// What scores are multiplied by.
    pub(crate) scale: f64,
    /// What of the logarithms of weights no scale explains.
    pub(crate) rest: f64,
    /// How many cells more than the causal ones are seen; negative: fewer.
    pub(crate) seen: i64,
    /// Whether the weights of a row sum to one.
    pub(crate) normalized: bool,
}

/// The scale and mask of a side.
pub(crate) fn softmax(side: View<'_>) -> Found<Softmax> {
    let (kq, weights) = (side.node(&side.name("kq"), 0)?, side.node(&side.name("kq_soft_max"), 0)?);
    let (Some(kq), Some(weights)) = (kq, weights) else { return Ok(None) };
    let (n_tokens, n_past) = (side.n_tokens(), side.n_past());
    if kq.x.len() != weights.x.len() || n_tokens == 0 {
        return Ok(None);
    }
    let (mut dl_ds, mut ds_ds, mut dl_dl) = (0.0, 0.0, 0.0);
    let (mut more, mut fewer, mut normalized) = (0_i64, 0_i64, true);
    for (i, (scores, weights)) in kq.iter().zip(weights.iter()).enumerate() {
        let end = n_past + i % n_tokens + 1;
        let seen = weights.iter().rposition(|w| *w > 0.0).map_or(0, |last| last + 1);
        let off = i64::try_from(seen).unwrap_or(i64::MAX) - i64::try_from(end).unwrap_or(i64::MAX);
        more = more.max(off);
        // A weight may be zero because its score is far below: only a missing last cell of all rows counts.
        fewer = if i == 0 { off } else { fewer.max(off) };
        normalized &= (weights.iter().sum::<f64>() - 1.0).abs() < 1e-3;
        let Some(best) = weights.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)) else {
            continue;
        };
        for (s, w) in scores.iter().zip(weights.iter()).take(seen).filter(|(_, w)| **w > 1e-30) {
            let (dl, ds) = (w.ln() - best.1.ln(), s - scores[best.0]);
            dl_ds += dl * ds;
            ds_ds += ds * ds;
            dl_dl += dl * dl;
        }
    }
    let scale = if ds_ds == 0.0 { 0.0 } else { dl_ds / ds_ds };
    let rest = if dl_dl == 0.0 { 0.0 } else { (1.0 - scale * dl_ds / dl_dl).max(0.0) };
    Ok(Some(Softmax { scale, rest, seen: if more > 0 { more } else { fewer.min(0) }, normalized }))
}

/// What is different between the sides' softmax.
pub(crate) fn explain_softmax(a: &Softmax, b: &Softmax, heads: Option<Heads>) -> Vec<String> {
    let mut findings = Vec::new();
    if a.seen != b.seen {
        findings.push(match a.seen {
            0 => format!("A masks causally, B sees {:+} cells", b.seen),
            n => format!("the causal mask is off by one: A sees {n:+} cells against a token's own"),
        });
    }
    if (a.scale / b.scale - 1.0).abs() > 1e-3 {
        let text = format!("scores are multiplied by {:.6} on A and {:.6} on B", a.scale, b.scale);
        let of_size = |n: f64| (a.scale * n.sqrt() - 1.0).abs() < 1e-2;
        let why = match heads {
            _ if (a.scale - 1.0).abs() < 1e-3 => "; 1/sqrt(n_embd_head) is missing".to_owned(),
            Some(h) if of_size((h.size * h.n_head) as f64) => "; that is 1/sqrt(n_embd)".to_owned(),
            _ => format!("; that is 1/sqrt({:.0})", 1.0 / (a.scale * a.scale)),
        };
        findings.push(text + &why);
    }
    if a.rest > 1e-4 && b.rest < 1e-6 {
        findings.push(
            "no one scale explains A's weights: a softcap, a bias or another base".to_owned(),
        );
    }
    if b.normalized && !a.normalized {
        findings.push("A's weights do not sum to one".to_owned());
    }
    findings
}
