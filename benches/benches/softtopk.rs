//! Soft and hard top-k on the CPU: forward, forward and backward, and the solver meant for other devices.
//!
//! Names are `rows x tokens`: a training batch of LLaVA-1.5 (576 tokens), one LLaVA-NeXT image (2880),
//! and a million scores. All operators are measured on one image of either model.

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use diffprune_softtopk::{
    SoftTopKConfig, SoftTopKInput, SoftTopKKind, Solver, ThresholdKind, TopKOperatorConfig, hard_topk,
};

const SIZES: [[usize; 2]; 3] = [[32, 576], [1, 2880], [1, 1_000_000]];
/// One image of LLaVA-1.5, one of LLaVA-NeXT.
const IMAGES: [[usize; 2]; 2] = [[1, 576], [1, 2880]];
const TAU: f64 = 0.1;

fn scores(shape: [usize; 2], device: &Device) -> Tensor<2> {
    device.seed(0);
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn input(scores: Tensor<2>) -> SoftTopKInput {
    let k = scores.dims()[1] / 9;
    SoftTopKInput {
        scores,
        k: k.into(),
        tau: TAU.into(),
        mask: None,
    }
}

fn soft(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("softtopk");
    let device = Device::flex();
    let tracked = device.clone().autodiff();
    for shape in SIZES {
        let name = format!("{}x{}", shape[0], shape[1]);
        for kind in [ThresholdKind::Laplace, ThresholdKind::Sigmoid] {
            let operator = SoftTopKConfig::new().with_kind(kind).init();
            let x = scores(shape, &device);
            group.bench_function(format!("forward/{kind:?}/{name}"), |b| {
                b.iter(|| black_box(operator.forward(input(x.clone()))))
            });
            let x = scores(shape, &tracked).require_grad();
            group.bench_function(format!("forward-backward/{kind:?}/{name}"), |b| {
                b.iter(|| {
                    let weights = operator.forward(input(x.clone())).weights;
                    black_box((weights.clone() * weights).sum().backward())
                })
            });
        }
    }
    let operator = SoftTopKConfig::new().with_solver(Solver::Tensor).init();
    let x = scores(SIZES[0], &device);
    group.bench_function("tensor-solver/Laplace/32x576", |b| {
        b.iter(|| black_box(operator.forward(input(x.clone()))))
    });
    group.finish();
}

/// Every operator as trainings call it, z-scores included.
fn operators(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("softtopk-operators");
    let device = Device::flex();
    let tracked = device.clone().autodiff();
    for kind in SoftTopKKind::ALL {
        let operator = TopKOperatorConfig::new(kind).init();
        for shape in IMAGES {
            let name = format!("{}/{}x{}", kind.name(), shape[0], shape[1]);
            let x = scores(shape, &device);
            group.bench_function(format!("forward/{name}"), |b| {
                b.iter(|| black_box(operator.forward(input(x.clone()), 0)))
            });
            let x = scores(shape, &tracked).require_grad();
            group.bench_function(format!("forward-backward/{name}"), |b| {
                b.iter(|| {
                    let weights = operator.forward(input(x.clone()), 0);
                    black_box((weights.clone() * weights).sum().backward())
                })
            });
        }
    }
    group.finish();
}

fn hard(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hard-topk");
    for shape in SIZES {
        let x = scores(shape, &Device::flex());
        group.bench_function(format!("{}x{}", shape[0], shape[1]), |b| {
            b.iter(|| black_box(hard_topk(x.clone(), shape[1] / 9, None)))
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = diffprune_benches::brief();
    targets = soft, operators, hard
}
criterion_main!(benches);
