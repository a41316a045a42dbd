//! Parameters without a meaning are refused, by name.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use sampler::{Params, SampleError, Sampler};

const N_VOCAB: usize = 100;

/// Name of the parameter that is refused.
#[track_caller]
fn refused(params: Params) -> &'static str {
    Sampler::new(params, N_VOCAB).expect_err("these parameters are to be refused").name
}

#[test]
fn temperature() {
    for temp in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, -f32::MIN_POSITIVE] {
        assert_eq!(refused(Params { temp, ..Params::default() }), "temp", "{temp}");
    }
    for range in [f32::NAN, f32::INFINITY, -0.5] {
        let params = Params { dynatemp_range: range, ..Params::default() };
        assert_eq!(refused(params), "dynatemp_range", "{range}");
    }
    let params = Params { temp: f32::MAX, dynatemp_range: f32::MAX, ..Params::default() };
    assert_eq!(refused(params), "dynatemp_range", "the sum is infinite");
    for exponent in [f32::NAN, f32::INFINITY, -1.0] {
        let params = Params { dynatemp_exponent: exponent, ..Params::default() };
        assert_eq!(refused(params), "dynatemp_exponent", "{exponent}");
    }
}

#[test]
fn cuts() {
    for top_k in [i32::MIN, -2] {
        assert_eq!(refused(Params { top_k, ..Params::default() }), "top_k", "{top_k}");
    }
    for p in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.1, 1.1, 2.0] {
        assert_eq!(refused(Params { top_p: p, ..Params::default() }), "top_p", "{p}");
        assert_eq!(refused(Params { min_p: p, ..Params::default() }), "min_p", "{p}");
        assert_eq!(refused(Params { typical_p: p, ..Params::default() }), "typical_p", "{p}");
    }
}

#[test]
fn penalties() {
    for last_n in [i32::MIN, -1] {
        let params = Params { penalty_last_n: last_n, ..Params::default() };
        assert_eq!(refused(params), "penalty_last_n", "{last_n}");
    }
    for repeat in [f32::NAN, f32::INFINITY, 0.0, -0.0, -1.0, 1e-40] {
        let params = Params { penalty_repeat: repeat, ..Params::default() };
        assert_eq!(refused(params), "penalty_repeat", "{repeat}");
    }
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(refused(Params { penalty_freq: x, ..Params::default() }), "penalty_freq", "{x}");
        let params = Params { penalty_present: x, ..Params::default() };
        assert_eq!(refused(params), "penalty_present", "{x}");
    }
}

#[test]
fn dry() {
    for x in [f32::NAN, f32::INFINITY] {
        let params = Params { dry_multiplier: x, ..Params::default() };
        assert_eq!(refused(params), "dry_multiplier", "{x}");
    }
    for dry_base in [f32::NAN, f32::INFINITY, 0.999, 0.0, -2.0] {
        assert_eq!(refused(Params { dry_base, ..Params::default() }), "dry_base", "{dry_base}");
    }
    let params = Params { dry_allowed_length: -1, ..Params::default() };
    assert_eq!(refused(params), "dry_allowed_length");
    let params = Params { dry_penalty_last_n: -1, ..Params::default() };
    assert_eq!(refused(params), "dry_penalty_last_n");
}

#[test]
fn choices_left_out() {
    for x in [f32::NAN, f32::INFINITY] {
        assert_eq!(refused(Params { top_n_sigma: x, ..Params::default() }), "top_n_sigma", "{x}");
    }
    for p in [f32::NAN, -0.1, 1.1] {
        let params = Params { xtc_probability: p, ..Params::default() };
        assert_eq!(refused(params), "xtc_probability", "{p}");
        let params = Params { xtc_threshold: p, ..Params::default() };
        assert_eq!(refused(params), "xtc_threshold", "{p}");
    }
}

#[test]
fn draws() {
    for mirostat in [-1, 3] {
        assert_eq!(refused(Params { mirostat, ..Params::default() }), "mirostat", "{mirostat}");
    }
    for x in [f32::NAN, f32::INFINITY, -1.0] {
        let params = Params { mirostat_tau: x, ..Params::default() };
        assert_eq!(refused(params), "mirostat_tau", "{x}");
        let params = Params { mirostat_eta: x, ..Params::default() };
        assert_eq!(refused(params), "mirostat_eta", "{x}");
    }
    for target in [f32::NAN, f32::NEG_INFINITY, 1.1] {
        let params = Params { adaptive_target: target, ..Params::default() };
        assert_eq!(refused(params), "adaptive_target", "{target}");
    }
    for decay in [f32::NAN, -0.1, 1.0] {
        let params = Params { adaptive_decay: decay, ..Params::default() };
        assert_eq!(refused(params), "adaptive_decay", "{decay}");
    }
}

#[test]
fn logit_bias() {
    for bias in [(99_999_999, 1.0), (100, 1.0), (0, f32::NAN), (0, f32::INFINITY)] {
        let params = Params { logit_bias: vec![(1, 1.0), bias], ..Params::default() };
        assert_eq!(refused(params), "logit_bias", "{bias:?}");
    }
}

#[test]
fn vocabulary() {
    let name = |n_vocab| Sampler::new(Params::default(), n_vocab).unwrap_err().name;
    assert_eq!(name(0), "n_vocab", "no token");
    assert_eq!(name(usize::MAX), "n_vocab", "ids are 32 bits");
}

#[test]
fn errors_say_what_is_allowed() {
    let params = Params { top_p: f32::NAN, ..Params::default() };
    let error = Sampler::new(params, N_VOCAB).unwrap_err();
    assert_eq!(error.to_string(), "top_p is NaN; must be from 0 to 1");
    let params = Params { logit_bias: vec![(99_999_999, 0.5)], ..Params::default() };
    let error = Sampler::new(params, N_VOCAB).unwrap_err();
    let expected = "logit_bias is 0.5 for token 99999999; must be for a token of the vocabulary";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn hopeless_logits_are_errors_that_change_nothing() {
    let params = Params { seed: 7, ..Params::default() };
    let mut sampler = Sampler::new(params, 3).unwrap();
    let mut untouched = sampler.clone();
    let inf = f32::INFINITY;
    for logits in [[f32::NAN; 3], [1.0, f32::NAN, 2.0], [-inf; 3], [0.0, inf, 0.0]] {
        assert_eq!(sampler.sample(&logits), Err(SampleError::NotFinite), "{logits:?}");
    }
    let wrong = SampleError::WrongLength { expected: 3, found: 2 };
    assert_eq!(sampler.sample(&[1.0, 2.0]), Err(wrong), "two logits");
    for _ in 0..20 {
        let logits = [0.5, 0.25, 0.75];
        assert_eq!(sampler.sample(&logits), untouched.sample(&logits), "no draw was wasted");
    }
}

#[test]
fn banning_every_token_is_an_error() {
    let logit_bias = (0..3).map(|id| (id, f32::NEG_INFINITY)).collect();
    let mut sampler = Sampler::new(Params { logit_bias, ..Params::default() }, 3).unwrap();
    assert_eq!(sampler.sample(&[1.0, 2.0, 3.0]), Err(SampleError::AllBanned));
}

#[test]
fn a_sampler_can_move_between_threads() {
    fn assert_send_sync<T: Send + Sync + 'static>() {}
    assert_send_sync::<Sampler>();
}
