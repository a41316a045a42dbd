//! The threads that inference runs on.
//!
//! A decode step of a small model is a few hundred operations of some ten microseconds. Waking sleeping
//! threads for each of them, as a work-stealing pool does, would cost more than the work. A [`Team`]
//! therefore enters the workers of a private rayon pool once, for its whole life. They wait for jobs by
//! spinning, then sleeping; a job is published by raising an epoch counter and is over
//! when the counter of pending workers is back at zero.
//!
//! This module and its children also hold the one way to write to a buffer from several threads: they cut
//! it into disjoint parts themselves, so that callers need no `unsafe` ([`Team::for_chunks_mut`],
//! [`Team::for_columns`], [`Team::for_grid`], [`Team::for_parts`]), and the memory that many matrices share ([`Arena`]).
//!
//! Which thread computes what never changes a result: a split decides *who*, not *in which order*.

mod arena;
mod cells;
mod gate;
mod split;

pub use arena::Arena;
pub(crate) use arena::Piece;
pub(crate) use cells::{Cells, Cut, Field, FieldPart};
pub(crate) use split::{BlockMut, Columns, Grid, Schedule, Target};

use crate::KernelError;
use crate::matrix::Panel;
use gate::Gate;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Alone on its pair of cache lines: x86 prefetches lines in pairs, Apple's are 128 bytes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// A job with its type erased: `call(data, tid)` calls the closure that `data` points to.
#[derive(Clone, Copy)]
struct Job {
    data: *const (),
    call: unsafe fn(*const (), usize),
}

/// What the caller and the workers share.
struct Shared {
    /// Raised once per job and once to stop. Only the holder of `Team::turn` writes it.
    epoch: Padded<AtomicUsize>,
    /// Workers that have not finished the present job.
    pending: Padded<AtomicUsize>,
    /// The present job: written only while no worker is inside one.
    job: Padded<UnsafeCell<Option<Job>>>,
    /// Where workers wait for the epoch.
    start: Gate,
    /// Where the caller waits for `pending`.
    done: Gate,
    /// Set before the last epoch.
    stop: AtomicBool,
    /// The first panic of a worker in the present job.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: every field but `job` is Sync by itself. `job` holds a pointer to a closure that is `Sync` (the bound
// of `Team::run`); it is written by the one thread holding `Team::turn`, while `pending` is zero, and read
// by workers only after they have seen the epoch that the writer raised afterwards (release/acquire).
#[expect(unsafe_code, reason = "see the SAFETY note")]
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `job` is only ever used while the closure it points to is borrowed.
#[expect(unsafe_code, reason = "see the SAFETY note")]
unsafe impl Send for Shared {}

thread_local! {
    /// The team whose job this thread is inside of, as an address; null outside.
    static INSIDE: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
}

/// A fixed number of threads, the caller being one of them.
///
/// `Send + Sync`. Several teams may live in one process. Dropping a team stops its threads and waits for them.
pub struct Team {
    shared: Arc<Shared>,
    n_threads: usize,
    /// Held during a job: callers take turns.
    turn: Mutex<()>,
    /// Numbers for the duration of an operation.
    scratch: Mutex<Vec<f32>>,
    /// Memory of parts of jobs that are over, for the next ones.
    spare: Mutex<Vec<[Vec<f32>; 4]>>,
    /// The same for weights that are packed on demand.
    panels: Mutex<Vec<Panel>>,
    /// `None` with one thread.
    pool: Option<rayon::ThreadPool>,
    workers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team").field("n_threads", &self.n_threads).finish_non_exhaustive()
    }
}

impl Team {
    /// A team of `n_threads`: the caller and `n_threads - 1` workers.
    ///
    /// If that is more than the CPUs this process may use, waiting threads sleep at once instead of spinning.
    /// # Errors
    /// [`KernelError::Threads`] for zero threads and if the threads cannot be started.
    pub fn new(n_threads: usize) -> Result<Self, KernelError> {
        if n_threads == 0 {
            return Err(KernelError::Threads { n_threads, source: None });
        }
        let n_cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let spin = n_threads <= n_cpus;
        let shared = Arc::new(Shared {
            epoch: Padded::default(),
            pending: Padded::default(),
            job: Padded(UnsafeCell::new(None)),
            start: Gate::new(spin),
            done: Gate::new(spin),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut team = Self {
            shared,
            n_threads,
            turn: Mutex::new(()),
            scratch: Mutex::new(Vec::new()),
            spare: Mutex::new(Vec::new()),
            panels: Mutex::new(Vec::new()),
            pool: None,
            workers: Vec::new(),
        };
        if n_threads > 1 {
            team.start_workers()?;
        }
        Ok(team)
    }

    /// Builds the private pool and enters its threads into [`Shared::work`] for good.
    fn start_workers(&mut self) -> Result<(), KernelError> {
        let workers = &mut self.workers;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.n_threads - 1)
            .spawn_handler(|thread| {
                let name = format!("team-{}", thread.index() + 1);
                workers.push(std::thread::Builder::new().name(name).spawn(|| thread.run())?);
                Ok(())
            })
            .build()
            .map_err(|source| KernelError::Threads {
                n_threads: self.n_threads,
                source: Some(source),
            })?;
        let shared = Arc::clone(&self.shared);
        pool.spawn_broadcast(move |context| shared.work(context.index() + 1));
        self.pool = Some(pool);
        Ok(())
    }

    /// The number of threads, the caller included.
    #[must_use]
    pub fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Calls `job(tid)` once for every `tid` in `0..n_threads`, each on its own thread, tid 0 on the caller's,
    /// and returns when all have finished. Calls from several threads take turns.
    ///
    /// # Panics
    /// If a part panicked (after all parts have finished, with the first payload), and if called from
    /// inside a job of the same team.
    pub fn run<F: Fn(usize) + Sync>(&self, job: &F) {
        if self.n_threads == 1 {
            return job(0);
        }
        let this = std::ptr::from_ref(&*self.shared).cast::<()>();
        assert!(INSIDE.get() != this, "Team::run called from inside a job of the same team");
        let turn = lock(&self.turn);
        self.shared.publish(job, self.n_threads - 1);
        let mine = inside(this, || catch_unwind(AssertUnwindSafe(|| job(0))));
        self.shared.done.wait(|| self.shared.pending.0.load(Ordering::Acquire) == 0);
        let theirs = lock(&self.shared.panic).take();
        drop(turn);
        if let Err(payload) = mine {
            resume_unwind(payload);
        }
        if let Some(payload) = theirs {
            resume_unwind(payload);
        }
    }

    /// Calls `f` with `n` numbers of unknown value, whose memory is kept for the next call.
    pub(crate) fn with_scratch<R>(&self, n: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
        let mut scratch = lock(&self.scratch);
        if scratch.len() < n {
            scratch.resize(n, 0.0);
        }
        f(&mut scratch[..n])
    }

    /// Vectors with memory that has been used before, if there are any: what is in them is unknown.
    pub(crate) fn take_spare(&self) -> [Vec<f32>; 4] {
        lock(&self.spare).pop().unwrap_or_default()
    }

    /// Keeps them for [`Self::take_spare`]: at most as many as are taken at the same time.
    pub(crate) fn give_back(&self, vectors: [Vec<f32>; 4]) {
        lock(&self.spare).push(vectors);
    }

    /// Memory for packed rows, that of an earlier part of a job if there is any.
    pub(crate) fn take_panel(&self) -> Panel {
        lock(&self.panels).pop().unwrap_or_default()
    }

    /// Keeps it for [`Self::take_panel`].
    pub(crate) fn give_back_panel(&self, panel: Panel) {
        lock(&self.panels).push(panel);
    }

    /// The part of `0..n` that belongs to `tid` when `n` is dealt out contiguously in units of `grain`.
    #[must_use]
    pub fn range_of(&self, tid: usize, n: usize, grain: usize) -> Range<usize> {
        let grain = grain.max(1);
        let units = n.div_ceil(grain);
        let edge = |t: usize| (units * t / self.n_threads * grain).min(n);
        edge(tid)..edge(tid + 1)
    }

    /// Covers `0..n` by contiguous ranges, one per thread, cut at multiples of `grain`; empty ones are left out.
    /// A single unit runs on the caller alone.
    pub fn for_ranges<F: Fn(Range<usize>) + Sync>(&self, n: usize, grain: usize, f: &F) {
        if n <= grain.max(1) {
            if n > 0 {
                f(0..n);
            }
            return;
        }
        self.run(&|tid| {
            let range = self.range_of(tid, n, grain);
            if !range.is_empty() {
                f(range);
            }
        });
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.raise_epoch();
        drop(self.pool.take());
        for worker in self.workers.drain(..) {
            // A worker catches the panics of jobs, so this cannot fail; there is no one to tell if it does.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Hands `job` to `n_workers` workers. The caller holds `Team::turn` and waits for `pending` before `job` ends.
    #[expect(unsafe_code, reason = "see the SAFETY note")]
    fn publish<F: Fn(usize) + Sync>(&self, job: &F, n_workers: usize) {
        /// # Safety
        /// `data` comes from a `&F` that is still borrowed.
        #[expect(unsafe_code, reason = "the counterpart of the erasure below")]
        unsafe fn call<F: Fn(usize)>(data: *const (), tid: usize) {
            // SAFETY: the caller's promise.
            let job = unsafe { &*data.cast::<F>() };
            job(tid);
        }
        let job = Job { data: std::ptr::from_ref(job).cast(), call: call::<F> };
        // SAFETY: `Team::turn` is held, so no other caller writes; `pending` is zero since the last job's
        // end, so no worker reads (a worker reads once per epoch, before it lowers `pending`).
        unsafe { *self.job.0.get() = Some(job) };
        self.pending.0.store(n_workers, Ordering::Relaxed);
        self.raise_epoch();
    }

    fn raise_epoch(&self) {
        self.epoch.0.fetch_add(1, Ordering::Release);
        self.start.notify();
    }

    /// A worker's life: waits for an epoch, does its part of the job, reports, until the team is dropped.
    #[expect(unsafe_code, reason = "see the SAFETY notes")]
    fn work(&self, tid: usize) {
        let mut seen = 0;
        loop {
            self.start.wait(|| self.epoch.0.load(Ordering::Acquire) != seen);
            seen += 1;
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: the epoch was raised (release) after the job was written, and seen (acquire) by us; it is
            // not written again before we lower `pending`.
            let Some(job) = (unsafe { *self.job.0.get() }) else { continue };
            let this = std::ptr::from_ref(self).cast::<()>();
            let result = inside(this, || {
                // SAFETY: `Team::run` borrows the closure until `pending` is zero, which needs our report below.
                catch_unwind(AssertUnwindSafe(|| unsafe { (job.call)(job.data, tid) }))
            });
            if let Err(payload) = result {
                lock(&self.panic).get_or_insert(payload);
            }
            if self.pending.0.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.done.notify();
            }
        }
    }
}

/// Runs `f` with the thread marked as being inside a job of the team at `this`.
fn inside<R>(this: *const (), f: impl FnOnce() -> R) -> R {
    let outer = INSIDE.replace(this);
    let result = f();
    INSIDE.set(outer);
    result
}

/// Locks; a poisoned lock is as good as any here, since panics of jobs are caught before a guard is dropped.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
