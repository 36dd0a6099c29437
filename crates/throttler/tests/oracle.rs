//! Scores to gated tokens, end to end, with both gradients, in f64 and f32.
//!
//! `DIFFPRUNE_FIXTURES` names another root with the same layout.

use burn::tensor::{DType, Device, Tensor, TensorData};
use diffprune_softtopk::{SoftTopKConfig, SoftTopKInput};
use diffprune_test_support::fixtures;
use diffprune_throttler::{GateFamily, NoiseScale, ThrottlerConfig, ThrottlerInput};
use safetensors::SafeTensors;
use serde_json::Value;

fn read(extension: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(format!("softtopk/zscore_laplace_vpgate.{extension}"))).expect("fixture")
}

fn assert_close(what: &str, found: Vec<f64>, wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let size = wanted.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!(
            (f - w).abs() <= tolerance * size,
            "{what}[{i}]: found {f:e}, expected {w:e}"
        );
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[test]
fn scores_to_gated_tokens_with_both_gradients() {
    let meta: Value = serde_json::from_slice(&read("json")).expect("json");
    let bytes = read("safetensors");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let device = Device::flex().autodiff();
    let cases = meta["cases"].as_array().expect("a list of cases");
    assert!(!cases.is_empty(), "no cases found");
    for case in cases {
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-4)] {
            let array = |what: &str| {
                let view = file
                    .tensor(&format!("case{}.{what}", case["case"]))
                    .expect("array");
                let values = view
                    .data()
                    .chunks_exact(8)
                    .map(|b| f64::from_le_bytes(b.try_into().unwrap()));
                (values.collect::<Vec<_>>(), view.shape().to_vec())
            };
            let data = |what: &str| {
                let (values, shape) = array(what);
                TensorData::new(values, shape)
            };
            let scores = Tensor::<2>::from_data(data("scores"), (&device, dtype)).require_grad();
            let tokens = Tensor::<3>::from_data(data("tokens"), (&device, dtype)).require_grad();
            let soft = SoftTopKConfig::new().init().forward(SoftTopKInput {
                scores: scores.clone(),
                k: case["K"].as_f64().unwrap().into(),
                tau: case["tau"].as_f64().unwrap().into(),
                mask: None,
            });
            let throttler = ThrottlerConfig::new().with_noise_scale(NoiseScale::Unit).init();
            let gated = throttler.forward(ThrottlerInput {
                tokens: tokens.clone(),
                weights: soft.weights,
                complement: soft.complement,
                argument: soft.argument,
                family: GateFamily::Laplace,
                noise: Tensor::from_data(data("noise"), (&device, dtype)),
                mask: None,
            });
            assert_close("gated", values(gated.clone()), &array("gated").0, tolerance);
            let upstream = Tensor::<3>::from_data(data("grad_out"), (&device, dtype));
            let grads = (gated * upstream).sum().backward();
            let tau = case["tau"].as_f64().unwrap();
            assert_close(
                "grad_tokens",
                values(tokens.grad(&grads).unwrap()),
                &array("grad_tokens").0,
                tolerance,
            );
            let found = values(scores.grad(&grads).unwrap());
            assert_close("grad_scores", found, &array("grad_scores").0, tolerance / tau);
        }
    }
}
