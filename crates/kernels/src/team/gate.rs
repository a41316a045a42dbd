//! Waiting for a condition that another thread makes true: first spinning, then asleep.
//!
//! There is no yielding in between: where other processes wait for the CPU, each yield costs a time slice of theirs, while
//! a sleeper that is woken gets the CPU soon. (On one busy CPU, two threads generated 40 times slower than one.)

use super::lock;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long to spin before giving way. Longer than the serial work between two jobs of a decode step,
/// shorter than a time slice: two processes on the same cores must not starve each other.
const SPIN: Duration = Duration::from_micros(50);
/// `spin_loop` hints between two looks at the clock.
const SPINS_PER_LOOK: usize = 32;

/// A place to wait. The condition itself lives outside, in atomics.
#[derive(Debug)]
pub(super) struct Gate {
    spin: bool,
    sleepers: AtomicUsize,
    mutex: Mutex<()>,
    condvar: Condvar,
}

impl Gate {
    /// With `spin` false, waiting goes to sleep at once: for more threads than CPUs.
    pub(super) fn new(spin: bool) -> Self {
        Self { spin, sleepers: AtomicUsize::new(0), mutex: Mutex::new(()), condvar: Condvar::new() }
    }

    /// Returns once `ready()` is true.
    pub(super) fn wait(&self, ready: impl Fn() -> bool) {
        if (self.spin && spin_until(&ready)) || ready() {
            return;
        }
        let mut guard = lock(&self.mutex);
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence in `notify`: either we see the condition, or the notifier sees the sleeper,
        // and then it cannot get the mutex before we wait.
        fence(Ordering::SeqCst);
        while !ready() {
            guard = self.condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// To be called after the condition has been made true.
    pub(super) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            drop(lock(&self.mutex));
            self.condvar.notify_all();
        }
    }
}

/// Whether `ready` came true within [`SPIN`].
fn spin_until(ready: &impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..SPINS_PER_LOOK {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return false;
        }
    }
}
