//! Laws of the threshold operators.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use diffprune_softtopk::{
    GumbelNoise, GumbelTopKInput, K, SoftTopK, SoftTopKConfig, SoftTopKError, SoftTopKInput, SoftTopKOutput,
    Solver, SteBackward, Tau, ThresholdKind, gumbel_noise, gumbel_topk_ste, hard_topk, hard_topk_mask,
    validate, z_score,
};
use diffprune_test_support::cases;
use proptest::prelude::*;

use crate::is_derivative;

const KINDS: [ThresholdKind; 5] = ThresholdKind::ALL;
const SOLVERS: [Solver; 2] = [Solver::Host, Solver::Tensor];

pub(crate) fn row(values: &[f64], dtype: DType) -> Tensor<2> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), [1, values.len()]),
        (&Device::flex(), dtype),
    )
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn operator(kind: ThresholdKind, solver: Solver) -> SoftTopK {
    SoftTopKConfig::new()
        .with_kind(kind)
        .with_solver(solver)
        .with_z_score(false)
        .init()
}

pub(crate) fn input(scores: Tensor<2>, k: f64, tau: f64) -> SoftTopKInput {
    SoftTopKInput {
        scores,
        k: k.into(),
        tau: tau.into(),
        mask: None,
    }
}

fn solve(kind: ThresholdKind, solver: Solver, scores: &[f64], k: f64, tau: f64) -> SoftTopKOutput {
    operator(kind, solver).forward(input(row(scores, DType::F64), k, tau))
}

fn every(mut check: impl FnMut(ThresholdKind, Solver)) {
    for kind in KINDS {
        SOLVERS.into_iter().for_each(|solver| check(kind, solver));
    }
}

/// Scores, a budget strictly between 0 and their number, and a temperature.
fn problem() -> impl Strategy<Value = (Vec<f64>, f64, f64)> {
    (
        prop::collection::vec(-8.0..8.0_f64, 2..80),
        0.01..0.99_f64,
        -2.0..1.0_f64,
    )
        .prop_map(|(scores, share, log_tau)| {
            (scores.clone(), share * scores.len() as f64, 10_f64.powf(log_tau))
        })
}

pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()))
}

/// The most that rounding may move a weight when sums are taken in another order or by another solver, and when every
/// score has been moved by `shift`, in units of the rounding of 1: a weight is a few operations, a sum of `n` weights is
/// known to `n`, a score to its largest size over the temperature, and a weight moves at most one and a half times as
/// fast as its score in temperatures.
fn rounding(scores: &[f64], tau: f64, shift: f64) -> f64 {
    let largest = scores.iter().fold(0.0, |most: f64, s| most.max(s.abs())) + shift.abs();
    16.0 * f64::EPSILON * (4.0 + scores.len() as f64 + largest / tau)
}

/// Standard deviation.
pub(crate) fn spread(scores: &[f64]) -> f64 {
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n).sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48)))]

    #[test]
    fn weights_are_gates_that_meet_the_budget_in_f32((scores, k, tau) in problem()) {
        every(|kind, solver| {
            let output = operator(kind, solver).forward(input(row(&scores, DType::F32), k, tau));
            let (weights, complement) = (values(output.weights), values(output.complement));
            for gates in [&weights, &complement] {
                assert!(gates.iter().all(|a| (0.0..=1.0).contains(a)), "{kind:?} {solver:?}: {gates:?}");
            }
            let missed = (weights.iter().sum::<f64>() - k).abs();
            assert!(missed <= 1e-5 * scores.len() as f64, "{kind:?} {solver:?}: missed by {missed:e}");
            let sums: Vec<f64> = weights.iter().zip(&complement).map(|(a, b)| a + b - 1.0).collect();
            assert!(distance(&sums, &vec![0.0; sums.len()]) < 1e-6);
        });
    }

    #[test]
    fn both_solvers_agree((scores, k, tau) in problem()) {
        for kind in KINDS {
            let [host, tensor] = SOLVERS.map(|solver| solve(kind, solver, &scores, k, tau));
            let bound = rounding(&scores, tau, 0.0);
            let far = distance(&values(host.weights), &values(tensor.weights));
            prop_assert!(far <= bound, "{kind:?}: {far:e} of {bound:e}");
            let far = distance(&values(host.complement), &values(tensor.complement));
            prop_assert!(far <= bound, "{kind:?}: {far:e} of {bound:e}");
        }
    }

    #[test]
    fn order_is_kept_and_only_differences_count((scores, k, tau) in problem(), shift in -1e3..1e3_f64) {
        every(|kind, solver| {
            let weights = values(solve(kind, solver, &scores, k, tau).weights);
            for (i, j) in (0..scores.len()).flat_map(|i| (0..scores.len()).map(move |j| (i, j))) {
                assert!(scores[i] > scores[j] || weights[i] <= weights[j]);
            }
            let moved: Vec<f64> = scores.iter().map(|s| s + shift).collect();
            let moved = values(solve(kind, solver, &moved, k, tau).weights);
            let (far, bound) = (distance(&weights, &moved), rounding(&scores, tau, shift));
            assert!(far <= bound, "{kind:?} {solver:?}: {far:e} of {bound:e}");
        });
    }

    #[test]
    fn weights_follow_a_permutation((scores, k, tau) in problem(), turn in 1..40_usize) {
        every(|kind, solver| {
            let mut weights = values(solve(kind, solver, &scores, k, tau).weights);
            let mut turned = scores.clone();
            turned.rotate_left(turn % scores.len());
            turned.reverse();
            weights.rotate_left(turn % scores.len());
            weights.reverse();
            let turned = values(solve(kind, solver, &turned, k, tau).weights);
            let (far, bound) = (distance(&weights, &turned), rounding(&scores, tau, 0.0));
            assert!(far <= bound, "{kind:?} {solver:?}: {far:e} of {bound:e}");
        });
    }

    #[test]
    fn the_sharp_limit_is_hard_top_k(order in Just((0..30_i32).collect::<Vec<_>>()).prop_shuffle(), k in 1..30_usize) {
        let scores: Vec<f64> = order.iter().map(|&i| 0.1 * f64::from(i)).collect();
        let hard = values(hard_topk_mask(row(&scores, DType::F64), k, None));
        every(|kind, solver| {
            let soft = values(solve(kind, solver, &scores, k as f64, 1e-3).weights);
            assert!(distance(&soft, &hard) < 1e-9, "{kind:?} {solver:?}");
        });
    }

    #[test]
    fn gradients_equal_finite_differences((scores, k, tau) in problem(), seed in 0..1000_u64) {
        let tau = tau.max(0.05);
        let up = values(gumbel_noise([1, scores.len()], seed, &Device::flex()));
        every(|kind, solver| {
            let loss = |scores: &[f64], k: f64, tau: f64| -> f64 {
                let weights = values(solve(kind, solver, scores, k, tau).weights);
                weights.iter().zip(&up).map(|(a, v)| a * v).sum()
            };
            let device = Device::flex().autodiff();
            let tracked = row(&scores, DType::F64).autodiff().require_grad();
            let k_tracked = Tensor::<1>::full([1], k, (&device, DType::F64)).require_grad();
            let tau_tracked = Tensor::<1>::full([1], tau, (&device, DType::F64)).require_grad();
            let output = operator(kind, solver).forward(SoftTopKInput {
                scores: tracked.clone(),
                k: K::Rows(k_tracked.clone()),
                tau: Tau::Rows(tau_tracked.clone()),
                mask: None,
            });
            let grads = (output.weights * row(&up, DType::F64)).sum().backward();
            let rounding = rounding(&scores, tau, 0.0) * up.iter().map(|v| v.abs()).sum::<f64>();
            let check = |what: &str, found: f64, at: f64, f: &dyn Fn(f64) -> f64| {
                let tolerance = |slope: f64| 1e-5 * (1.0 + slope) / (tau * tau);
                assert!(is_derivative(found, f, at, tolerance, rounding), "{kind:?} {solver:?} {what}: {found}");
            };
            let found = values(tracked.grad(&grads).unwrap());
            for i in (0..scores.len()).step_by(7) {
                let with = |score: f64| {
                    let mut moved = scores.clone();
                    moved[i] = score;
                    loss(&moved, k, tau)
                };
                check("score", found[i], scores[i], &with);
            }
            let found = values(k_tracked.grad(&grads).unwrap())[0];
            check("k", found, k, &|k| loss(&scores, k, tau));
            let found = values(tau_tracked.grad(&grads).unwrap())[0];
            check("tau", found, tau, &|tau| loss(&scores, k, tau));
        });
    }

    #[test]
    fn masked_tokens_are_as_if_absent((scores, k, tau) in problem(), holes in prop::collection::vec(any::<bool>(), 80)) {
        let real: Vec<bool> = (0..scores.len()).map(|i| i == 0 || !holes[i]).collect();
        let compact: Vec<f64> = scores.iter().zip(&real).filter(|(_, real)| **real).map(|(s, _)| *s).collect();
        let k = k * compact.len() as f64 / scores.len() as f64;
        let dirty: Vec<f64> = scores.iter().zip(&real).map(|(s, real)| if *real { *s } else { f64::NAN }).collect();
        let mask = Tensor::<2, Bool>::from_data(TensorData::new(real.clone(), [1, real.len()]), &Device::flex());
        every(|kind, solver| {
            for z in [false, true] {
                let operator = SoftTopKConfig::new().with_kind(kind).with_solver(solver).with_z_score(z).init();
                let wanted = operator.forward(input(row(&compact, DType::F64), k, tau));
                let scores = row(&dirty, DType::F64).autodiff().require_grad();
                let mut masked = input(scores.clone(), k, tau);
                masked.mask = Some(mask.clone());
                let found = operator.forward(masked);
                let pick = |x: Tensor<2>| -> Vec<f64> {
                    values(x).into_iter().zip(&real).filter(|(_, real)| **real).map(|(x, _)| x).collect()
                };
                // The z-score divides by the spread of the scores, which may be small.
                let spread = if z { spread(&compact).min(1.0) } else { 1.0 };
                let bound = rounding(&compact, tau * spread, 0.0);
                let far = distance(&pick(found.weights.clone()), &values(wanted.weights));
                assert!(far <= bound, "{kind:?} {solver:?}: {far:e} of {bound:e}");
                let far = distance(&pick(found.complement.clone()), &values(wanted.complement));
                assert!(far <= bound, "{kind:?} {solver:?}: {far:e} of {bound:e}");
                let index = row(&(0..real.len()).map(|i| i as f64).collect::<Vec<_>>(), DType::F64);
                let total = (found.weights.clone() * index).sum() + found.argument.sum() * 0.1;
                let grad = values(scores.grad(&total.backward()).unwrap());
                for (i, real) in real.iter().enumerate() {
                    assert!(grad[i].is_finite() && (*real || grad[i] == 0.0));
                }
                let hidden: Vec<f64> = values(found.weights).into_iter().zip(&real).filter(|(_, r)| !**r).map(|(x, _)| x).collect();
                assert!(hidden.iter().all(|a| *a == 0.0));
            }
        });
    }
}

fn batch(rows: [[f64; 5]; 3]) -> Tensor<2> {
    Tensor::from_data(TensorData::from(rows), (&Device::flex(), DType::F64))
}

#[test]
fn rows_are_independent_with_their_own_budget_and_temperature() {
    let rows = [
        [0.3, -1.0, 2.0, 0.7, 0.1],
        [5.0, 5.0, 5.0, 1.0, 1.0],
        [-3.0, 9.0, 0.0, 0.5, 0.25],
    ];
    let (k, tau) = ([1.5, 2.0, 4.5], [0.5, 0.1, 2.0]);
    let per_row = |x: [f64; 3]| Tensor::<1>::from_data(TensorData::from(x), (&Device::flex(), DType::F64));
    every(|kind, solver| {
        let all = SoftTopKInput {
            scores: batch(rows),
            k: K::Rows(per_row(k)),
            tau: Tau::Rows(per_row(tau)),
            mask: None,
        };
        let all = values(operator(kind, solver).forward(all).weights);
        for (i, scores) in rows.iter().enumerate() {
            let alone = values(solve(kind, solver, scores, k[i], tau[i]).weights);
            assert!(distance(&all[5 * i..5 * i + 5], &alone) < 1e-13);
        }
    });
}

#[test]
fn budgets_at_and_beyond_the_ends_fix_the_gates() {
    let rows = [[0.3, -1.0, 2.0, 0.7, 0.1]; 3];
    let k = Tensor::<1>::from_data(TensorData::from([5.0, 0.0, 7.0]), (&Device::flex(), DType::F64));
    every(|kind, solver| {
        let scores = batch(rows).autodiff().require_grad();
        let output = operator(kind, solver).forward(SoftTopKInput {
            scores: scores.clone(),
            k: K::Rows(k.clone()),
            tau: 0.2.into(),
            mask: None,
        });
        let weights = values(output.weights.clone());
        let wanted = [[1.0; 5], [0.0; 5], [1.0; 5]].concat();
        assert_eq!(weights, wanted, "{kind:?} {solver:?}");
        let closed: Vec<f64> = wanted.iter().map(|a| 1.0 - a).collect();
        assert_eq!(values(output.complement), closed);
        assert!(values(output.threshold).iter().all(|x| x.is_finite()));
        let grads = (output.weights.sum() + output.argument.sum()).backward();
        assert!(values(scores.grad(&grads).unwrap()).iter().all(|g| *g == 0.0));
    });
}

#[test]
fn the_complement_keeps_its_digits_and_flat_rows_have_zero_gradients() {
    every(|kind, solver| {
        // Both sides at 60 temperatures from the threshold.
        let scores = row(&[60.0, 60.0, -60.0, -60.0], DType::F32)
            .autodiff()
            .require_grad();
        let output = operator(kind, solver).forward(input(scores.clone(), 2.0, 1.0));
        let complement = values(output.complement.clone());
        let reaches_one = kind.supports_vp_noise().is_err();
        assert!(reaches_one || complement[0] > 0.0, "{complement:?}");
        assert!((0.0..1e-20).contains(&complement[0]), "{complement:?}");
        let grads = (output.weights * row(&[1.0, 2.0, 3.0, 5.0], DType::F32))
            .sum()
            .backward();
        let grads = values(scores.grad(&grads).unwrap());
        assert!(grads.iter().all(|g| g.abs() < 1e-6), "{grads:?}");

        let scores = row(&[4000.0, 4000.0, -4000.0, -4000.0], DType::F32)
            .autodiff()
            .require_grad();
        let output = operator(kind, solver).forward(input(scores.clone(), 2.0, 1.0));
        let weights = values(output.weights.clone());
        // Where f32 underflows the threshold may lie anywhere between.
        assert!(
            distance(&weights, &[1.0, 1.0, 0.0, 0.0]) < 1e-30,
            "{kind:?} {solver:?}: {weights:?}"
        );
        let grads = (output.weights * row(&[1.0, 2.0, 3.0, 5.0], DType::F32))
            .sum()
            .backward();
        assert!(distance(&values(scores.grad(&grads).unwrap()), &[0.0; 4]) < 1e-30);
    });
}

#[test]
fn nan_and_senseless_settings_do_not_panic() {
    every(|kind, solver| {
        let weights = values(solve(kind, solver, &[0.5, f64::NAN, 2.0, 1.0], 2.0, 0.3).weights);
        assert!(
            weights.iter().all(|a| a.is_nan()),
            "{kind:?} {solver:?}: {weights:?}"
        );
        let scores = [0.5, -1.0, 2.0, 1.0];
        for (k, tau) in [
            (2.0, 0.0),
            (2.0, -1.0),
            (2.0, f64::NAN),
            (f64::NAN, 1.0),
            (2.0, f64::INFINITY),
        ] {
            assert_eq!(values(solve(kind, solver, &scores, k, tau).weights).len(), 4);
        }
        let mut padding = input(row(&scores, DType::F64), 2.0, 0.3);
        padding.mask = Some(Tensor::from_data(TensorData::from([[false; 4]]), &Device::flex()));
        let output = operator(kind, solver).forward(padding);
        assert_eq!(values(output.weights), [0.0; 4]);
        assert_eq!(values(output.complement), [1.0; 4]);
    });
}

#[test]
fn a_million_scores_meet_the_budget() {
    let n = 1_000_000;
    let scores = gumbel_noise([1, n], 3, &Device::flex());
    for kind in KINDS {
        let output =
            SoftTopKConfig::new()
                .with_kind(kind)
                .init()
                .forward(input(scores.clone(), 64_000.0, 0.1));
        let total: f64 = values(output.weights).iter().sum();
        assert!((total - 64_000.0).abs() < 1e-6 * n as f64, "{total}");
    }
}

#[test]
fn half_precision_is_raised() {
    let scores = row(&[0.5, -0.25, 1.5, 0.0], DType::F32);
    let half = scores.clone().cast(DType::F16).autodiff().require_grad();
    let operator = SoftTopKConfig::new().init();
    let output = operator.forward(input(half.clone(), 2.0, 0.3));
    assert_eq!(output.weights.dtype(), DType::F32);
    let wanted = operator.forward(input(scores, 2.0, 0.3));
    assert!(distance(&values(output.weights.clone()), &values(wanted.weights)) < 1e-6);
    let grads = output.weights.slice([0..1, 0..1]).sum().backward();
    assert_eq!(half.grad(&grads).unwrap().dtype(), DType::F16);
}

#[test]
fn z_score_has_mean_0_and_variance_1() {
    let z = values(z_score(row(&[1.0, 2.0, 4.0, 9.0], DType::F64), None, 1e-12));
    assert!(z.iter().sum::<f64>().abs() < 1e-12);
    assert!((z.iter().map(|x| x * x).sum::<f64>() / 4.0 - 1.0).abs() < 1e-9);
    assert_eq!(
        values(z_score(row(&[3.0, 3.0, 3.0], DType::F64), None, 1e-6)),
        [0.0; 3]
    );
}

#[test]
fn gumbel_gradient_is_the_soft_jacobian_at_the_perturbed_scores() {
    let scores = [0.1, 0.9, -0.4, 1.3, 0.2];
    let noise = row(&values(gumbel_noise([1, 5], 11, &Device::flex())), DType::F64);
    let up = row(&[1.0, -2.0, 0.5, 3.0, 1.5], DType::F64);
    let tracked = row(&scores, DType::F64).autodiff().require_grad();
    let backward = SteBackward::SoftTopK {
        kind: ThresholdKind::Laplace,
        tau: 0.7,
    };
    let gumbel = |scores: &Tensor<2>, noise: GumbelNoise| {
        gumbel_topk_ste(GumbelTopKInput {
            scores: scores.clone(),
            k: 2,
            noise,
            backward,
            mask: None,
        })
    };
    let mask = gumbel(&tracked, GumbelNoise::Given(noise.clone()));
    assert_eq!(
        values(mask.clone()),
        values(hard_topk_mask(tracked.clone() + noise.clone(), 2, None))
    );
    let found = values(
        tracked
            .grad(&(mask.clone() * up.clone()).sum().backward())
            .unwrap(),
    );

    let perturbed = (row(&scores, DType::F64) + noise).autodiff().require_grad();
    let soft = operator(ThresholdKind::Laplace, Solver::Host).forward(input(perturbed.clone(), 2.0, 0.7));
    let wanted = values(perturbed.grad(&(soft.weights * up).sum().backward()).unwrap());
    assert!(distance(&found, &wanted) < 1e-14);

    let seeded = |seed| values(gumbel(&tracked, GumbelNoise::Seed(seed)));
    assert_eq!(seeded(11), values(mask));
    assert!((0..20).any(|seed| seeded(seed) != seeded(11)));
}

#[test]
fn hard_top_k_indices_are_ascending_and_point_at_the_highest() {
    let scores = gumbel_noise([4, 200], 5, &Device::flex());
    let indices: Tensor<2, Int> = hard_topk(scores.clone(), 31, None);
    let rows = values(scores);
    let found: Vec<i64> = indices.into_data().iter::<i64>().collect();
    for (row, found) in rows.chunks(200).zip(found.chunks(31)) {
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        let least = found
            .iter()
            .map(|&i| row[i as usize])
            .fold(f64::INFINITY, f64::min);
        assert_eq!(row.iter().filter(|s| **s >= least).count(), 31);
    }
}

#[test]
fn wrong_input_is_named() {
    let good = input(row(&[0.0, 1.0], DType::F32), 1.0, 0.5);
    assert_eq!(validate(&good), Ok(()));
    let with = |change: fn(&mut SoftTopKInput)| {
        let mut bad = good.clone();
        change(&mut bad);
        validate(&bad)
    };
    assert_eq!(
        with(|x| x.k = K::Batch(0.0)),
        Err(SoftTopKError::Budget { row: 0, found: 0.0 })
    );
    assert_eq!(
        with(|x| x.tau = Tau::Batch(-1.0)),
        Err(SoftTopKError::Temperature { row: 0, found: -1.0 })
    );
    let nan = with(|x| x.scores = row(&[0.0, f64::NAN], DType::F32));
    assert!(matches!(nan, Err(SoftTopKError::Score { row: 0, token: 1, .. })));
    let three = with(|x| x.k = K::Rows(Tensor::from_floats([1.0, 1.0, 1.0], &Device::flex())));
    assert!(matches!(three, Err(SoftTopKError::Shape { what: "k", .. })));
    let message = with(|x| x.k = K::Batch(0.0)).unwrap_err().to_string();
    assert!(
        message.contains("row 0") && message.contains("raise the budget"),
        "{message}"
    );
}
