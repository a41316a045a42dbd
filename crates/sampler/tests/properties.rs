//! What holds for any logits and any parameters. The cases are seeded: every run is the same.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use sampler::{
    Candidate, Candidates, DryBreaker, Params, ParamsError, SampleError, Sampler, Stage,
};
use std::collections::HashSet;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        rng_seed: RngSeed::Fixed(20_240_229),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Logits without NaN and +infinity, at least one of them finite: ordinary, extreme, tied, banned.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        8 => -20.0..20.0_f32,
        2 => (-3..3_i8).prop_map(f32::from),
        1 => Just(f32::NEG_INFINITY),
        1 => any::<f32>().prop_filter("finite", |x| x.is_finite()),
        1 => prop_oneof![Just(f32::MAX), Just(f32::MIN), Just(1e-45), Just(-0.0), Just(0.0)],
    ];
    prop_oneof![
        9 => prop::collection::vec(logit.clone(), 1..40),
        1 => prop::collection::vec(logit, 200..400),
    ]
    .prop_filter("one finite", |logits| logits.iter().any(|l| l.is_finite()))
}

fn stage() -> impl Strategy<Value = Stage> {
    let rare = prop_oneof![9 => Just(None), 1 => Just(Some(Stage::AdaptiveP))];
    let common = prop::sample::select(Stage::DEFAULT_ORDER.to_vec());
    (common, rare).prop_map(|(common, rare)| rare.unwrap_or(common))
}

/// DRY, XTC, top-n-sigma, mirostat and adaptive-p on top of other parameters.
fn newer(params: Params) -> impl Strategy<Value = Params> {
    let dry = (mostly(-1.0..3.0), mostly(1.0..4.0), 0..4_i32, 0..10_i32);
    let breaker = (0..8_u32, prop::collection::vec(0..8_u32, 0..3))
        .prop_map(|(head, tail)| DryBreaker { head, tail });
    let breakers = prop::collection::vec(breaker, 0..3);
    let cuts = (mostly(0.0..4.0), mostly(0.0..1.0), mostly(0.0..0.6));
    let mirostat = prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(2)];
    let mirostat = (mirostat, mostly(0.0..8.0), mostly(0.0..2.0));
    let adaptive = (mostly(-0.2..1.0), mostly(0.0..0.99));
    (dry, breakers, cuts, mirostat, adaptive).prop_map(
        move |(dry, dry_breakers, cuts, mirostat, adaptive)| Params {
            dry_multiplier: dry.0,
            dry_base: dry.1,
            dry_allowed_length: dry.2,
            dry_penalty_last_n: dry.3,
            dry_breakers,
            top_n_sigma: cuts.0,
            xtc_probability: cuts.1,
            xtc_threshold: cuts.2,
            mirostat: mirostat.0,
            mirostat_tau: mirostat.1,
            mirostat_eta: mirostat.2,
            adaptive_target: adaptive.0,
            adaptive_decay: adaptive.1,
            ..params.clone()
        },
    )
}

/// Mostly numbers from a range, sometimes any at all: NaN, infinities, negative ones.
fn mostly(range: std::ops::Range<f32>) -> impl Strategy<Value = f32> {
    prop_oneof![12 => range, 1 => any::<f32>(), 2 => Just(0.0), 2 => Just(1.0)]
}

/// Parameters, not all of them legal.
fn params() -> impl Strategy<Value = Params> {
    prop_oneof![1 => older(), 1 => older().prop_flat_map(newer)]
}

/// Those of the default chain.
fn older() -> impl Strategy<Value = Params> {
    let temps = (mostly(0.0..2.0), mostly(0.0..2.0), mostly(0.0..4.0));
    let cuts = (-1..50_i32, mostly(0.0..1.0), mostly(0.0..1.0), mostly(0.0..1.0), 0..10_usize);
    let penalties = (0..10_i32, mostly(0.1..3.0), mostly(-2.0..2.0), mostly(-2.0..2.0));
    let bias = prop_oneof![9 => mostly(-9.0..9.0), 1 => Just(f32::NEG_INFINITY)];
    let bias = prop::collection::vec((0..45_u32, bias), 0..4);
    let order = prop_oneof![
        Just(Stage::DEFAULT_ORDER.to_vec()),
        Just(Stage::DEFAULT_ORDER.to_vec()).prop_shuffle(),
        prop::collection::vec(stage(), 0..6)
    ];
    (any::<u32>(), temps, cuts, penalties, bias, order).prop_map(
        |(seed, temps, cuts, penalties, logit_bias, order)| Params {
            seed,
            temp: temps.0,
            dynatemp_range: temps.1,
            dynatemp_exponent: temps.2,
            top_k: cuts.0,
            top_p: cuts.1,
            min_p: cuts.2,
            typical_p: cuts.3,
            min_keep: cuts.4,
            penalty_last_n: penalties.0,
            penalty_repeat: penalties.1,
            penalty_freq: penalties.2,
            penalty_present: penalties.3,
            logit_bias,
            order,
            ..Params::default()
        },
    )
}

/// A sampler that has seen some tokens, one of them outside of any vocabulary.
fn sampler(params: &Params, logits: &[f32]) -> Result<Sampler, ParamsError> {
    let mut sampler = Sampler::new(params.clone(), logits.len())?;
    [0, 1, 1, u32::MAX, 5, 0].into_iter().for_each(|id| sampler.accept(id));
    Ok(sampler)
}

/// What must hold after every stage.
fn assert_sound(stage: &str, candidates: &Candidates, n_vocab: usize) {
    let all: Vec<Candidate> = candidates.iter().collect();
    assert_eq!(all.len(), candidates.len(), "{stage}: number of candidates");
    let ids: HashSet<u32> = all.iter().map(|c| c.id).collect();
    assert_eq!(ids.len(), all.len(), "{stage}: an id twice");
    assert!(ids.iter().all(|id| (*id as usize) < n_vocab), "{stage}: an id out of range");
    assert!(all.iter().all(|c| c.logit < f32::INFINITY), "{stage}: NaN or inf: {all:?}");
    assert!(all.iter().any(|c| c.logit.is_finite()), "{stage}: nothing finite: {all:?}");
    assert!(all.iter().all(|c| (0.0..=1.0).contains(&c.p)), "{stage}: probabilities: {all:?}");
    let descends = all.is_sorted_by(|a, b| a.logit >= b.logit);
    assert!(descends || !candidates.is_sorted(), "{stage}: not sorted: {all:?}");
}

fn legal_parameters_pick_a_candidate(params: &Params, logits: &[f32]) {
    let Ok(mut sampler) = sampler(params, logits) else { return };
    let mut banned: HashSet<u32> = params.logit_bias.iter().map(|bias| bias.0).collect();
    banned.retain(|id| params.logit_bias.contains(&(*id, f32::NEG_INFINITY)));
    banned.extend((0..).zip(logits).filter(|(_, logit)| !logit.is_finite()).map(|(id, _)| id));
    for _ in 0..3 {
        let mut trace = |stage: &str, c: &Candidates| assert_sound(stage, c, logits.len());
        let result = sampler.sample_traced(logits, &mut trace);
        if banned.len() == logits.len() {
            assert_eq!(result, Err(SampleError::AllBanned), "nothing is left");
            continue;
        }
        let id = result.expect("something is left");
        assert!(!banned.contains(&id), "{id} is banned");
        let picked = sampler.candidates().iter().find(|c| c.id == id);
        assert!(picked.is_some_and(|c| c.logit.is_finite()), "{id} is no candidate: {picked:?}");
        let sum: f64 = sampler.candidates().iter().map(|c| f64::from(c.p)).sum();
        assert!((sum - 1.0).abs() < 1e-4, "the probabilities add up to {sum}");
    }
}

fn looking_changes_nothing(params: &Params, logits: &[f32]) {
    let Ok(mut traced) = sampler(params, logits) else { return };
    let mut plain = traced.clone();
    let mut n_seen = 0;
    for _ in 0..3 {
        let seen = traced.sample_traced(logits, &mut |_, c| n_seen += c.iter().count());
        assert_eq!(seen, plain.sample(logits), "after looking at {n_seen}");
    }
    assert!(traced.candidates().iter().eq(plain.candidates().iter()), "the candidates left");
}

fn reset_starts_over(params: &Params, logits: &[f32]) {
    let params = Params { seed: params.seed.min(Params::RANDOM_SEED - 1), ..params.clone() };
    let Ok(mut used) = Sampler::new(params.clone(), logits.len()) else { return };
    let picks = |s: &mut Sampler| (0..4).map(|_| s.sample(logits)).collect::<Vec<_>>();
    let first = picks(&mut used);
    used.reset();
    assert_eq!(first, picks(&mut used), "after a reset");
    let mut second = Sampler::new(params, logits.len()).unwrap();
    assert_eq!(first, picks(&mut second), "of a second sampler");
}

fn biases_of_different_tokens_commute(mut params: Params, logits: &[f32]) {
    params.logit_bias.sort_by_key(|bias| bias.0);
    params.logit_bias.dedup_by_key(|bias| bias.0);
    let Ok(mut forward) = sampler(&params, logits) else { return };
    params.logit_bias.reverse();
    params.seed = forward.seed();
    let mut backward = sampler(&params, logits).unwrap();
    assert_eq!(forward.sample(logits), backward.sample(logits), "{:?}", params.logit_bias);
}

fn greedy_takes_the_lowest_id_of_the_highest(params: Params, logits: &[f32]) {
    // What cuts by rank or by share of the highest never cuts the highest.
    let mut params = Params {
        temp: 0.0,
        dynatemp_range: 0.0,
        typical_p: 1.0,
        penalty_last_n: 0,
        penalty_repeat: 1.0,
        dry_multiplier: 0.0,
        xtc_probability: 0.0,
        logit_bias: Vec::new(),
        ..params
    };
    params.order.push(Stage::Temperature);
    let Ok(mut sampler) = Sampler::new(params, logits.len()) else { return };
    let expected = highest_first(logits)[0];
    for _ in 0..2 {
        assert_eq!(sampler.sample(logits), Ok(expected), "of {logits:?}");
    }
}

fn top_k_is_the_front_of_the_order(logits: &[f32], k: i32) {
    // A temperature of 0.5 doubles all, which changes no order as long as nothing overflows, but
    // writes the list out: another way to the same end.
    let logits: Vec<f32> =
        logits.iter().map(|l| if l.is_finite() { l.clamp(-1e30, 1e30) } else { *l }).collect();
    let logits = logits.as_slice();
    let mut expected = highest_first(logits);
    expected.truncate(usize::try_from(k).unwrap());
    for order in [vec![Stage::TopK], vec![Stage::Temperature, Stage::TopK]] {
        let params = Params { top_k: k, temp: 0.5, order, ..Params::default() };
        let mut sampler = Sampler::new(params, logits.len()).unwrap();
        sampler.sample(logits).unwrap();
        assert!(sampler.candidates().iter().map(|c| c.id).eq(expected.iter().copied()), "top {k}");
    }
}

/// All ids by descending logit, equal logits by ascending id.
fn highest_first(logits: &[f32]) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..).take(logits.len()).collect();
    let logit = |id: &u32| logits[*id as usize];
    ids.sort_by(|a, b| logit(b).partial_cmp(&logit(a)).unwrap());
    ids
}

/// The properties above under proptest, which formats badly and so holds no more than calls.
mod any {
    use super::*;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn legal_parameters_pick_a_candidate(params in params(), logits in logits()) {
            super::legal_parameters_pick_a_candidate(&params, &logits);
        }

        #[test]
        fn looking_changes_nothing(params in params(), logits in logits()) {
            super::looking_changes_nothing(&params, &logits);
        }

        #[test]
        fn reset_starts_over(params in params(), logits in logits()) {
            super::reset_starts_over(&params, &logits);
        }

        #[test]
        fn biases_of_different_tokens_commute(params in params(), logits in logits()) {
            super::biases_of_different_tokens_commute(params, &logits);
        }

        #[test]
        fn greedy_takes_the_lowest_id_of_the_highest(params in params(), logits in logits()) {
            super::greedy_takes_the_lowest_id_of_the_highest(params, &logits);
        }

        #[test]
        fn top_k_is_the_front_of_the_order(logits in logits(), k in 1..300_i32) {
            super::top_k_is_the_front_of_the_order(&logits, k);
        }
    }
}
