//! Laws of all operators by name, on random input.

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use diffprune_softtopk::{
    K, PerturbNoise, SoftTopKConfig, SoftTopKInput, SoftTopKKind, Tau, ThresholdKind, TopKOperator,
    TopKOperatorConfig, gradtopk, hard_topk_mask, perturbed_topk, policy_softmax, ratio_loss,
};
use diffprune_test_support::{cases, normal, uniform};
use proptest::prelude::*;

use crate::is_derivative;
use crate::threshold::{distance, input, row, spread, values};

fn operator(kind: SoftTopKKind) -> TopKOperator {
    TopKOperatorConfig::new(kind)
        .with_z_score(false)
        .with_n_samples(16)
        .init()
}

fn solve(kind: SoftTopKKind, scores: &[f64], k: f64, tau: f64) -> Vec<f64> {
    values(operator(kind).forward(input(row(scores, DType::F64), k, tau), 5))
}

/// Operators whose weights are a function of scores, budget and temperature.
fn fixed() -> impl Iterator<Item = SoftTopKKind> {
    SoftTopKKind::ALL.into_iter().filter(|kind| !kind.is_random())
}

fn is_relaxed_sort(kind: SoftTopKKind) -> bool {
    matches!(kind, SoftTopKKind::SoftSort | SoftTopKKind::NeuralSort)
}

/// The most that rounding may move a weight when sums are taken in another order, and when every score has been moved by
/// `shift`.
///
/// In units of the rounding of 1: a score is known to its largest size over the temperature, a sum of `n` terms to `n`
/// times its size. A weight moves at most as fast as its score in temperatures. The logits of NeuralSort are sums of `n`
/// differences of scores, and each weight a sum over ranks, so it moves with its own size.
fn rounding(kind: SoftTopKKind, scores: &[f64], weights: &[f64], tau: f64, shift: f64) -> f64 {
    let n = scores.len() as f64;
    let largest = scores.iter().fold(0.0, |most: f64, s| most.max(s.abs())) + shift.abs();
    let score = largest / tau;
    let weight = weights.iter().fold(1.0, |most: f64, a| most.max(*a));
    let moved = match kind {
        SoftTopKKind::NeuralSort => n * n * score,
        _ => n + score,
    };
    8.0 * f64::EPSILON * weight * (n * n + moved)
}

/// Scores, a whole budget strictly between 0 and their number, and a temperature.
fn problem() -> impl Strategy<Value = (Vec<f64>, f64, f64)> {
    (
        prop::collection::vec(-6.0..6.0_f64, 2..40),
        0.0..1.0_f64,
        -1.3..1.0_f64,
    )
        .prop_map(|(scores, share, log_tau)| {
            let n = scores.len();
            let k = 1 + (share * (n - 1) as f64) as usize;
            (scores, k.min(n - 1) as f64, 10_f64.powf(log_tau))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(32)))]

    #[test]
    fn mass_and_range_are_as_promised((scores, k, tau) in problem(), dtype in prop::sample::select(vec![DType::F64, DType::F32])) {
        for kind in SoftTopKKind::ALL {
            let weights = values(operator(kind).forward(input(row(&scores, dtype), k, tau), 3));
            let missed = (weights.iter().sum::<f64>() - k).abs();
            prop_assert!(!kind.sums_to_budget() || missed < 2e-6 * scores.len() as f64, "{kind}: {missed:e}");
            prop_assert!(weights.iter().all(|a| *a >= 0.0), "{kind}: {weights:?}");
            prop_assert!(!kind.stays_below_one() || weights.iter().all(|a| *a <= 1.0), "{kind}: {weights:?}");
        }
    }

    #[test]
    fn order_is_kept_and_only_differences_count((scores, k, tau) in problem(), shift in -100.0..100.0_f64) {
        for kind in fixed() {
            let weights = solve(kind, &scores, k, tau);
            for (i, j) in (0..scores.len()).flat_map(|i| (0..scores.len()).map(move |j| (i, j))) {
                let ordered = scores[i] > scores[j] || weights[i] <= weights[j] + rounding(kind, &scores, &weights, tau, 0.0);
                prop_assert!(is_relaxed_sort(kind) || ordered, "{kind}");
            }
            let moved: Vec<f64> = scores.iter().map(|s| s + shift).collect();
            let far = distance(&weights, &solve(kind, &moved, k, tau));
            prop_assert!(far <= rounding(kind, &scores, &weights, tau, shift), "{kind}: {far:e}");
        }
    }

    #[test]
    fn weights_follow_a_permutation((scores, k, tau) in problem(), turn in 1..40_usize) {
        for kind in fixed() {
            let mut weights = solve(kind, &scores, k, tau);
            let mut turned = scores.clone();
            turned.rotate_left(turn % scores.len());
            weights.rotate_left(turn % scores.len());
            let far = distance(&weights, &solve(kind, &turned, k, tau));
            prop_assert!(far <= rounding(kind, &scores, &weights, tau, 0.0), "{kind}: {far:e}");
        }
    }

    #[test]
    fn gradients_equal_finite_differences((scores, k, tau) in problem(), up in prop::collection::vec(-2.0..2.0_f64, 40)) {
        let up = &up[..scores.len()];
        for kind in fixed() {
            let loss = |scores: &[f64], tau: f64| -> f64 {
                solve(kind, scores, k, tau).iter().zip(up).map(|(a, v)| a * v).sum()
            };
            let tracked = row(&scores, DType::F64).autodiff().require_grad();
            let device = Device::flex().autodiff();
            let tau_tracked = Tensor::<1>::full([1], tau, (&device, DType::F64)).require_grad();
            let mut problem = input(tracked.clone(), k, tau);
            problem.tau = Tau::Rows(tau_tracked.clone());
            let weights = operator(kind).forward(problem, 5);
            let rounding = rounding(kind, &scores, &values(weights.clone()), tau, 0.0)
                * up.iter().map(|v| v.abs()).sum::<f64>();
            let grads = (weights * row(up, DType::F64)).sum().backward();
            let tolerance = |slope: f64| 1e-5 * (1.0 + slope) / (tau * tau);
            let found = values(tracked.grad(&grads).unwrap());
            for i in (0..scores.len()).step_by(5) {
                let with = |score: f64| {
                    let mut moved = scores.clone();
                    moved[i] = score;
                    loss(&moved, tau)
                };
                prop_assert!(is_derivative(found[i], with, scores[i], tolerance, rounding), "{kind} {i}: {}", found[i]);
            }
            let found = values(tau_tracked.grad(&grads).unwrap())[0];
            prop_assert!(is_derivative(found, |tau| loss(&scores, tau), tau, tolerance, rounding), "{kind} tau: {found}");
        }
    }

    #[test]
    fn masked_tokens_are_as_if_absent((scores, k, tau) in problem(), holes in prop::collection::vec(any::<bool>(), 40)) {
        let real: Vec<bool> = (0..scores.len()).map(|i| i < 2 || !holes[i]).collect();
        let pick = |x: Vec<f64>, wanted: bool| -> Vec<f64> {
            x.into_iter().zip(&real).filter(|(_, real)| **real == wanted).map(|(x, _)| x).collect()
        };
        let compact = pick(scores.clone(), true);
        let k = k.min(compact.len() as f64 - 1.0);
        let dirty: Vec<f64> = scores.iter().zip(&real).map(|(s, real)| if *real { *s } else { f64::NAN }).collect();
        let mask = Tensor::<2, Bool>::from_data(TensorData::new(real.clone(), [1, real.len()]), &Device::flex());
        for kind in SoftTopKKind::ALL {
            for z_score in [false, true] {
                let operator = TopKOperatorConfig::new(kind).with_z_score(z_score).with_n_samples(8).init();
                let tracked = row(&dirty, DType::F64).autodiff().require_grad();
                let mut masked = input(tracked.clone(), k, tau);
                masked.mask = Some(mask.clone());
                let weights = operator.forward(masked, 9);
                let found = values(weights.clone());
                if !kind.is_random() {
                    let alone = values(operator.forward(input(row(&compact, DType::F64), k, tau), 9));
                    let far = distance(&pick(found.clone(), true), &alone);
                    // The z-score divides by the spread of the scores, which may be small.
                    let spread = if z_score { spread(&compact) } else { 1.0 };
                    let bound = rounding(kind, &compact, &alone, tau * spread.min(1.0), 0.0);
                    prop_assert!(far <= bound, "{kind}: {far:e} of {bound:e}");
                }
                let mass: f64 = found.iter().sum();
                prop_assert!(!kind.sums_to_budget() || (mass - k).abs() < 1e-9, "{kind}: {mass}");
                prop_assert!(pick(found, false).iter().all(|a| *a == 0.0), "{kind}");
                let index = row(&(0..real.len()).map(|i| i as f64).collect::<Vec<_>>(), DType::F64);
                let grad = values(tracked.grad(&(weights * index).sum().backward()).unwrap());
                prop_assert!(grad.iter().zip(&real).all(|(g, real)| g.is_finite() && (*real || *g == 0.0)), "{kind}");
            }
        }
    }

    /// The definition, by going through all subsets of `k` tokens.
    #[test]
    fn gradtopk_is_the_inclusion_probability(scores in prop::collection::vec(-3.0..3.0_f64, 2..10), share in 0.0..1.0_f64, tau in 0.05..3.0_f64) {
        let n = scores.len();
        let k = 1 + (share * (n - 1) as f64) as usize;
        let k = k.min(n - 1);
        let most = scores.iter().fold(f64::NEG_INFINITY, |most, s| most.max(*s));
        let (mut total, mut inclusion) = (0.0, vec![0.0; n]);
        for subset in (0..1_usize << n).filter(|subset| subset.count_ones() as usize == k) {
            let members = || (0..n).filter(|i| subset >> i & 1 == 1);
            let chance = members().map(|i| (scores[i] - most) / tau).sum::<f64>().exp();
            total += chance;
            members().for_each(|i| inclusion[i] += chance);
        }
        prop_assume!(total > 1e-250);
        let wanted: Vec<f64> = inclusion.iter().map(|x| x / total).collect();
        let found = values(gradtopk(input(row(&scores, DType::F64), k as f64, tau)));
        prop_assert!(distance(&found, &wanted) < 1e-12, "{found:?} for {wanted:?}");
    }
}

#[test]
fn rows_have_their_own_budget_and_temperature() {
    let rows = [[0.3, -1.0, 2.0, 0.7, 0.1], [5.0, 5.0, 5.0, 1.0, 1.5]];
    let (k, tau) = ([1.0, 3.0], [0.5, 0.1]);
    let per_row = |x: [f64; 2]| Tensor::<1>::from_data(TensorData::from(x), (&Device::flex(), DType::F64));
    for kind in fixed() {
        let all = SoftTopKInput {
            scores: Tensor::from_data(TensorData::from(rows), (&Device::flex(), DType::F64)),
            k: K::Rows(per_row(k)),
            tau: Tau::Rows(per_row(tau)),
            mask: None,
        };
        let all = values(operator(kind).forward(all, 1));
        for (i, scores) in rows.iter().enumerate() {
            let alone = solve(kind, scores, k[i], tau[i]);
            assert!(distance(&all[5 * i..5 * i + 5], &alone) < 1e-13, "{kind}");
        }
    }
}

#[test]
fn random_operators_take_a_budget_per_row() {
    let scores = uniform::<2>(1, [2, 30]);
    let k = Tensor::<1>::from_floats([4.0, 11.0], &Device::flex());
    for kind in [
        SoftTopKKind::Perturbed,
        SoftTopKKind::GumbelSte,
        SoftTopKKind::GumbelSteSoft,
    ] {
        let mut problem = input(scores.clone(), 0.0, 0.3);
        problem.k = K::Rows(k.clone());
        let sums = values(operator(kind).forward(problem.clone(), 1).sum_dim(1));
        assert!(distance(&sums, &[4.0, 11.0]) < 1e-4, "{kind}: {sums:?}");
        let other = operator(kind).forward(problem.clone(), 2);
        let again = values(operator(kind).forward(problem.clone(), 2));
        assert_eq!(values(other.clone()), again, "{kind}");
        assert_ne!(
            values(other),
            values(operator(kind).forward(problem, 1)),
            "{kind}"
        );
    }
}

#[test]
fn edges_of_the_budget_and_rows_of_one_are_finite() {
    let scores = [0.3, -1.0, 2.0, 0.7];
    for kind in SoftTopKKind::ALL {
        for (k, wanted) in [(4.0, 1.0), (9.0, 1.0), (0.0, 0.0), (-1.0, 0.0)] {
            let tracked = row(&scores, DType::F64).autodiff().require_grad();
            let weights = operator(kind).forward(input(tracked.clone(), k, 0.4), 1);
            assert_eq!(values(weights.clone()), [wanted; 4], "{kind} {k}");
            let grads = values(tracked.grad(&weights.sum().backward()).unwrap());
            assert!(grads.iter().all(|g| *g == 0.0), "{kind} {k}: {grads:?}");
        }
        assert_eq!(solve(kind, &[7.0], 1.0, 0.3), [1.0], "{kind}");
        let mut padding = input(row(&scores, DType::F64), 2.0, 0.3);
        padding.mask = Some(Tensor::from_data(TensorData::from([[false; 4]]), &Device::flex()));
        assert_eq!(values(operator(kind).forward(padding, 1)), [0.0; 4], "{kind}");
    }
}

#[test]
fn equal_scores_share_the_budget() {
    for kind in fixed().filter(|kind| kind.sums_to_budget()) {
        let weights = solve(kind, &[0.7; 12], 3.0, 0.2);
        assert!(distance(&weights, &[0.25; 12]) < 1e-12, "{kind}: {weights:?}");
    }
    assert!(distance(&solve(SoftTopKKind::DfTopK, &[0.7; 12], 3.0, 0.2), &[0.5; 12]) < 1e-12);
}

#[test]
fn a_budget_of_one_is_softmax_where_it_should_be() {
    let scores = [0.3_f64, -1.0, 2.0, 0.7];
    let total: f64 = scores.iter().map(|s| (s / 0.8).exp()).sum();
    let softmax: Vec<f64> = scores.iter().map(|s| (s / 0.8).exp() / total).collect();
    for kind in [
        SoftTopKKind::Threshold(ThresholdKind::MinExp),
        SoftTopKKind::GradTopK,
    ] {
        assert!(
            distance(&solve(kind, &scores, 1.0, 0.8), &softmax) < 1e-13,
            "{kind}"
        );
    }
}

#[test]
fn extreme_scores_stay_finite_and_decided() {
    let scores = [1e6, -1e6, 3.0, 9e5, -2e4, 0.0];
    for kind in SoftTopKKind::ALL {
        for dtype in [DType::F64, DType::F32] {
            for tau in [1e-3, 1.0, 1e4] {
                let tracked = row(&scores, dtype).autodiff().require_grad();
                let weights = operator(kind).forward(input(tracked.clone(), 2.0, tau), 1);
                let found = values(weights.clone());
                assert!(found.iter().all(|a| a.is_finite()), "{kind} {tau}: {found:?}");
                if kind.sums_to_budget() && tau <= 1.0 {
                    assert!(
                        distance(&found, &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]) < 1e-6,
                        "{kind}: {found:?}"
                    );
                }
                let grads = (weights * row(&[1.0, -2.0, 3.0, 0.5, 1.5, -1.0], dtype))
                    .sum()
                    .backward();
                let grads = values(tracked.grad(&grads).unwrap());
                assert!(grads.iter().all(|g| g.is_finite()), "{kind} {tau}: {grads:?}");
            }
        }
    }
}

#[test]
fn the_sharp_limit_is_hard_top_k() {
    let scores: Vec<f64> = (0..30).map(|i| f64::from((i * 7) % 30) * 0.1).collect();
    let hard = values(hard_topk_mask(row(&scores, DType::F64), 11, None));
    for kind in fixed() {
        let soft = solve(kind, &scores, 11.0, 1e-3);
        assert!(distance(&soft, &hard) < 1e-9, "{kind}");
    }
}

#[test]
fn budgets_of_whole_token_operators_are_rounded_half_up() {
    let scores = [0.3, -1.0, 2.0, 0.7, 0.1];
    for kind in [
        SoftTopKKind::DfTopK,
        SoftTopKKind::GradTopK,
        SoftTopKKind::GumbelSte,
    ] {
        assert_eq!(
            solve(kind, &scores, 2.5, 0.4),
            solve(kind, &scores, 3.0, 0.4),
            "{kind}"
        );
        assert_eq!(
            solve(kind, &scores, 2.4, 0.4),
            solve(kind, &scores, 2.0, 0.4),
            "{kind}"
        );
    }
    for kind in [SoftTopKKind::SoftSort, SoftTopKKind::NeuralSort] {
        let mass: f64 = solve(kind, &scores, 2.3, 0.4).iter().sum();
        assert!((mass - 2.3).abs() < 1e-12, "{kind}");
    }
}

#[test]
fn many_tokens_keep_the_budget_of_gradtopk() {
    let scores = normal::<2>(1, [2, 2880]);
    for (k, tau) in [(64.0, 0.1), (320.0, 1.0), (2879.0, 0.3), (1.0, 0.05)] {
        let weights = gradtopk(input(scores.clone(), k, tau));
        let sums = values(weights.clone().sum_dim(1));
        assert!(
            distance(&sums, &[k; 2]) < 2e-5 * k.max(10.0),
            "{k} {tau}: {sums:?}"
        );
        assert!(values(weights).iter().all(|a| (0.0..=1.0).contains(a)));
    }
}

#[test]
fn the_mean_of_many_samples_approaches_the_expectation() {
    // With two tokens and k = 1 the expectation is the normal distribution function of the gap.
    let scores = row(&[0.5, 0.0], DType::F64).autodiff().require_grad();
    let noise = PerturbNoise::Seed {
        seed: 4,
        samples: 40_000,
    };
    let weights = perturbed_topk(input(scores.clone(), 1.0, 0.5), noise);
    let first = values(weights.clone())[0];
    // Phi(1 / sqrt(2)), and its derivative phi(1 / sqrt(2)) sqrt(2).
    assert!((first - 0.760_25).abs() < 0.01, "{first}");
    let grads = weights.slice([0..1, 0..1]).sum().backward();
    let grads = values(scores.grad(&grads).unwrap());
    assert!(distance(&grads, &[0.439_39, -0.439_39]) < 0.05, "{grads:?}");
}

#[test]
fn the_soft_straight_through_gradient_is_the_laplace_jacobian() {
    let scores = [0.1, 0.9, -0.4, 1.3, 0.2];
    let (k, tau) = (2.0, 0.7);
    let up = row(&[1.0, -2.0, 0.5, 3.0, 1.5], DType::F64);
    let tracked = row(&scores, DType::F64).autodiff().require_grad();
    let weights = operator(SoftTopKKind::GumbelSteSoft).forward(input(tracked.clone(), k, tau), 11);
    let found = values(tracked.grad(&(weights * up.clone()).sum().backward()).unwrap());
    let noise = diffprune_softtopk::gumbel_noise([1, 5], 11, &Device::flex());
    let perturbed = (row(&scores, DType::F64) + noise.cast(DType::F64) * tau)
        .autodiff()
        .require_grad();
    let soft = SoftTopKConfig::new().with_z_score(false).init();
    let soft = soft.forward(input(perturbed.clone(), k, tau)).weights;
    let wanted = values(perturbed.grad(&(soft * up).sum().backward()).unwrap());
    assert!(distance(&found, &wanted) < 1e-13, "{found:?} for {wanted:?}");
}

#[test]
fn gumbel_softmax_keeps_by_the_odds_and_the_ratio_loss_pulls_towards_the_target() {
    let scores = Tensor::<2>::full([1, 4000], 1.1, &Device::flex())
        .autodiff()
        .require_grad();
    let weights = operator(SoftTopKKind::GumbelSoftmax).forward(input(scores.clone(), 64.0, 1.0), 3);
    let share = values(weights.clone().mean())[0];
    // sigmoid(1.1)
    assert!((share - 0.750_26).abs() < 0.03, "{share}");
    let loss = ratio_loss(weights, 0.25, None);
    assert!((values(loss.clone())[0] - (share - 0.25).powi(2)).abs() < 1e-6);
    let grads = values(scores.grad(&loss.backward()).unwrap());
    assert!(grads.iter().all(|g| *g > 0.0));
}

#[test]
fn ratio_loss_counts_real_tokens() {
    let weights = row(&[1.0, 0.0, 1.0, 1.0], DType::F64);
    let mask = Tensor::<2, Bool>::from_data(TensorData::from([[true, true, false, false]]), &Device::flex());
    assert_eq!(values(ratio_loss(weights.clone(), 0.25, Some(mask))), [0.0625]);
    assert_eq!(values(ratio_loss(weights, 0.25, None)), [0.25]);
}

#[test]
fn dropped_tokens_are_seen_by_themselves_alone() {
    let device = Device::flex();
    let logits = normal::<4>(1, [1, 2, 5, 5]);
    let policy = Tensor::<2>::from_floats([[1.0, 0.0, 1.0, 1.0, 0.0]], &device);
    let out = policy_softmax(logits, policy);
    assert!(distance(&values(out.clone().sum_dim(3)), &[1.0; 10]) < 1e-5);
    let seen = values(out);
    for (i, weight) in seen.iter().enumerate() {
        let (query, key) = (i / 5 % 5, i % 5);
        let hidden = query != key && [1, 4].contains(&key);
        assert_eq!(hidden, *weight < 1e-5, "{query} {key}: {weight}");
    }
}

#[test]
fn operators_are_found_by_name() {
    for kind in SoftTopKKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        assert_eq!(kind.name().to_uppercase().replace('_', "-").parse(), Ok(kind));
        let json = serde_json::to_string(&kind).unwrap();
        assert_eq!(json, format!("\"{kind}\""));
        assert_eq!(serde_json::from_str::<SoftTopKKind>(&json).unwrap(), kind);
    }
    let error = "softmax".parse::<SoftTopKKind>().unwrap_err().to_string();
    assert!(
        error.contains("`softmax`") && error.contains("laplace, sigmoid, min_exp"),
        "{error}"
    );
    assert!(serde_json::from_str::<SoftTopKKind>("\"softmax\"").is_err());
}

#[test]
fn the_noise_gate_is_refused_where_weights_reach_0_or_1() {
    for kind in SoftTopKKind::ALL {
        let smooth = ["laplace", "sigmoid", "dftopk"].contains(&kind.name());
        assert_eq!(kind.supports_vp_noise().is_ok(), smooth, "{kind}");
    }
    let error = ThresholdKind::Clip.supports_vp_noise().unwrap_err().to_string();
    assert!(
        error.contains("clip cannot") && error.contains("exactly 0 or 1"),
        "{error}"
    );
}
