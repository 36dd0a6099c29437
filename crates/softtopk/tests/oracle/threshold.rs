//! The threshold operators, on both solvers.

use burn::tensor::{DType, Device, Tensor};
use diffprune_softtopk::{K, SoftTopKConfig, SoftTopKInput, Solver, Tau, ThresholdKind, z_score};

use crate::fixture::{Fixture, assert_close, largest, values};

/// Distance from `x` to the next f32 above it.
fn ulp(x: f64) -> f64 {
    let x = (x as f32).abs();
    f64::from(x.next_up()) - f64::from(x)
}

/// The places at which the slope jumps.
fn kinks(kind: ThresholdKind) -> &'static [f64] {
    match kind {
        ThresholdKind::Laplace | ThresholdKind::Sigmoid => &[],
        ThresholdKind::MinExp => &[0.0],
        ThresholdKind::Clip | ThresholdKind::Cubic => &[0.0, 1.0],
    }
}

/// The largest slope.
fn steepest(kind: ThresholdKind) -> f64 {
    match kind {
        ThresholdKind::Laplace => 0.5,
        ThresholdKind::Sigmoid => 0.25,
        ThresholdKind::MinExp | ThresholdKind::Clip => 1.0,
        ThresholdKind::Cubic => 3.0,
    }
}

/// `f'(u)` from `u` and `f(u)`.
fn slope(kind: ThresholdKind, u: f64, alpha: f64) -> f64 {
    let inside = u > 0.0 && u < 1.0;
    match kind {
        ThresholdKind::Laplace => alpha.min(1.0 - alpha),
        ThresholdKind::Sigmoid => alpha * (1.0 - alpha),
        ThresholdKind::MinExp if u < 0.0 => alpha,
        ThresholdKind::Clip if inside => 1.0,
        ThresholdKind::Cubic if inside => 3.0 * u * u,
        _ => 0.0,
    }
}

/// The effect of half a unit in the last place of the f32 scores on the argument of a gate that is neither open nor
/// closed: within 20 temperatures of the threshold. Nothing in a row that rounding leaves decided: a whole budget,
/// and a gap at the edge of it that stays too wide for any gate between open and closed.
fn input_rounding(scores: &[f64], thresholds: &[f64], k: f64, tau: f64) -> f64 {
    let n_tokens = scores.len() / thresholds.len();
    let decided = |row: &[f64]| {
        let mut sorted = row.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let edge = k as usize;
        k.fract() == 0.0
            && (1..n_tokens).contains(&edge)
            && sorted[edge - 1] - sorted[edge] > 80.0 * tau + 2.0 * ulp(largest(row))
    };
    let rows = scores.chunks(n_tokens).zip(thresholds);
    let near = rows.filter(|(row, _)| !decided(row)).flat_map(|(row, lambda)| {
        let near = move |s: &&f64| (**s - lambda).abs() <= 20.0 * tau;
        row.iter().filter(near)
    });
    let size = near.fold(0.0, |most: f64, s| most.max(s.abs()));
    0.5 * f64::from(f32::EPSILON) * size / tau
}

/// Tolerances of one precision.
struct Precision {
    dtype: DType,
    weights: f64,
    /// Allowed error of a gradient, given its largest entry, the upstream vector's, and tau.
    gradient: fn(f64, f64, f64) -> f64,
}

const DOUBLE: Precision = Precision {
    dtype: DType::F64,
    weights: 1e-12,
    gradient: |_, up, tau| 1e-10 * up / tau,
};
const SINGLE: Precision = Precision {
    dtype: DType::F32,
    weights: 2e-6,
    gradient: |size, up, tau| 1e-4 * size + 2e-6 * up / tau,
};

/// Compares every case of a file; returns how many were compared with their gradients.
fn threshold_cases(name: &str, kind: ThresholdKind, precision: &Precision, solver: Solver) -> usize {
    let fixture = Fixture::open(name);
    let device = Device::flex().autodiff();
    let operator = SoftTopKConfig::new()
        .with_kind(kind)
        .with_z_score(false)
        .with_solver(solver)
        .init();
    let mut with_gradient = 0;
    for case in fixture.cases() {
        let id = &case["case"];
        let label = |what: &str| {
            format!(
                "{name} case {id} ({}) {what} {:?} {solver:?}",
                case["kind"], precision.dtype
            )
        };
        let array = |what: &str| fixture.array(&format!("case{id}.{what}"));
        let dtype = precision.dtype;
        let (budget, tau) = (case["K"].as_f64().unwrap(), case["tau"].as_f64().unwrap());
        let scores = fixture
            .tensor::<2>(&format!("case{id}.scores"), &device, dtype)
            .require_grad();
        let [batch, n_tokens] = scores.dims();
        let k = Tensor::<1>::full([batch], budget, (&device, dtype)).require_grad();
        let tau_tensor = Tensor::<1>::full([1], tau, (&device, dtype)).require_grad();
        let output = operator.forward(SoftTopKInput {
            scores: scores.clone(),
            k: K::Rows(k.clone()),
            tau: Tau::Rows(tau_tensor.clone()),
            mask: None,
        });

        let (alpha, _) = array("alpha").unwrap();
        let complement: Vec<f64> = alpha.iter().map(|a| 1.0 - a).collect();
        // The device solver bisects the scores themselves; their rounding enters divided by tau.
        let (scores_in, _) = array("scores").unwrap();
        let (lambda, _) = array("lambda").unwrap();
        let rounding = match (dtype, solver) {
            (DType::F32, _) => input_rounding(&scores_in, &lambda, budget, tau),
            (_, Solver::Tensor) => 4.0 * f64::EPSILON * largest(&scores_in) / tau,
            _ => 0.0,
        };
        // Scores and threshold both round, and the weight follows the steepest slope.
        let weight_rounding = rounding * (2.0 * steepest(kind)).max(1.0);
        let argument = |i: usize| (scores_in[i] - lambda[i / n_tokens]) / tau;
        let slopes: Vec<f64> = (0..batch)
            .map(|row| row * n_tokens..(row + 1) * n_tokens)
            .map(|row| row.map(|i| slope(kind, argument(i), alpha[i])).sum())
            .collect();
        assert_close(
            &label("alpha"),
            &values(output.weights.clone()),
            &alpha,
            precision.weights + weight_rounding,
        );
        assert_close(
            &label("beta"),
            &values(output.complement.clone()),
            &complement,
            precision.weights + weight_rounding,
        );

        // Where f32 cannot tell scores apart that are a temperature from each other, only the weights are
        // comparable.
        let coarse = dtype == DType::F32 && ulp(largest(&scores_in)) > tau;
        let size = largest(&scores_in).max(tau);
        let tolerance = if dtype == DType::F64 {
            1e-10 * size
        } else {
            1e-5 * size
        };
        let found = values(output.threshold.clone());
        // Curves that reach 0 and 1 leave an interval of thresholds where every gate is open or closed.
        let undecided = |row: usize| {
            let mut alphas = alpha[row * n_tokens..(row + 1) * n_tokens].iter();
            alphas.any(|a| (1e-9..1.0 - 1e-9).contains(a))
        };
        let unique = |row: usize| slopes[row] > 1e-6 && (kinks(kind).len() < 2 || undecided(row));
        for row in (0..batch).filter(|&row| unique(row) && !coarse) {
            assert_close(&label("lambda"), &found[row..=row], &lambda[row..=row], tolerance);
        }

        let Some((up, _)) = array("grad_out") else {
            continue;
        };
        // Rounding may move a token over a kink, which changes the slope and not the weight.
        let near = 4.0 * rounding + 1e-6;
        let on_kink =
            (0..alpha.len()).any(|i| kinks(kind).iter().any(|kink| (argument(i) - kink).abs() < near));
        if coarse || array("grad_scores").is_none() || (dtype == DType::F32 && on_kink) {
            continue;
        }
        with_gradient += 1;
        let upstream = fixture.tensor::<2>(&format!("case{id}.grad_out"), &device, dtype);
        let grads = (output.weights * upstream).sum().backward();
        let check = |what: &str, found: Vec<f64>, scale: f64| {
            let Some((wanted, _)) = array(what) else { return };
            let tolerance = (precision.gradient)(largest(&wanted), largest(&up) * scale, tau);
            assert_close(&label(what), &found, &wanted, tolerance);
        };
        check("grad_scores", values(scores.grad(&grads).unwrap()), 1.0);
        // Without a slope the threshold does not move, and the budget's gradient is 0 by convention.
        if slopes.iter().all(|&slope| slope > 1e-6) {
            check("grad_k", values(k.grad(&grads).unwrap()), tau);
            // The sum over tokens of slope times argument.
            let slope: f64 = slopes.iter().sum();
            let reach = slope * (1.0 + largest(&scores_in) / tau).min(700.0);
            check("grad_tau", values(tau_tensor.grad(&grads).unwrap()), reach);
        }
    }
    with_gradient
}

fn all_solvers(name: &str, kind: ThresholdKind) {
    for (precision, solver) in [
        (&DOUBLE, Solver::Host),
        (&DOUBLE, Solver::Tensor),
        (&SINGLE, Solver::Auto),
        (&SINGLE, Solver::Tensor),
    ] {
        assert!(threshold_cases(name, kind, precision, solver) > 0);
    }
}

#[test]
fn laplace_matches_the_authors() {
    all_solvers("threshold_laplace", ThresholdKind::Laplace);
}

#[test]
fn sigmoid_matches_bisection() {
    all_solvers("threshold_sigmoid", ThresholdKind::Sigmoid);
}

#[test]
fn min_exp_matches_bisection() {
    all_solvers("threshold_minexp", ThresholdKind::MinExp);
}

#[test]
fn clip_matches_bisection() {
    all_solvers("threshold_clip", ThresholdKind::Clip);
}

#[test]
fn cubic_matches_bisection() {
    all_solvers("threshold_cubic", ThresholdKind::Cubic);
}

#[test]
fn the_sigmoid_threshold_is_entropic_optimal_transport() {
    let fixture = Fixture::open("soft_ot");
    let device = Device::flex().autodiff();
    for case in fixture.cases() {
        let name = |what: &str| format!("case{}.{what}", case["case"]);
        let array = |what: &str| fixture.array(&name(what)).unwrap().0;
        let tau = case["epsilon"].as_f64().unwrap() * array("cost_max")[0] / 2.0;
        for solver in [Solver::Host, Solver::Tensor] {
            for precision in [&DOUBLE, &SINGLE] {
                let scores = fixture
                    .tensor::<2>(&name("scores"), &device, precision.dtype)
                    .require_grad();
                let operator = SoftTopKConfig::new()
                    .with_kind(ThresholdKind::Sigmoid)
                    .with_z_score(false)
                    .with_solver(solver)
                    .init();
                let weights = operator
                    .forward(SoftTopKInput {
                        scores: scores.clone(),
                        k: case["K"].as_f64().unwrap().into(),
                        tau: tau.into(),
                        mask: None,
                    })
                    .weights;
                let rounding = match precision.dtype {
                    DType::F64 => 0.0,
                    _ => 0.5 * f64::from(f32::EPSILON) * largest(&array("scores")) / tau,
                };
                let tolerance = precision.weights + rounding;
                assert_close(
                    &name("alpha"),
                    &values(weights.clone()),
                    &array("alpha"),
                    tolerance,
                );
                let upstream = fixture.tensor::<2>(&name("grad_out"), &device, precision.dtype);
                let grads = (weights * upstream).sum().backward();
                let wanted = array("grad_scores");
                let tolerance = (precision.gradient)(largest(&wanted), largest(&array("grad_out")), tau);
                assert_close(
                    &name("grad"),
                    &values(scores.grad(&grads).unwrap()),
                    &wanted,
                    tolerance,
                );
            }
        }
    }
}

#[test]
fn z_score_then_laplace_matches_the_end_to_end_weights() {
    let fixture = Fixture::open("zscore_laplace_vpgate");
    let device = Device::flex();
    for case in fixture.cases() {
        let name = |what: &str| format!("case{}.{what}", case["case"]);
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 5e-6)] {
            let scores = fixture.tensor::<2>(&name("scores"), &device, dtype);
            let input = |scores| SoftTopKInput {
                scores,
                k: case["K"].as_f64().unwrap().into(),
                tau: case["tau"].as_f64().unwrap().into(),
                mask: None,
            };
            let wanted = fixture.array(&name("alpha")).unwrap().0;
            let whole = SoftTopKConfig::new().init().forward(input(scores.clone()));
            assert_close(&name("alpha"), &values(whole.weights), &wanted, tolerance);
            let parts = SoftTopKConfig::new().with_z_score(false).init();
            let parts = parts.forward(input(z_score(scores, None, 1e-6)));
            assert_close(
                &name("alpha in parts"),
                &values(parts.weights),
                &wanted,
                tolerance,
            );
        }
    }
}
