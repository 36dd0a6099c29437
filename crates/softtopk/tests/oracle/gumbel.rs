//! Straight-through estimators.

use burn::tensor::{DType, Device};
use diffprune_softtopk::{GumbelNoise, GumbelTopKInput, SteBackward, gumbel_softmax_ste, gumbel_topk_ste};

use crate::fixture::{Fixture, assert_close, values};

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
