//! Shows what diagonal attention forbids: `cargo run -p diffprune-denoiser --example attention_leakage`.
//!
//! Token 0 is drowned in noise. Does the repaired token 0 still change when another token changes?

use burn::tensor::{Device, Distribution, Tensor};
use diffprune_denoiser::{DenoiserAttention, DenoiserConfig};

fn main() {
    let device = Device::flex();
    device.seed(0);
    let random = |n| Tensor::<3>::random([1, n, 32], Distribution::Normal(0.0, 1.0), &device);
    let (noise, others, changed) = (random(1), random(8), random(8));
    for attention in [DenoiserAttention::Diagonal, DenoiserAttention::Global] {
        let denoiser = DenoiserConfig::new(32)
            .with_attention(attention)
            .with_zero_init_residual(false)
            .init(&device);
        let repaired = |others: &Tensor<3>| {
            let tokens = Tensor::cat(vec![noise.clone(), others.clone()], 1);
            denoiser.forward(tokens, None).narrow(1, 0, 1)
        };
        let leak = (repaired(&others) - repaired(&changed))
            .abs()
            .max()
            .into_scalar::<f32>();
        println!("{attention:?}: token 0 moved by {leak}");
    }
}
