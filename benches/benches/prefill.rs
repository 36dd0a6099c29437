//! The gain of pruning in a vision-language model: prefill against the number of kept visual tokens.
//!
//! Random weights at a quarter of LLaVA-1.5's width and depth; the vision tower has its published width and two layers.

use std::hint::black_box;
use std::time::Duration;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use diffprune_pruner::{PositionRule, Signals};
use diffprune_vlm_adapters::{
    ClipVisionConfig, GenerateOptions, LlamaConfig, LlavaConfig, LlavaModel, TextBatch, VisualInput,
};

/// Visual tokens of one image of 336 pixels.
const N_VISUAL: usize = 576;

/// Text tokens around the image, as in a short question.
const N_TEXT: usize = 64;

/// Kept tokens: all, then the budgets of the papers.
const KEPT: [usize; 4] = [N_VISUAL, 192, 128, 64];

fn config() -> LlavaConfig {
    let text = LlamaConfig {
        hidden_size: 1024,
        intermediate_size: 2752,
        num_hidden_layers: 8,
        num_attention_heads: 8,
        num_key_value_heads: 8,
        ..LlamaConfig::vicuna_7b()
    };
    let vision = ClipVisionConfig {
        num_hidden_layers: 2,
        ..ClipVisionConfig::vit_l_14_336()
    };
    LlavaConfig {
        text,
        vision,
        vision_feature_layer: -1,
        ..LlavaConfig::llava_1_5_7b()
    }
}

/// Features of which every `576 / kept`-th is kept.
fn visual(d_model: usize, kept: usize) -> VisualInput {
    let features = Tensor::random(
        [1, kept, d_model],
        Distribution::Normal(0.0, 0.02),
        &Device::flex(),
    );
    let keep = (0..kept).map(|i| i * N_VISUAL / kept).collect();
    VisualInput::raster(features, &[keep], N_VISUAL, PositionRule::Keep)
}

fn prompt(model: &LlavaModel) -> Vec<u32> {
    let text = |i: usize| 1 + (i * 37 % 1000) as u32;
    let mut ids: Vec<u32> = (0..N_TEXT).map(text).collect();
    ids.insert(4, model.reader().image_token_id);
    ids
}

fn prefill(criterion: &mut Criterion) {
    let device = Device::flex();
    device.seed(0);
    let model = config().init(&device);
    let prompt = prompt(&model);
    let d_model = model.language.d_model();

    let mut group = criterion.benchmark_group("prefill");
    for kept in KEPT {
        let visual = visual(d_model, kept);
        for (name, max_new_tokens) in [("first-token", 1), ("16-tokens", 16)] {
            let options = GenerateOptions::default().with_max_new_tokens(max_new_tokens);
            let prompts = [prompt.clone()];
            group.bench_with_input(BenchmarkId::new(name, kept), &visual, |b, visual| {
                b.iter(|| black_box(model.reader().generate(&prompts, Some(visual), &options)))
            });
        }
    }
    group.finish();
}

/// The loss and its gradient in the features, the language model frozen: one step of training a pruner.
fn loss(criterion: &mut Criterion) {
    let device = Device::flex();
    device.seed(0);
    let model = config().init(&device);
    let ids = prompt(&model);
    let mut targets = vec![false; ids.len()];
    targets[N_TEXT - 8..].fill(true);
    let batch = TextBatch {
        ids: vec![ids],
        targets: vec![targets],
    };
    let full = visual(model.language.d_model(), N_VISUAL);

    criterion.bench_function("loss/forward-backward/576", |b| {
        b.iter(|| {
            let features = full.features.clone().autodiff().require_grad();
            let visual = VisualInput {
                features: features.clone(),
                ..full.clone()
            };
            let gradients = model
                .reader()
                .loss(&batch, Some(&visual))
                .map(|loss| loss.backward());
            black_box(gradients.map(|gradients| features.grad(&gradients)))
        })
    });
}

fn vision(criterion: &mut Criterion) {
    let device = Device::flex();
    device.seed(0);
    let model = config().init(&device);
    let pixels = Tensor::random([1, 3, 336, 336], Distribution::Normal(0.0, 1.0), &device);
    for cls_attention in [false, true] {
        let signals = Signals {
            cls_attention,
            ..Signals::default()
        };
        criterion.bench_function(&format!("vision/2-layers/cls-attention-{cls_attention}"), |b| {
            b.iter(|| black_box(model.encode(pixels.clone(), signals).hidden.into_data()))
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(5));
    targets = vision, prefill, loss
}
criterion_main!(benches);
