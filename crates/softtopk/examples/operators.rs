//! All operators on the scores of one training batch: what their weights are like, and what they cost.
//!
//! `cargo run --release -p diffprune-softtopk --example operators`

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use diffprune_softtopk::{SoftTopKInput, SoftTopKKind, TopKOperatorConfig};

const BATCH: usize = 8;
const N_TOKENS: usize = 576;
const K: usize = 64;

fn main() {
    let device = Device::flex().autodiff();
    device.seed(0);
    let scores =
        Tensor::<2>::random([BATCH, N_TOKENS], Distribution::Normal(0.0, 1.0), &device).require_grad();
    println!("{BATCH} x {N_TOKENS} scores, k = {K}, tau = 0.1");
    println!("operator          sum     max  between  forward and backward");
    for kind in SoftTopKKind::ALL {
        let operator = TopKOperatorConfig::new(kind).init();
        let input = || SoftTopKInput {
            scores: scores.clone(),
            k: K.into(),
            tau: 0.1.into(),
            mask: None,
        };
        // Once to warm up.
        let weights: Vec<f32> = operator.forward(input(), 1).into_data().iter().collect();
        let start = Instant::now();
        let square = operator.forward(input(), 1).powi_scalar(2).sum();
        let _ = square.backward();
        let time = start.elapsed();
        let sum = weights.iter().sum::<f32>() / BATCH as f32;
        let most = weights.iter().copied().fold(0.0, f32::max);
        let between = weights.iter().filter(|a| (0.01..0.99).contains(*a)).count() / BATCH;
        println!(
            "{:<15} {sum:>6.2}  {most:>6.3}  {between:>7}  {time:.1?}",
            kind.name()
        );
    }
}
