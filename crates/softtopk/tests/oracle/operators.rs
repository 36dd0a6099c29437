//! The operators beside the thresholds.

use burn::tensor::{DType, Device, Tensor};
use diffprune_softtopk::{
    PerturbNoise, RelaxedSort, SoftTopKInput, dftopk, gradtopk, perturbed_topk, policy_softmax,
    relaxed_sort_topk,
};
use serde_json::Value;

use crate::fixture::{Fixture, assert_close, largest, values};

const BOTH: [DType; 2] = [DType::F64, DType::F32];

/// Weights and gradients of every case of a file. `reach` is how large the numbers that enter an exponential get for
/// one unit of score over temperature: in f32 their rounding is added to the tolerance.
fn compare(name: &str, reach: fn(&Value) -> f64, operator: fn(&Value, SoftTopKInput) -> Tensor<2>) {
    let fixture = Fixture::open(name);
    let device = Device::flex().autodiff();
    for case in fixture.cases() {
        let array_name = |what: &str| format!("case{}.{what}", case["case"]);
        let array = |what: &str| fixture.array(&array_name(what)).unwrap().0;
        let tau = case["tau"].as_f64().unwrap();
        for dtype in BOTH {
            let scores = fixture
                .tensor::<2>(&array_name("scores"), &device, dtype)
                .require_grad();
            let weights = operator(
                case,
                SoftTopKInput {
                    scores: scores.clone(),
                    k: case["K"].as_f64().unwrap().into(),
                    tau: tau.into(),
                    mask: None,
                },
            );
            let rounding = match dtype {
                DType::F64 => 1e-12,
                _ => 2e-6 + f64::from(f32::EPSILON) * largest(&array("scores")) * reach(case) / tau,
            };
            let label = |what: &str| format!("{name} {} {dtype:?}", array_name(what));
            assert_close(
                &label("alpha"),
                &values(weights.clone()),
                &array("alpha"),
                rounding,
            );
            let upstream = fixture.tensor::<2>(&array_name("grad_out"), &device, dtype);
            let grads = (weights * upstream).sum().backward();
            let wanted = array("grad_scores");
            let up = largest(&array("grad_out"));
            let tolerance = match dtype {
                DType::F64 => 1e-10 * up / tau,
                _ => 1e-4 * largest(&wanted) + rounding * up * reach(case) / tau,
            };
            let found = values(scores.grad(&grads).unwrap());
            assert_close(&label("grad_scores"), &found, &wanted, tolerance);
        }
    }
}

#[test]
fn dftopk_matches_the_authors() {
    compare("dftopk", |_| 1.0, |_, input| dftopk(input).weights);
}

#[test]
fn gradtopk_matches_the_stable_recursion() {
    compare("gradtopk", |_| 1.0, |_, input| gradtopk(input));
}

#[test]
fn relaxed_sorting_matches_the_authors() {
    compare(
        "sorting_based",
        |case| case["n"].as_f64().unwrap(),
        |case, input| {
            let sort = match case["operator"].as_str().unwrap() {
                "softsort" => RelaxedSort::SoftSort,
                "neuralsort" => RelaxedSort::NeuralSort,
                other => panic!("no operator {other}"),
            };
            relaxed_sort_topk(sort, input)
        },
    );
}

#[test]
fn perturbed_top_k_matches_its_definition() {
    let fixture = Fixture::open("perturbed_topk");
    let device = Device::flex().autodiff();
    let array = |what: &str| fixture.array(what).unwrap().0;
    let n = array("scores").len();
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        let scores = fixture.tensor::<1>("scores", &device, dtype).require_grad();
        let noise = fixture.tensor::<2>("noise", &Device::flex(), dtype);
        let samples = fixture.meta["samples"].as_u64().unwrap() as usize;
        let weights = perturbed_topk(
            SoftTopKInput {
                scores: scores.clone().reshape([1, n]),
                k: fixture.meta["K"].as_f64().unwrap().into(),
                tau: fixture.meta["sigma"].as_f64().unwrap().into(),
                mask: None,
            },
            PerturbNoise::Given(noise.reshape([1, samples, n])),
        );
        assert_close("alpha", &values(weights.clone()), &array("alpha"), tolerance);
        let upstream = fixture.tensor::<1>("grad_out", &device, dtype).reshape([1, n]);
        let grads = (weights * upstream).sum().backward();
        let wanted = array("grad_scores");
        let found = values(scores.grad(&grads).unwrap());
        assert_close(
            "grad_scores",
            &found,
            &wanted,
            tolerance * largest(&wanted).max(1.0),
        );
    }
}

#[test]
fn policy_softmax_matches_the_authors() {
    let fixture = Fixture::open("dynamicvit_policy_softmax");
    let device = Device::flex().autodiff();
    let array = |what: &str| fixture.array(what).unwrap().0;
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        let logits = fixture.tensor::<4>("attn_logits", &device, dtype).require_grad();
        let policy = fixture.tensor::<3>("policy", &device, dtype).require_grad();
        let [batch, n_tokens, _] = policy.dims();
        let out = policy_softmax(logits.clone(), policy.clone().reshape([batch, n_tokens]));
        assert_close("out", &values(out.clone()), &array("out"), tolerance);
        let grads = (out * fixture.tensor("grad_out", &device, dtype))
            .sum()
            .backward();
        let check = |what: &str, found: Vec<f64>| {
            let wanted = array(what);
            assert_close(what, &found, &wanted, tolerance * largest(&wanted).max(1.0));
        };
        check("grad_logits", values(logits.grad(&grads).unwrap()));
        check("grad_policy", values(policy.grad(&grads).unwrap()));
    }
}
