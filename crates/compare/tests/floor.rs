//! What counts as noise when two traces say that they round no activations, and when they do not.
#![allow(clippy::unwrap_used, reason = "tests: a failed unwrap is a failed test")]

use compare::{FloorSource, Others, TraceFile, TraceInfo, Values, Writer, compare};
use std::path::Path;

/// A trace of one product and what follows from it, off by `error` times the value in every second element.
fn trace(folder: &Path, name: &str, activations: &str, error: f64) -> TraceFile {
    let path = folder.join(format!("{name}.safetensors"));
    let mut writer = Writer::create(&path, 10).unwrap();
    writer.begin_eval(0, &[1, 2]);
    let exact: Vec<f64> = (0..64).map(|i| f64::from(i * 7 % 64) - 31.5).collect();
    let odd = |i: usize| if i.is_multiple_of(2) { 1.0 } else { 1.0 + error };
    let off: Vec<f64> = exact.iter().enumerate().map(|(i, x)| x * odd(i)).collect();
    writer.node("embd", "GET_ROWS", &[2, 32], Values::F64(&exact)).unwrap();
    writer.node("Qcur-0", "MUL_MAT", &[2, 32], Values::F64(&off)).unwrap();
    let info = TraceInfo {
        engine: name.to_owned(),
        arithmetic: name.to_owned(),
        activations: activations.to_owned(),
        ..TraceInfo::default()
    };
    writer.finish(info).unwrap();
    TraceFile::open(&path).unwrap()
}

#[test]
fn sides_that_round_no_activations_are_held_to_f32_sums() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, activations: &str, error| trace(folder.path(), name, activations, error);
    let (right, noise) = (of("right", "exact", 0.0), of("noise", "exact", 1e-7));
    // An error of 1e-4 is an NMSE of half of 1e-8: far below 8-bit activations, far above f32.
    let [wrong, rounded, close] =
        [of("wrong", "exact", 1e-4), of("rounded", "", 1e-4), of("close", "exact", 1e-6)];
    for others in [Others::default(), Others { noise: Some(&noise), ..Others::default() }] {
        let lockstep = |a| compare(a, &right, others).unwrap().in_lockstep;
        assert_eq!([&wrong, &rounded, &close].map(lockstep), [false, true, true]);
    }
    let floor = |a| compare(a, &right, Others::default()).unwrap().floor;
    assert_eq!(floor(&close), FloorSource::DerivedExact);
    assert_eq!(floor(&rounded), FloorSource::Derived);
}
