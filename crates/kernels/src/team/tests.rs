use super::{Columns, Grid, Schedule, Team};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// More teams and threads than this machine may have CPUs: sleeping paths are taken too.
const SIZES: [usize; 4] = [1, 2, 3, 5];

#[test]
fn every_tid_runs_once_per_job() {
    for n in SIZES {
        let team = Team::new(n).unwrap();
        for round in 0..300 {
            let hits: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
            team.run(&|tid| {
                hits[tid].fetch_add(1, Ordering::Relaxed);
            });
            for (tid, hit) in hits.iter().enumerate() {
                assert_eq!(hit.load(Ordering::Relaxed), 1, "tid {tid} of {n}, round {round}");
            }
        }
    }
}

#[test]
fn workers_that_went_to_sleep_wake_up() {
    let team = Team::new(3).unwrap();
    for pause in [0, 1, 5, 20] {
        std::thread::sleep(Duration::from_millis(pause));
        let count = AtomicUsize::new(0);
        team.run(&|tid| {
            // The caller has to go to sleep too.
            if tid == 2 {
                std::thread::sleep(Duration::from_millis(pause));
            }
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 3, "after {pause} ms");
    }
}

#[test]
fn writes_of_workers_are_visible_to_the_caller_and_the_next_job() {
    let team = Team::new(3).unwrap();
    let mut data = vec![0_u64; 1000];
    for round in 1..200 {
        team.for_chunks_mut(&mut data, 7, &|i, chunk| {
            for (j, x) in chunk.iter_mut().enumerate() {
                *x += (7 * i + j) as u64;
            }
        });
        for (i, &x) in data.iter().enumerate() {
            assert_eq!(x, round * i as u64, "element {i}, round {round}");
        }
    }
}

#[test]
fn a_panic_reaches_the_caller_after_all_parts_and_the_team_lives_on() {
    let team = Team::new(3).unwrap();
    for culprit in 0..3 {
        let finished = AtomicUsize::new(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            team.run(&|tid| {
                if tid == culprit {
                    std::panic::panic_any(tid);
                }
                std::thread::sleep(Duration::from_millis(5));
                finished.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert_eq!(result.unwrap_err().downcast_ref::<usize>(), Some(&culprit));
        assert_eq!(finished.into_inner(), 2, "the others finish");
        let count = AtomicUsize::new(0);
        team.run(&|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 3, "still works");
    }
}

#[test]
fn callers_take_turns() {
    let team = Team::new(2).unwrap();
    let running = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let mine = AtomicUsize::new(0);
                    team.run(&|tid| {
                        if tid == 0 {
                            assert_eq!(
                                running.fetch_add(1, Ordering::SeqCst),
                                0,
                                "two jobs at once"
                            );
                        }
                        mine.fetch_add(1, Ordering::Relaxed);
                        if tid == 0 {
                            running.fetch_sub(1, Ordering::SeqCst);
                        }
                    });
                    assert_eq!(mine.into_inner(), 2);
                }
            });
        }
    });
}

#[test]
fn two_teams_can_nest_but_one_cannot() {
    let (outer, inner) = (Team::new(2).unwrap(), Team::new(2).unwrap());
    let count = AtomicUsize::new(0);
    outer.run(&|_| {
        inner.run(&|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(count.into_inner(), 4);
    let nested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        outer.run(&|_| outer.run(&|_| ()));
    }));
    assert!(nested.is_err(), "a job may not run a job of its own team");
}

#[test]
fn dropping_joins_the_threads() {
    struct OnExit(std::sync::Arc<AtomicUsize>);
    impl Drop for OnExit {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local! {
        static GUARD: std::cell::RefCell<Option<OnExit>> = const { std::cell::RefCell::new(None) };
    }
    let exited = std::sync::Arc::new(AtomicUsize::new(0));
    let team = Team::new(4).unwrap();
    team.run(&|tid| {
        if tid > 0 {
            GUARD.with_borrow_mut(|guard| *guard = Some(OnExit(exited.clone())));
        }
    });
    drop(team);
    assert_eq!(exited.load(Ordering::SeqCst), 3, "all workers have ended");
}

#[test]
fn no_threads_is_an_error() {
    assert!(matches!(Team::new(0), Err(crate::KernelError::Threads { n_threads: 0, .. })));
}

#[test]
fn ranges_cover_everything_once_at_multiples_of_the_grain() {
    for n_threads in SIZES {
        let team = Team::new(n_threads).unwrap();
        for n in [0, 1, 2, 15, 16, 17, 100] {
            for grain in [0, 1, 3, 16, 200] {
                let mut next = 0;
                for tid in 0..n_threads {
                    let range = team.range_of(tid, n, grain);
                    assert_eq!(range.start, next);
                    assert!(range.end == n || range.end.is_multiple_of(grain.max(1)), "{range:?}");
                    next = range.end;
                }
                assert_eq!(next, n);
                let covered = AtomicUsize::new(0);
                team.for_ranges(n, grain, &|range| {
                    assert!(!range.is_empty());
                    covered.fetch_add(range.len(), Ordering::Relaxed);
                });
                assert_eq!(covered.into_inner(), n);
            }
        }
    }
}

#[test]
fn columns_are_cut_into_disjoint_rectangles() {
    for n_threads in SIZES {
        let team = Team::new(n_threads).unwrap();
        for schedule in [Schedule::Static, Schedule::Dynamic] {
            for (n_rows, widths) in [(1, [1, 16]), (3, [40, 7]), (2, [33, 64]), (4, [16, 100])] {
                let mut buffers = widths.map(|n_cols| vec![0.0_f32; n_rows * n_cols]);
                let [a, b] = &mut buffers;
                let columns = [(a, 1), (b, 10)].map(|(data, unit_cost)| Columns {
                    n_cols: data.len() / n_rows,
                    data,
                    unit: 16,
                    unit_cost,
                });
                team.for_columns(columns, schedule, &|i, range, block| {
                    assert!(range.start % 16 == 0 && range.end <= widths[i]);
                    assert_eq!(block.n_rows(), n_rows);
                    for r in 0..n_rows {
                        for (x, col) in block.row(r).iter_mut().zip(range.clone()) {
                            *x += (1 + r * widths[i] + col) as f32;
                        }
                    }
                });
                for buffer in &buffers {
                    for (i, &x) in buffer.iter().enumerate() {
                        assert_eq!(x, (i + 1) as f32, "written once, in its own place");
                    }
                }
            }
        }
    }
}

#[test]
fn a_grid_is_cut_into_disjoint_tiles() {
    for n_threads in SIZES {
        let team = Team::new(n_threads).unwrap();
        for (cuts, n_cols, tile_cols) in [
            (&[0][..], 4, 1),
            (&[0, 1], 1, 4),
            (&[0, 2, 3, 7], 9, 4),
            (&[0, 3, 6, 8], 8, 8),
            (&[0, 1, 2, 3, 4, 5], 6, 1),
        ] {
            let rows: Vec<Range<usize>> = cuts.windows(2).map(|cut| cut[0]..cut[1]).collect();
            let mut data = vec![0.0_f32; cuts[cuts.len() - 1] * n_cols];
            let mut grid = Grid { data: &mut data, n_cols, rows: &rows, tile_cols };
            team.for_grid(&mut grid, &|i, j, block| {
                assert_eq!(block.n_rows(), rows[i].len());
                for r in 0..block.n_rows() {
                    for (c, x) in block.row(r).iter_mut().enumerate() {
                        *x += (1 + (rows[i].start + r) * n_cols + j * tile_cols + c) as f32;
                    }
                }
            });
            for (i, &x) in data.iter().enumerate() {
                assert_eq!(x, (i + 1) as f32, "written once, in its own place");
            }
        }
    }
}

#[test]
fn overlapping_or_missing_tiles_are_refused() {
    let team = Team::new(2).unwrap();
    for rows in [
        &[0..2, 1..4][..],
        &[0..2, 3..4],
        &[0..1, 1..2],
        &[0..1, 1..5],
        &[1..2, 2..4],
        &[0..0, 0..4],
    ] {
        let mut data = [0.0; 8];
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            team.for_grid(
                &mut Grid { data: &mut data, n_cols: 2, rows, tile_cols: 1 },
                &|_, _, _| (),
            );
        }));
        assert!(result.is_err(), "{rows:?}");
    }
}
