//! Every selector on the host's CPU: one image, at the shapes of three models.
//!
//! Names are `N x D/K/method`. Signals are there before the clock starts: what they cost belongs to the model.

use std::hint::black_box;
use std::time::Duration;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use diffprune_baselines::registry;
use diffprune_pruner::{Area, Budget, Grid, Keys, Layout, PruningContext, Segment, View, WideAttention};

/// LLaVA-1.5, LLaVA-NeXT with four tiles, and Qwen2.5-VL on a square image.
const SHAPES: [(&str, usize); 3] = [("576x1024", 1024), ("2880x1024", 1024), ("1369x3584", 3584)];

fn layout(name: &str) -> Layout {
    let grid = |side| Grid {
        rows: side,
        cols: side,
    };
    match name {
        "576x1024" => grid(24).into(),
        "1369x3584" => grid(37).into(),
        _ => {
            let segment = |side| Segment {
                grid: grid(side),
                area: Area::IMAGE,
            };
            let tile = |tile: usize| View {
                grid: grid(24),
                tokens: (0..576)
                    .map(|cell| {
                        let (row, col) = (tile / 2 * 24 + cell / 24, tile % 2 * 24 + cell % 24);
                        Some(576 + row * 48 + col)
                    })
                    .collect(),
            };
            let whole = View {
                grid: grid(24),
                tokens: (0..576).map(Some).collect(),
            };
            Layout {
                segments: vec![segment(24), segment(48)],
                views: std::iter::once(whole).chain((0..4).map(tile)).collect(),
            }
        }
    }
}

/// One image with every signal.
fn context(layout: &Layout, width: usize, k: usize, device: &Device) -> PruningContext {
    let n_tokens = layout.n_tokens();
    let normal = |rows: usize, width: usize| {
        Tensor::<3>::random([1, rows, width], Distribution::Normal(0.0, 1.0), device)
    };
    // A few tokens are seen far more than the others, as encoders have it.
    let heads = |n_heads: usize| normal(n_heads, n_tokens).mul_scalar(2.0).exp();
    let scores = || heads(1).squeeze_dim::<2>(1);
    let mut context = PruningContext::new(normal(n_tokens, width), layout.clone(), &Budget::Tokens(k))
        .expect("a layout of all tokens");
    let observed = &mut context.observed;
    observed.cls_attention = Some(heads(16));
    observed.first_cls_attention = Some(heads(16));
    observed.class_tokens = Some(normal(layout.views.len(), width));
    observed.keys = Some(Keys {
        tokens: normal(n_tokens, 64),
        class: None,
    });
    observed.wide_attention = Some(WideAttention {
        cls: scores(),
        keys: normal(n_tokens, width),
    });
    observed.received_attention = Some(scores());
    observed.projected = Some(normal(n_tokens, width));
    observed.text_relevance = Some(scores());
    observed.relevance = Some(scores());
    context
}

fn selectors(criterion: &mut Criterion) {
    let device = Device::flex();
    device.seed(1);
    for (name, width) in SHAPES {
        let layout = layout(name);
        for k in [64, 320] {
            let mut group = criterion.benchmark_group(format!("{name}/{k}"));
            let context = context(&layout, width, k, &device);
            for baseline in registry() {
                let method = (baseline.init)();
                group.bench_function(baseline.name, |bench| {
                    bench.iter(|| black_box(method.select(&context).expect("every signal is there")))
                });
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = selectors
}
criterion_main!(benches);
