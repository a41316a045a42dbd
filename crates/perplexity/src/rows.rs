//! Rows of logits, several at once.
use std::{panic, thread};

/// `f` of each row of `logits`, `[items.len(), n_vocab]`, with the item that belongs to it; the results in the rows'
/// order. `n_threads` change the speed, nothing else.
///
/// # Panics
/// If `logits` has another length, or `f` panics.
pub fn map_rows<I: Sync, T: Send>(
    n_threads: usize,
    logits: &[f32],
    n_vocab: usize,
    items: &[I],
    f: impl Fn(&[f32], &I) -> T + Sync,
) -> Vec<T> {
    assert_eq!(Some(logits.len()), items.len().checked_mul(n_vocab), "a row for each item");
    let per_thread = items.len().div_ceil(n_threads.max(1)).max(1);
    let some = |(logits, items): (&[f32], &[I])| -> Vec<T> {
        logits.chunks_exact(n_vocab.max(1)).zip(items).map(|(row, item)| f(row, item)).collect()
    };
    let mut pieces = logits.chunks((per_thread * n_vocab).max(1)).zip(items.chunks(per_thread));
    let Some(mine) = pieces.next() else { return Vec::new() };
    thread::scope(|scope| {
        let some = &some;
        // Where the system gives no more threads, this one does their work.
        let others: Vec<_> = pieces
            .map(|piece| {
                thread::Builder::new()
                    .spawn_scoped(scope, move || some(piece))
                    .map_err(|_| some(piece))
            })
            .collect();
        let mut results = some(mine);
        for other in others {
            results.extend(match other {
                Ok(handle) => handle.join().unwrap_or_else(|e| panic::resume_unwind(e)),
                Err(done) => done,
            });
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::map_rows;

    #[test]
    fn threads_change_nothing() {
        let logits: Vec<f32> = (0..21).map(|i| i as f32).collect();
        let items = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0];
        let wanted: Vec<f32> = (0..7).map(|i| 9.0 * i as f32 + 3.0 + items[i]).collect();
        for n_threads in [0, 1, 2, 3, 7, 100] {
            let sums =
                map_rows(n_threads, &logits, 3, &items, |row, item| row.iter().sum::<f32>() + item);
            assert_eq!(sums, wanted, "{n_threads} threads");
        }
        assert_eq!(map_rows(2, &[], 3, &[0_u8; 0], |_, _| ()), []);
    }
}
