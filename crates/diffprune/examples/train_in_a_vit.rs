//! The throttled gate inside a network of one's own: a plain Burn ViT, no vision-language model.
//!
//! `cargo run -p diffprune --example train_in_a_vit`, a few seconds on two cores.
//!
//! Every picture is 16 patches of noise, and one of them shows the sign of its class. The ViT learns to read the sign and is
//! then frozen. A scorer that was never told where the sign is learns it from the ViT's loss alone: only 2 of 16 tokens may
//! pass, and whatever does not pass turns into noise.

use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use diffprune::{
    Denoiser, DenoiserConfig, Draws, Scorer, ScorerConfig, ThrottledInput, hard_topk, throttled_gate,
};

const BATCH: usize = 32;
const N_TOKENS: usize = 16;
const N_CLASSES: usize = 4;
const D_PATCH: usize = 8;
const WIDTH: usize = 32;
/// Tokens that may pass.
const BUDGET: usize = 2;

/// A vision transformer, in two halves: what is pruned are the tokens between them.
#[derive(Module, Debug)]
struct Vit {
    embedding: Linear,
    positions: Param<Tensor<2>>,
    encoder: TransformerEncoder,
    head: Linear,
}

impl Vit {
    fn new(device: &Device) -> Self {
        Self {
            embedding: LinearConfig::new(D_PATCH, WIDTH).init(device),
            positions: Initializer::Normal { mean: 0.0, std: 0.1 }.init([N_TOKENS, WIDTH], device),
            encoder: TransformerEncoderConfig::new(WIDTH, 2 * WIDTH, 4, 2)
                .with_dropout(0.0)
                .with_norm_first(true)
                .init(device),
            head: LinearConfig::new(WIDTH, N_CLASSES).init(device),
        }
    }

    /// Patches `[b, n, D_PATCH]` to tokens `[b, n, WIDTH]`.
    fn tokens(&self, patches: Tensor<3>) -> Tensor<3> {
        self.embedding.forward(patches) + self.positions.val().unsqueeze()
    }

    /// Tokens to scores of the classes `[b, N_CLASSES]`.
    fn classify(&self, tokens: Tensor<3>) -> Tensor<2> {
        let encoded = self.encoder.forward(TransformerEncoderInput::new(tokens));
        self.head.forward(encoded.mean_dim(1).squeeze_dim::<2>(1))
    }
}

/// The modules that the gate's training changes; only the scorer is needed afterwards.
#[derive(Module, Debug)]
struct Gate {
    scorer: Scorer,
    denoiser: Denoiser,
}

/// Some pictures.
struct Batch {
    /// `[b, n, D_PATCH]`
    patches: Tensor<3>,
    /// `[b]`
    classes: Tensor<1, Int>,
    /// The place of each sign.
    places: Vec<usize>,
}

/// Picture number `i` of the endless series shows class `i % 4` at a place that runs through all 16.
fn batch(step: usize, device: &Device) -> Batch {
    let numbers = || step * BATCH..(step + 1) * BATCH;
    let class = |i: usize| i % N_CLASSES;
    let place = |i: usize| (i * 7 + i / N_TOKENS) % N_TOKENS;
    let mut signs = vec![0.0_f32; BATCH * N_TOKENS * D_PATCH];
    for (row, i) in numbers().enumerate() {
        let start = (row * N_TOKENS + place(i)) * D_PATCH + 2 * class(i);
        signs[start..start + 2].copy_from_slice(&[3.0, -3.0]);
    }
    let shape = [BATCH, N_TOKENS, D_PATCH];
    let noise = Tensor::<3>::random(shape, Distribution::Normal(0.0, 0.5), device);
    let classes: Vec<i64> = numbers().map(|i| class(i) as i64).collect();
    Batch {
        patches: noise + Tensor::from_data(TensorData::new(signs, shape), device),
        classes: Tensor::from_data(TensorData::new(classes, [BATCH]), device),
        places: numbers().map(place).collect(),
    }
}

fn loss(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&logits.device())
        .forward(logits, classes)
}

/// Trains the whole ViT to read the signs.
fn pretrain(device: &Device, steps: usize) -> Vit {
    let mut vit = Vit::new(device).train();
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..steps {
        let data = batch(step, device);
        let loss = loss(vit.classify(vit.tokens(data.patches)), data.classes);
        let grads = GradientsParams::from_grads(loss.backward(), &vit);
        vit = optimizer.step(3e-3, vit, grads);
    }
    // Without autodiff its weights are constants: gradients pass through them and change nothing.
    vit.valid()
}

/// Trains scorer and denoiser through the throttled gate, with the ViT frozen.
fn train_gate(vit: &Vit, device: &Device, steps: usize) -> Scorer {
    let gate = Gate {
        scorer: ScorerConfig::mini(WIDTH).init(device),
        denoiser: DenoiserConfig::new(WIDTH).init(device),
    };
    let mut gate = gate.train();
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..steps {
        let data = batch(step, device);
        let tokens = vit.tokens(data.patches);
        let numbers: Vec<u64> = (0..BATCH as u64).map(|i| (step * BATCH) as u64 + i).collect();
        let gated = throttled_gate(ThrottledInput {
            scores: gate.scorer.forward(tokens.clone(), None),
            tokens,
            budget: BUDGET.into(),
            // From soft to nearly hard.
            tau: 1.0 - 0.9 * step as f64 / steps as f64,
            draws: Draws {
                seed: 0,
                numbers: &numbers,
            },
            mask: None,
        });
        let repaired = gate.denoiser.forward(gated.tokens, None);
        let loss = loss(vit.classify(repaired), data.classes);
        let grads = GradientsParams::from_grads(loss.backward(), &gate);
        gate = optimizer.step(3e-3, gate, grads);
    }
    gate.scorer.valid()
}

/// The share of pictures whose sign is among the tokens that are kept.
fn signs_kept(vit: &Vit, scorer: &Scorer, device: &Device) -> f64 {
    let data = batch(1_000_000, device);
    let scores = scorer.forward(vit.tokens(data.patches), None);
    let kept = hard_topk(scores, BUDGET, None).into_data();
    let kept: Vec<usize> = kept.iter::<i64>().map(|index| index as usize).collect();
    let found = kept.chunks(BUDGET).zip(&data.places);
    found.filter(|(kept, place)| kept.contains(place)).count() as f64 / BATCH as f64
}

fn main() {
    let device = Device::flex();
    device.seed(0);
    let vit = pretrain(&device, 150);
    let untrained = ScorerConfig::mini(WIDTH).init(&device);
    let before = signs_kept(&vit, &untrained, &device);
    let scorer = train_gate(&vit, &device, 150);
    let after = signs_kept(&vit, &scorer, &device);
    println!(
        "{BUDGET} of {N_TOKENS} tokens kept: the sign is among them in {before:.2} of the pictures before"
    );
    println!("and in {after:.2} after training through the frozen ViT (at random: 0.125)");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scorer_finds_the_sign_through_the_loss_alone() {
        let device = Device::flex();
        device.seed(1);
        let vit = pretrain(&device, 150);
        let scorer = train_gate(&vit, &device, 150);
        let found = signs_kept(&vit, &scorer, &device);
        assert!(found > 0.7, "{found}, at random 0.125");
    }
}
