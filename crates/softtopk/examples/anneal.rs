//! From "everyone a little" to hard top-k: the weights of eight scores as the temperature falls.
//!
//! `cargo run -p diffprune-softtopk --example anneal`

use burn::tensor::{Device, Tensor};
use diffprune_softtopk::{SoftTopKConfig, SoftTopKInput, ThresholdKind, hard_topk};

fn main() {
    let device = Device::flex();
    let scores = Tensor::<2>::from_floats([[2.1, -0.4, 0.9, 0.8, -1.3, 0.1, 1.6, -0.2]], &device);
    let k = 3;
    for kind in ThresholdKind::ALL {
        let soft_topk = SoftTopKConfig::new().with_kind(kind).init();
        println!("{kind:?}, k = {k}");
        for tau in [5.0, 1.0, 0.3, 0.1, 0.03] {
            let output = soft_topk.forward(SoftTopKInput {
                scores: scores.clone(),
                k: k.into(),
                tau: tau.into(),
                mask: None,
            });
            let weights = output.weights.into_data();
            let row: Vec<String> = weights.iter::<f32>().map(|a| format!("{a:.3}")).collect();
            let sum: f32 = weights.iter::<f32>().sum();
            println!("  tau {tau:<5} {}  sum {sum:.5}", row.join(" "));
        }
    }
    println!("hard top-k keeps {}", hard_topk(scores, k, None).into_data());
}
