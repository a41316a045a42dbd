//! Every tensor dequantized: its checksum, its values, its scales.
use super::{
    certificate::{Scales, TensorCheck, Weights},
    ladder::{Cancel, Climbed, Step},
};
use crate::{errors::CliError, human, progress::Progress};
use dequant::DequantError;
use gguf_parse::{GgmlType, Gguf, TensorInfo};
use std::{
    io::{self, Read},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Elements that are dequantized at once: a multiple of any block.
const AT_ONCE: usize = 1 << 14;
/// How many tensors are named one by one.
const MAX_NAMED: usize = 8;
/// More threads would wait for memory.
const MAX_THREADS: usize = 64;
/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(5);

/// Looks at all tensors, on all threads. Without `hashed` there are no checksums.
pub(super) fn weights(
    gguf: &Gguf,
    n_threads: usize,
    hashed: bool,
    cancel: &Cancel,
) -> Climbed<Weights> {
    let checks = check_all(gguf, n_threads, hashed, cancel);
    cancel.check()?;
    let mut bad = Vec::new();
    let mut notes = Vec::new();
    let mut tensors = Vec::with_capacity(checks.len());
    for (check, error) in checks {
        if let Some(error) = error {
            bad.push((check.name.clone(), error));
        }
        tensors.push(check);
    }
    let unread = tensors.iter().filter(|t| !t.is_read).count();
    if unread > 0 {
        notes.push(format!("{unread} tensors are of types that are not read here"));
    }
    let zero: Vec<_> = tensors
        .iter()
        .filter(|t| t.is_read && t.shape.len() > 1 && t.max == 0.0 && t.min == 0.0)
        .collect();
    notes.extend(
        zero.iter()
            .take(MAX_NAMED)
            .map(|t| format!("all of {} is zero: was the file copied whole?", t.name)),
    );
    let report = Weights::new(tensors);
    if let Some((name, error)) = bad.first() {
        let error = CliError::from(*error).within(&format!("tensor {name}"));
        let others = bad.iter().skip(1);
        notes.extend(others.take(MAX_NAMED).map(|(name, error)| format!("tensor {name}: {error}")));
        if bad.len() > MAX_NAMED + 1 {
            notes.push(format!("and {} more", bad.len() - MAX_NAMED - 1));
        }
        return Ok(Step::broken(Some(report), error).with_notes(notes));
    }
    let hash = report.sha256.as_ref().map(|hash| format!("; dequantized SHA-256 {hash}"));
    let detail = format!(
        "{} weights, all finite, the largest {:.4}{}",
        human::count(report.n_weights),
        report.max_abs,
        hash.unwrap_or_default()
    );
    Ok(Step::ok(report, detail).with_notes(notes))
}

/// A tensor as it was found, and what is wrong with it.
type Checked = (TensorCheck, Option<DequantError>);

/// The tensors in the order of the file.
fn check_all(gguf: &Gguf, n_threads: usize, hashed: bool, cancel: &Cancel) -> Vec<Checked> {
    // The largest first, so that no thread is left with one at the end.
    let mut order: Vec<usize> = (0..gguf.tensors().len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(gguf.tensors()[*i].dims.n_elems()));
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let found = Mutex::new(Vec::new());
    let flag = cancel.flag();
    let work = || {
        while let Some(i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(info) = gguf.tensors().get(*i) else { break };
            let checked = check(gguf, info, hashed, &flag, &done);
            if flag.load(Ordering::SeqCst) {
                break;
            }
            found.lock().unwrap_or_else(PoisonError::into_inner).push((*i, checked));
        }
    };
    let all = gguf.tensors().iter().map(|t| t.n_bytes as u64).sum();
    let mut bar = Progress::bytes("dequantizing");
    thread::scope(|scope| {
        let n_threads = n_threads.clamp(1, MAX_THREADS);
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(TICK);
            bar.set(done.load(Ordering::Relaxed), Some(all));
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(i, _)| *i);
    found.into_iter().map(|(_, checked)| checked).collect()
}

fn check(
    gguf: &Gguf,
    info: &TensorInfo,
    hashed: bool,
    cancel: &AtomicBool,
    done: &AtomicU64,
) -> Checked {
    let mut check = TensorCheck {
        name: info.name.clone(),
        ty: info.ty.name(),
        shape: info.dims.ne().iter().rev().copied().collect(),
        is_read: dequant::is_supported(info.ty),
        ..TensorCheck::default()
    };
    let Some(view) = gguf.find_tensor(&info.name).filter(|_| check.is_read) else {
        return (check, None);
    };
    let mut reader = Dequantized::new(info.ty, view.data, cancel, done);
    // The reader fails only on Ctrl-C.
    if hashed {
        check.sha256 = model_store::sha256_of(&mut reader).ok();
    } else {
        drop(io::copy(&mut reader, &mut io::sink()));
    }
    reader.values.tell(&mut check);
    check.scales = scales(info.ty, view.data);
    let error = dequant::check_finite(info.ty, view.data).err();
    gguf.release(view.data);
    (check, error)
}

/// The scales of blocks; float types have none.
fn scales(ty: GgmlType, data: &[u8]) -> Option<Scales> {
    if ty.block_elems() == 1 {
        return None;
    }
    let mut scales = Scales { n_blocks: 0, n_zero: 0, n_subnormal: 0, max_abs: 0.0 };
    let counted = dequant::for_each_scale(ty, data, |scale| {
        scales.n_blocks += 1;
        scales.n_zero += u64::from(scale == 0.0);
        // Scales are f16: below its smallest normal number they lose digits.
        scales.n_subnormal += u64::from(scale != 0.0 && scale.abs() < 6.103_515_6e-5);
        scales.max_abs = scales.max_abs.max(scale.abs());
    });
    counted.ok().map(|()| scales)
}

/// A tensor's values as little-endian bytes, looked at as they pass.
struct Dequantized<'a> {
    ty: GgmlType,
    rest: &'a [u8],
    floats: Vec<f32>,
    bytes: Vec<u8>,
    at: usize,
    values: Values,
    cancel: &'a AtomicBool,
    done: &'a AtomicU64,
}

impl<'a> Dequantized<'a> {
    fn new(ty: GgmlType, data: &'a [u8], cancel: &'a AtomicBool, done: &'a AtomicU64) -> Self {
        let values = Values::default();
        Self { ty, rest: data, floats: Vec::new(), bytes: Vec::new(), at: 0, values, cancel, done }
    }

    /// The next blocks.
    fn fill(&mut self) -> io::Result<()> {
        let n_blocks = AT_ONCE / self.ty.block_elems();
        let n = self.rest.len().min(n_blocks * self.ty.block_bytes());
        let (now, rest) = self.rest.split_at(n);
        self.floats.resize(n / self.ty.block_bytes() * self.ty.block_elems(), 0.0);
        dequant::dequantize(self.ty, now, &mut self.floats).map_err(io::Error::other)?;
        self.values.add(&self.floats);
        self.bytes.clear();
        self.bytes.extend(self.floats.iter().flat_map(|x| x.to_le_bytes()));
        self.done.fetch_add(n as u64, Ordering::Relaxed);
        (self.rest, self.at) = (rest, 0);
        Ok(())
    }
}

impl Read for Dequantized<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.bytes.len() {
            if self.cancel.load(Ordering::SeqCst) {
                return Err(io::Error::other("interrupted"));
            }
            if self.rest.is_empty() {
                return Ok(0);
            }
            self.fill()?;
        }
        let ready = self.bytes.get(self.at..).unwrap_or_default();
        let n = ready.len().min(buf.len());
        buf[..n].copy_from_slice(&ready[..n]);
        self.at += n;
        Ok(n)
    }
}

/// Sums over values.
#[derive(Debug, Default)]
struct Values {
    n: u64,
    n_not_finite: u64,
    range: Option<(f32, f32)>,
    sum: f64,
    squares: f64,
}

impl Values {
    fn add(&mut self, values: &[f32]) {
        self.n += values.len() as u64;
        let (mut min, mut max) = self.range.unwrap_or((f32::INFINITY, f32::NEG_INFINITY));
        for x in values {
            if !x.is_finite() {
                self.n_not_finite += 1;
                continue;
            }
            (min, max) = (min.min(*x), max.max(*x));
            self.sum += f64::from(*x);
            self.squares += f64::from(*x) * f64::from(*x);
        }
        self.range = (min <= max).then_some((min, max));
    }

    fn tell(&self, check: &mut TensorCheck) {
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let n = (self.n - self.n_not_finite).max(1) as f64;
        (check.min, check.max) = self.range.unwrap_or_default();
        check.n_weights = self.n;
        check.n_not_finite = self.n_not_finite;
        check.mean = self.sum / n;
        check.rms = (self.squares / n).sqrt();
    }
}
