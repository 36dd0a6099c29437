//! Every case of the fixtures in scope, in f64 and in f32, on both solvers.
//!
//! `DIFFPRUNE_FIXTURES` names another root with the same layout.

use std::path::PathBuf;

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffprune_softtopk::{
    GumbelNoise, GumbelTopKInput, K, SoftTopKConfig, SoftTopKInput, Solver, SteBackward, Tau, ThresholdKind,
    gumbel_softmax_ste, gumbel_topk_ste, z_score,
};
use safetensors::SafeTensors;
use serde_json::Value;

/// One fixture: its description and its arrays.
struct Fixture {
    meta: Value,
    bytes: Vec<u8>,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let root = std::env::var_os("DIFFPRUNE_FIXTURES").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")),
            PathBuf::from,
        );
        let path = |extension: &str| root.join("softtopk").join(format!("{name}.{extension}"));
        let meta = std::fs::read_to_string(path("json")).expect("fixture description");
        let bytes = std::fs::read(path("safetensors")).expect("fixture arrays");
        Self {
            meta: serde_json::from_str(&meta).expect("json"),
            bytes,
        }
    }

    fn cases(&self) -> &[Value] {
        let cases = self.meta["cases"].as_array().expect("a list of cases");
        assert!(!cases.is_empty(), "no cases found");
        cases
    }

    fn array(&self, name: &str) -> Option<(Vec<f64>, Vec<usize>)> {
        let file = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let view = file.tensor(name).ok()?;
        assert_eq!(view.dtype(), safetensors::Dtype::F64, "{name}");
        let values = view
            .data()
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap()));
        Some((values.collect(), view.shape().to_vec()))
    }

    fn tensor<const D: usize>(&self, name: &str, device: &Device, dtype: DType) -> Tensor<D> {
        let (values, shape) = self
            .array(name)
            .unwrap_or_else(|| panic!("array {name} is missing"));
        Tensor::from_data(TensorData::new(values, shape), (device, dtype))
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Largest difference, absolute up to the size `unit` and relative above it.
fn assert_close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!(
            (f - w).abs() <= tolerance,
            "{what}[{i}]: found {f:e}, wanted {w:e}, tolerance {tolerance:e}"
        );
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// Distance from `x` to the next f32 above it.
fn ulp(x: f64) -> f64 {
    let x = (x as f32).abs();
    f64::from(x.next_up()) - f64::from(x)
}

/// What half a unit in the last place of the f32 scores does to the argument of a gate that is neither open nor
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

fn threshold_cases(name: &str, kind: ThresholdKind, precision: &Precision, solver: Solver) -> usize {
    let fixture = Fixture::open(name);
    let device = Device::flex().autodiff();
    let operator = SoftTopKConfig::new()
        .with_kind(kind)
        .with_z_score(false)
        .with_solver(solver)
        .init();
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
        let slope_at = |a: &f64| match kind {
            ThresholdKind::Laplace => a.min(1.0 - a),
            ThresholdKind::Sigmoid => a * (1.0 - a),
        };
        let slopes: Vec<f64> = alpha
            .chunks(n_tokens)
            .map(|row| row.iter().map(slope_at).sum())
            .collect();
        assert_close(
            &label("alpha"),
            &values(output.weights.clone()),
            &alpha,
            precision.weights + rounding,
        );
        assert_close(
            &label("beta"),
            &values(output.complement.clone()),
            &complement,
            precision.weights + rounding,
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
        for row in (0..batch).filter(|&row| slopes[row] > 1e-6 && !coarse) {
            assert_close(&label("lambda"), &found[row..=row], &lambda[row..=row], tolerance);
        }

        let Some((up, _)) = array("grad_out") else {
            continue;
        };
        if coarse || array("grad_scores").is_none() {
            continue;
        }
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
    fixture.cases().len()
}

#[test]
fn laplace_matches_the_authors_in_f64() {
    for solver in [Solver::Host, Solver::Tensor] {
        assert!(threshold_cases("threshold_laplace", ThresholdKind::Laplace, &DOUBLE, solver) > 0);
    }
}

#[test]
fn laplace_matches_the_authors_in_f32() {
    for solver in [Solver::Auto, Solver::Tensor] {
        assert!(threshold_cases("threshold_laplace", ThresholdKind::Laplace, &SINGLE, solver) > 0);
    }
}

#[test]
fn sigmoid_matches_bisection_in_f64() {
    for solver in [Solver::Host, Solver::Tensor] {
        assert!(threshold_cases("threshold_sigmoid", ThresholdKind::Sigmoid, &DOUBLE, solver) > 0);
    }
}

#[test]
fn sigmoid_matches_bisection_in_f32() {
    for solver in [Solver::Auto, Solver::Tensor] {
        assert!(threshold_cases("threshold_sigmoid", ThresholdKind::Sigmoid, &SINGLE, solver) > 0);
    }
}

#[test]
fn gumbel_top_k_with_identity_gradient_matches() {
    let fixture = Fixture::open("gumbel_topk_identity_ste");
    let device = Device::flex().autodiff();
    let k = fixture.meta["K"].as_u64().unwrap() as usize;
    for dtype in [DType::F64, DType::F32] {
        let scores = fixture.tensor::<2>("scores", &device, dtype).require_grad();
        let noise = fixture
            .tensor::<2>("exponential_noise", &device, dtype)
            .log()
            .neg();
        let mask = gumbel_topk_ste(GumbelTopKInput {
            scores: scores.clone(),
            k,
            noise: GumbelNoise::Given(noise),
            backward: SteBackward::Identity,
            mask: None,
        });
        assert_close(
            "mask",
            &values(mask.clone()),
            &fixture.array("mask").unwrap().0,
            0.0,
        );
        let grads = (mask * fixture.tensor("grad_out", &device, dtype))
            .sum()
            .backward();
        let found = values(scores.grad(&grads).unwrap());
        assert_close(
            "grad_scores",
            &found,
            &fixture.array("grad_scores").unwrap().0,
            1e-6,
        );
    }
}

#[test]
fn two_class_gumbel_softmax_matches() {
    let fixture = Fixture::open("gumbel_softmax_ste");
    let device = Device::flex().autodiff();
    for case in fixture.cases() {
        let name = |what: &str| format!("case{}.{what}", case["case"]);
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let log_probs = fixture
                .tensor::<3>(&name("log_probs"), &device, dtype)
                .require_grad();
            let noise = fixture
                .tensor::<3>(&name("exponential_noise"), &device, dtype)
                .log()
                .neg();
            let (tau, hard) = (case["tau"].as_f64().unwrap(), case["hard"].as_bool().unwrap());
            let keep = gumbel_softmax_ste(log_probs.clone(), noise, tau, hard);
            assert_close(
                &name("keep"),
                &values(keep.clone()),
                &fixture.array(&name("keep")).unwrap().0,
                tolerance,
            );
            let grads = (keep * fixture.tensor(&name("grad_out"), &device, dtype))
                .sum()
                .backward();
            let wanted = fixture.array(&name("grad_log_probs")).unwrap().0;
            assert_close(
                &name("grad"),
                &values(log_probs.grad(&grads).unwrap()),
                &wanted,
                tolerance,
            );
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
