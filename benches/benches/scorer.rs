//! Scorer and denoiser on the CPU: forward as at inference, forward and backward as in training.
//!
//! `base-1024x576` is LLaVA-1.5's shape, `mini-128x64x16` a training batch of the small world.

use std::hint::black_box;
use std::time::Duration;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use diffprune_denoiser::DenoiserConfig;
use diffprune_scorer::ScorerConfig;

/// Name, scorer, batch and number of tokens.
fn cases() -> Vec<(&'static str, ScorerConfig, usize, usize)> {
    vec![
        ("base-1024x576", ScorerConfig::base(1024), 1, 576),
        ("mini-128x64x16", ScorerConfig::mini(128), 16, 64),
    ]
}

fn tokens(device: &Device, shape: [usize; 3]) -> Tensor<3> {
    device.seed(0);
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn scorer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scorer");
    let device = Device::flex().autodiff();
    for (name, config, batch, n) in cases() {
        let training = config.init(&device);
        let inference = training.clone().valid();
        let shape = [batch, n, config.d_model];
        let x = tokens(&Device::flex(), shape);
        group.bench_function(format!("forward/{name}"), |b| {
            b.iter(|| black_box(inference.forward(x.clone(), None).into_data()))
        });
        let x = tokens(&device, shape);
        group.bench_function(format!("forward-backward/{name}"), |b| {
            b.iter(|| black_box(training.forward(x.clone(), None).powi_scalar(2).sum().backward()))
        });
    }
    group.finish();
}

fn denoiser(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("denoiser");
    let device = Device::flex().autodiff();
    for (name, config, batch, n) in cases() {
        let training = DenoiserConfig::new(config.d_model).init(&device);
        let x = tokens(&device, [batch, n, config.d_model]);
        group.bench_function(format!("forward-backward/{name}"), |b| {
            b.iter(|| black_box(training.forward(x.clone(), None).powi_scalar(2).sum().backward()))
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(4));
    targets = scorer, denoiser
}
criterion_main!(benches);
