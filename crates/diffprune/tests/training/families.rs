//! One recipe trains on every kind of model: the loss falls, and the model stays as it was.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffprune::scorer::ScorerCheckpoint;
use diffprune::training::Progress;
use diffprune::vlm::{Llava, LlavaNext, LoadOptions, Qwen25Vl};
use diffprune::{CaptionData, CaptionSample, DataError, HeadCheckpoint, TrainConfig, Trainee, Vlm, train};
use image::RgbImage;

use super::{Stripes, alone, bits, settings, try_loss_on};

/// The checkpoint, below `DIFFPRUNE_FIXTURES` when it is set.
fn folder(name: &str) -> PathBuf {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    let root = std::env::var_os("DIFFPRUNE_FIXTURES").map_or_else(|| shipped.into(), PathBuf::from);
    root.join("hf/checkpoints").join(name)
}

/// Pictures of several shapes, so that images differ in their number of tokens where the model lets them.
struct Shapes(usize);

impl CaptionData for Shapes {
    fn len(&self) -> usize {
        self.0
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        let sample = Stripes(self.0).sample(index)?;
        let (width, height) = [(56, 56), (112, 60), (56, 100)][index % 3];
        Ok(CaptionSample {
            image: RgbImage::from_fn(width, height, |x, y| *sample.image.get_pixel(x % 40, y % 30)),
            ..sample
        })
    }
}

/// Samples, all of which make up each batch.
const SAMPLES: usize = 6;

/// The recipe, word for word the same for every model.
fn recipe() -> TrainConfig {
    let mut config = TrainConfig {
        steps: 30,
        batch: SAMPLES,
        ..settings()
    };
    config.validation.every = 0;
    config
}

/// Trains on a model and compares the loss on the training data, with the same noise, before and after; `parameters`
/// are the bits of all that is frozen.
fn the_loss_falls<V: Vlm>(vlm: &V, ragged: bool, parameters: impl Fn(&V) -> Vec<u32>) {
    let _guard = alone();
    let (data, config) = (Shapes(SAMPLES), recipe());
    let pictures: Vec<_> = (0..3).map(|index| data.sample(index).unwrap().image).collect();
    let encoded = vlm.encode(vlm.preprocess(&pictures).unwrap(), Default::default());
    let counts = encoded.counts();
    assert_eq!(
        counts.iter().any(|&count| count != counts[0]),
        ragged,
        "{counts:?}"
    );

    let frozen = parameters(vlm);
    assert!(frozen.len() > 10_000, "{} parameters are all", frozen.len());
    let out = tempfile::tempdir().unwrap();
    train(vlm, &data, None, &config, out.path(), &mut Progress::silent()).unwrap();
    assert!(frozen == parameters(vlm), "the frozen model moved");

    let indices: Vec<usize> = (0..SAMPLES).collect();
    let loss = |model: &Trainee| {
        let loss = try_loss_on(&data, model, vlm, &config, &indices).unwrap();
        f64::from(loss.nll.into_scalar::<f32>())
    };
    let first = config
        .diffprune
        .init(vlm.d_descriptor(), config.seed, &vlm.device())
        .unwrap();
    let last = trained(out.path(), &first, &vlm.device());
    let (before, after) = (loss(&first), loss(&last));
    println!(
        "{}: {counts:?} tokens, nll {before:.4} -> {after:.4}",
        vlm.family()
    );
    assert!(after < before - 0.3, "{}: {before} -> {after}", vlm.family());
}

/// The trainee that a run made of `first`.
fn trained(run: &Path, first: &Trainee, device: &Device) -> Trainee {
    let (head, _) = HeadCheckpoint::load(run, device).unwrap();
    let denoiser = ScorerCheckpoint::load_denoiser(run, first.denoiser.clone()).unwrap();
    Trainee::new(head, denoiser, device)
}

#[test]
fn llava15() {
    let vlm = Llava::load(folder("llava15_tiny"), &Device::flex(), LoadOptions::f32()).unwrap();
    the_loss_falls(&vlm, false, |vlm| bits(vlm.model()));
}

/// Bits of everything, the newline vector included.
fn bits_of_next(vlm: &LlavaNext) -> Vec<u32> {
    let newline = vlm.separator().unwrap().into_data();
    let newline = newline.iter::<f32>().map(f32::to_bits);
    bits(vlm.model()).into_iter().chain(newline).collect()
}

#[test]
fn llava_next_on_vicuna() {
    let vlm = LlavaNext::load(
        folder("llavanext_vicuna_tiny"),
        &Device::flex(),
        LoadOptions::f32(),
    )
    .unwrap();
    the_loss_falls(&vlm, true, bits_of_next);
}

#[test]
fn llava_next_on_mistral() {
    let vlm = LlavaNext::load(
        folder("llavanext_mistral_tiny"),
        &Device::flex(),
        LoadOptions::f32(),
    )
    .unwrap();
    the_loss_falls(&vlm, true, bits_of_next);
}

#[test]
fn qwen25vl() {
    let vlm = Qwen25Vl::load(folder("qwen25vl_tiny"), &Device::flex(), LoadOptions::f32()).unwrap();
    the_loss_falls(&vlm, true, |vlm| bits(vlm.model()));
}
