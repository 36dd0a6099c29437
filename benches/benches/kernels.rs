//! The fused kernels against their composed forms and against Burn's own functions, forward and with gradients.
//!
//! Names are `operator/shape/who/pass`. The trainer gives each thread a pool of its own: to measure that, run with
//! `RAYON_NUM_THREADS=1`.

use std::hint::black_box;

use burn::module::Module;
use burn::nn::{LayerNormConfig, RmsNormConfig};
use burn::tensor::{Device, Distribution, Int, Tensor, activation, module, ops::AttentionModuleOptions};
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use diffprune_kernels::{self as kernels, AttentionOptions, reference};

/// Tokens of one batch: 16 sequences of 145.
const ROWS: usize = 16 * 145;

fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// Times `f` forward on the plain device, and forward with backward on the one with autodiff.
fn passes<const D: usize, const E: usize>(
    group: &mut BenchmarkGroup<WallTime>,
    who: &str,
    shape: [usize; D],
    f: impl Fn(Tensor<D>) -> Tensor<E>,
) {
    let device = Device::flex();
    let x = normal(shape, &device);
    group.bench_function(format!("{who}/forward"), |bench| {
        bench.iter(|| black_box(f(x.clone())))
    });
    let pull = normal(f(x.clone()).dims(), &device);
    let x = x.autodiff().require_grad();
    group.bench_function(format!("{who}/with gradient"), |bench| {
        bench.iter(|| black_box((f(x.clone()) * pull.clone()).sum().backward()))
    });
}

fn activations(c: &mut Criterion, shape: [usize; 2]) {
    let name = |op: &str| format!("{op}/{}x{}", shape[0], shape[1]);
    let mut group = c.benchmark_group(name("gelu"));
    passes(&mut group, "fused", shape, kernels::gelu::<2>);
    passes(&mut group, "composed", shape, reference::gelu::<2>);
    passes(&mut group, "burn", shape, activation::gelu::<2>);
    group.finish();
    let mut group = c.benchmark_group(name("quick_gelu"));
    passes(&mut group, "fused", shape, kernels::quick_gelu::<2>);
    passes(&mut group, "composed", shape, reference::quick_gelu::<2>);
    group.finish();
    let mut group = c.benchmark_group(name("silu"));
    passes(&mut group, "fused", shape, kernels::silu::<2>);
    passes(&mut group, "composed", shape, reference::silu::<2>);
    passes(&mut group, "burn", shape, activation::silu::<2>);
    group.finish();
    let mut group = c.benchmark_group(name("swiglu"));
    passes(&mut group, "fused", shape, |x: Tensor<2>| {
        kernels::swiglu(x.clone(), x)
    });
    passes(&mut group, "composed", shape, |x: Tensor<2>| {
        reference::swiglu(x.clone(), x)
    });
    group.finish();
}

fn norms(c: &mut Criterion, shape: [usize; 2]) {
    let device = Device::flex();
    let ones = Tensor::<1>::ones([shape[1]], &device);
    let name = |op: &str| format!("{op}/{}x{}", shape[0], shape[1]);
    let mut group = c.benchmark_group(name("layer_norm"));
    let burn = LayerNormConfig::new(shape[1]).init(&device).no_grad();
    passes(&mut group, "fused", shape, |x: Tensor<2>| {
        kernels::layer_norm(x, ones.clone(), ones.clone(), 1e-5)
    });
    passes(&mut group, "composed", shape, |x: Tensor<2>| {
        reference::layer_norm(x, ones.clone(), ones.clone(), 1e-5)
    });
    passes(&mut group, "burn", shape, |x: Tensor<2>| burn.forward(x));
    group.finish();
    let mut group = c.benchmark_group(name("rms_norm"));
    let burn = RmsNormConfig::new(shape[1]).init(&device).no_grad();
    passes(&mut group, "fused", shape, |x: Tensor<2>| {
        kernels::rms_norm(x, ones.clone(), 1e-6)
    });
    passes(&mut group, "composed", shape, |x: Tensor<2>| {
        reference::rms_norm(x, ones.clone(), 1e-6)
    });
    passes(&mut group, "burn", shape, |x: Tensor<2>| burn.forward(x));
    group.finish();
}

fn softmax(c: &mut Criterion, shape: [usize; 2]) {
    let mut group = c.benchmark_group(format!("softmax/{}x{}", shape[0], shape[1]));
    passes(&mut group, "fused", shape, kernels::softmax::<2>);
    passes(&mut group, "composed", shape, reference::softmax::<2>);
    passes(&mut group, "burn", shape, |x: Tensor<2>| {
        activation::softmax(x, 1)
    });
    group.finish();
}

fn cross_entropy(c: &mut Criterion, shape: [usize; 2]) {
    let mut group = c.benchmark_group(format!("cross_entropy/{}x{}", shape[0], shape[1]));
    let targets = Tensor::<1, Int>::zeros([shape[0]], &Device::flex());
    passes(&mut group, "fused", shape, |x: Tensor<2>| {
        kernels::cross_entropy(x, targets.clone())
    });
    passes(&mut group, "composed", shape, |x: Tensor<2>| {
        reference::cross_entropy(x, targets.clone())
    });
    group.finish();
}

fn rope(c: &mut Criterion, shape: [usize; 4]) {
    let [b, n, h, d] = shape;
    let mut group = c.benchmark_group(format!("rope/{b}x{n}x{h}x{d}"));
    let ids = Tensor::<1, Int>::arange(0..n as i64, &Device::flex()).unsqueeze_dim(0);
    let (cos, sin) = kernels::rope_tables(ids, d, 10_000.0);
    passes(&mut group, "fused", shape, |x: Tensor<4>| {
        kernels::rope_halves(x, cos.clone(), sin.clone())
    });
    passes(&mut group, "composed", shape, |x: Tensor<4>| {
        reference::rope_halves(x, cos.clone(), sin.clone())
    });
    group.finish();
}

fn attention(c: &mut Criterion, shape: [usize; 4], causal: bool) {
    let [b, n, h, d] = shape;
    let kind = if causal { "causal attention" } else { "attention" };
    let mut group = c.benchmark_group(format!("{kind}/{b}x{n}x{h}x{d}"));
    let options = AttentionOptions::default().with_causal(causal);
    passes(&mut group, "fused", shape, |x: Tensor<4>| {
        kernels::attention(x.clone(), x.clone(), x, &options)
    });
    passes(&mut group, "composed", shape, |x: Tensor<4>| {
        reference::attention(x.clone(), x.clone(), x, &options)
    });
    passes(&mut group, "burn", shape, |x: Tensor<4>| {
        let x = x.swap_dims(1, 2);
        let options = AttentionModuleOptions {
            is_causal: causal,
            ..Default::default()
        };
        module::attention(x.clone(), x.clone(), x, None, None, options).swap_dims(1, 2)
    });
    group.finish();
}

fn all(c: &mut Criterion) {
    for width in [128, 512] {
        activations(c, [ROWS, width]);
        norms(c, [ROWS, width]);
        softmax(c, [ROWS, width]);
        cross_entropy(c, [ROWS, width]);
    }
    softmax(c, [16 * 576, 576]);
    for shape in [[16, 145, 4, 32], [1, 576, 16, 64]] {
        rope(c, shape);
        for causal in [false, true] {
            attention(c, shape, causal);
        }
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
