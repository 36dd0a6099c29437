//! The gate and its noise on the CPU, at a training batch of LLaVA-1.5 (`8 x 576 x 1024`).

use std::hint::black_box;

use burn::tensor::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use diffprune_throttler::{GateFamily, GateKind, NoiseScale, ThrottlerConfig, ThrottlerInput, noise};

const SHAPE: [usize; 3] = [8, 576, 1024];

fn input(device: &Device) -> ThrottlerInput {
    let [batch, n_tokens, _] = SHAPE;
    let fill = |x: f64| Tensor::<2>::full([batch, n_tokens], x, device);
    let argument = fill(-std::f64::consts::LN_2);
    ThrottlerInput {
        tokens: noise(SHAPE, 1, 0, device),
        weights: fill(0.25),
        complement: fill(0.75),
        argument: if device.is_autodiff() {
            argument.require_grad()
        } else {
            argument
        },
        family: GateFamily::Laplace,
        noise: noise(SHAPE, 2, 0, &Device::flex()),
        mask: None,
    }
}

fn gates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("throttler");
    let device = Device::flex();
    let arms = [
        ("scale", GateKind::Scale, NoiseScale::Unit),
        ("noise-unit", GateKind::VpNoise, NoiseScale::Unit),
        ("noise-token-std", GateKind::VpNoise, NoiseScale::TokenStd),
        ("noise-channel-std", GateKind::VpNoise, NoiseScale::ChannelStd),
    ];
    for (name, gate, scale) in arms {
        let throttler = ThrottlerConfig::new()
            .with_gate(gate)
            .with_noise_scale(scale)
            .init();
        let plain = input(&device);
        group.bench_function(format!("forward/{name}"), |b| {
            b.iter(|| black_box(throttler.forward(plain.clone())))
        });
        if gate == GateKind::VpNoise {
            let tracked = input(&device.clone().autodiff());
            group.bench_function(format!("forward-backward/{name}"), |b| {
                b.iter(|| black_box(throttler.forward(tracked.clone()).sum().backward()))
            });
        }
    }
    group.finish();
}

fn draws(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("noise");
    group.throughput(Throughput::Elements(SHAPE.iter().product::<usize>() as u64));
    let device = Device::flex();
    group.bench_function("8x576x1024", |b| {
        b.iter(|| black_box(noise(SHAPE, 1, 0, &device)))
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = diffprune_benches::brief();
    targets = gates, draws
}
criterion_main!(benches);
