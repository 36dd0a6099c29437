//! The information that a gate lets through: how well the best linear reader recovers a token behind each kind of gate.
//!
//! A scaled token can simply be scaled back; noise cannot be undone.
//! `cargo run -p diffprune-throttler --example gate_leakage`

use burn::tensor::{Device, Tensor};
use diffprune_throttler::{GateFamily, GateKind, ThrottlerConfig, ThrottlerInput, noise};

fn main() {
    let device = Device::flex();
    let shape = [1, 256, 64];
    let tokens = noise(shape, 1, 0, &device);
    println!("share of the token's variance that can be read behind the gate");
    println!("alpha   noise   scale");
    for alpha in [1.0, 0.9, 0.5, 0.1, 0.01] {
        let shares = [GateKind::VpNoise, GateKind::Scale].map(|gate| {
            let fill = |a: f64| Tensor::<2>::full([1, 256], a, &device);
            let gated = ThrottlerConfig::new()
                .with_gate(gate)
                .init()
                .forward(ThrottlerInput {
                    tokens: tokens.clone(),
                    weights: fill(alpha),
                    complement: fill(1.0 - alpha),
                    argument: fill(0.0),
                    family: GateFamily::Laplace,
                    noise: noise(shape, 2, 0, &device),
                    mask: None,
                });
            explained(&tokens, &gated)
        });
        println!("{alpha:<5}   {:.3}   {:.3}", shares[0], shares[1]);
    }
}

/// Squared correlation of two sets of numbers of mean zero.
fn explained(x: &Tensor<3>, y: &Tensor<3>) -> f64 {
    let dot = |a: &Tensor<3>, b: &Tensor<3>| (a.clone() * b.clone()).sum().into_scalar::<f64>();
    dot(x, y).powi(2) / (dot(x, x) * dot(y, y))
}
