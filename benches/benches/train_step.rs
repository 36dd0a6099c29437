//! A training step of the small model: forward and backward of its two stages, on one thread (a shard, as the trainer
//! runs it) and on the whole pool.

use std::hint::black_box;
use std::time::Duration;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use diffprune_mini::{Family, PretrainConfig, Pretrained, WorldConfig, untrained};
use diffprune_vlm_adapters::{LlavaModel, TextBatch, VisualInput};

/// Images of a shard.
const IMAGES: usize = 8;
/// Text tokens behind the image: about eight questions with their answers.
const N_TEXT: usize = 112;

fn model() -> LlavaModel {
    let recipe = PretrainConfig::of(Family::Llava15);
    match untrained(&recipe, &WorldConfig::default(), &Device::flex()) {
        Ok(Pretrained::Llava(model, _)) => model,
        other => panic!("expected a LLaVA-1.5, found {other:?}"),
    }
}

/// Forward and backward of the vision tower up to the layer that LLaVA reads.
fn tower(model: &LlavaModel, pixels: &Tensor<4>) {
    let pupil = model.vision.clone().train();
    let loss = pupil.hidden_state(pixels.clone().autodiff(), -2).square().mean();
    black_box(GradientsParams::from_grads(loss.backward(), &pupil));
}

/// Forward and backward of projector and language model on the tokens of the frozen tower.
fn reader(model: &LlavaModel, tokens: &Tensor<3>, batch: &TextBatch) {
    let mut pupil = model.clone();
    pupil.projector = pupil.projector.train();
    pupil.language = pupil.language.train();
    let visual = VisualInput::full(pupil.projector.forward(tokens.clone().autodiff()));
    if let Ok(loss) = pupil.reader().loss(batch, Some(&visual)) {
        black_box(GradientsParams::from_grads(loss.backward(), &pupil));
    }
}

fn conversation(image: u32) -> TextBatch {
    let mut ids = vec![1, 20, image];
    ids.extend((0..N_TEXT as u32).map(|i| 20 + i % 100));
    let targets = (0..ids.len()).map(|i| i > 3 && i % 14 < 2).collect();
    TextBatch {
        ids: vec![ids; IMAGES],
        targets: vec![targets; IMAGES],
    }
}

fn steps(criterion: &mut Criterion) {
    let device = Device::flex();
    let model = model();
    let pixels = Tensor::random([IMAGES, 3, 168, 168], Distribution::Normal(0.0, 1.0), &device);
    let tokens = model.tokens(pixels.clone());
    let batch = conversation(model.reader().image_token_id);
    let Ok(one) = rayon_pool() else { return };
    let mut group = criterion.benchmark_group("train_step_8_images");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("tower/one_thread", |b| {
        b.iter(|| one.install(|| tower(&model, &pixels)))
    });
    group.bench_function("tower/pool", |b| b.iter(|| tower(&model, &pixels)));
    group.bench_function("reader/one_thread", |b| {
        b.iter(|| one.install(|| reader(&model, &tokens, &batch)))
    });
    group.bench_function("reader/pool", |b| b.iter(|| reader(&model, &tokens, &batch)));
    group.finish();
}

fn rayon_pool() -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().num_threads(1).build()
}

criterion_group!(benches, steps);
criterion_main!(benches);
