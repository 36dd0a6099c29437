//! Training of the small classifier.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use diffprune_kernels::{cross_entropy, layer_norm};
use diffprune_training::{Stop, Workers, rng};
use diffprune_vlm_adapters::{VitConfig, VitLayout, VitModel};
use rand::seq::index::sample;
use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::config::DeitRecipe;
use super::scenes::{ClassScene, ClassScenes, class_names};
use crate::pretrain::{N_ANSWERS, SceneLabels, Stage, rescale, token_loss};
use crate::{MiniError, Split, WorldConfig, render};

/// Pictures on which a checkpoint is checked.
const CHECK_IMAGES: u64 = 256;
/// Of these at a time.
const CHECK_BATCH: u64 = 32;
/// Shares of the patches that are kept, at random, when a checkpoint is checked.
const CHECK_KEPT: [(&str, f64); 3] = [("top1", 1.0), ("top1@25%", 0.25), ("top1@10%", 0.1)];
/// Random streams.
const STREAM_DROP: u64 = 21;
const STREAM_CHECK: u64 = 22;
/// Deviation of fresh heads.
const HEAD_STD: f64 = 0.02;

/// A trained classifier, on the plain device.
#[derive(Debug)]
pub struct TrainedDeit {
    /// The network.
    pub model: VitModel,
    /// Its sizes.
    pub config: VitConfig,
}

impl TrainedDeit {
    /// Writes the checkpoint in the names of `layout`: weights, configuration with the classes' names, preprocessing.
    ///
    /// # Errors
    /// When the folder cannot be written, or values do not fit `dtype`.
    pub fn save_pretrained(&self, dir: &Path, layout: VitLayout, dtype: DType) -> Result<(), MiniError> {
        let config = VitConfig {
            layout,
            ..self.config.clone()
        };
        Ok(self.model.save_pretrained(&config, &class_names(), dir, dtype)?)
    }
}

/// The classifier with the head that only training needs: what lies in each patch, which a network of this size learns
/// much sooner than the class alone.
#[derive(Module, Debug)]
struct Pupil {
    model: VitModel,
    patch_norm: LayerNorm,
    patch_head: Linear,
}

/// The pictures of a shard.
struct Batch {
    /// The labels of each patch that stays.
    labels: Vec<SceneLabels>,
    pixels: TensorData,
    classes: Vec<i64>,
    /// The patches that stay, ascending, one list per picture; `None` keeps all.
    keep: Option<Vec<Vec<usize>>>,
}

/// Trains a small DeiT from nothing; a stopped run in `dir` goes on where its last checkpoint is.
///
/// Every picture is new. In a share of the shards a random part of the patches is dropped before the first block, so that
/// the classifier tolerates what the pilot studies do to it. `threads` compute the shards of a step on a CPU; their number
/// changes nothing. `None` computes one shard after the other on the calling thread, as GPUs want it. `stop` ends the training
/// after the running step, with a checkpoint and [`MiniError::Stopped`].
///
/// # Errors
/// When the recipe makes no network, files cannot be written, the loss diverges, or the training is stopped.
pub fn train_deit(
    recipe: &DeitRecipe,
    world: &WorldConfig,
    dir: &Path,
    device: &Device,
    threads: Option<usize>,
    stop: &Stop,
) -> Result<TrainedDeit, MiniError> {
    let config = recipe.network(world, VitLayout::TransformersDeit);
    config.validate()?;
    check(recipe)?;
    device.seed(recipe.seed);
    let pupil = Pupil {
        model: init(&config, device),
        patch_norm: LayerNormConfig::new(config.blocks.hidden_size).init(device),
        patch_head: LinearConfig::new(config.blocks.hidden_size, N_ANSWERS).init(device),
    };
    let pictures = |split| ClassScenes::new(world.clone(), recipe.seed, split);
    let (train, val) = (pictures(Split::Train)?, pictures(Split::Val)?);
    let n_patches = config.blocks.n_patches();
    let stage = Stage {
        name: "classifier",
        recipe: recipe.training.clone(),
        shards: recipe.shards,
        log_every: recipe.log_every,
        checkpoint_every: recipe.checkpoint_every,
        dir: dir.to_path_buf(),
        workers: threads.map(|threads| Arc::new(Workers::new(threads))),
        stop: stop.clone(),
        figures: CHECK_KEPT.map(|(name, _)| name).to_vec(),
    };
    let n = recipe.images_per_shard;
    let (of_draw, seed, plain) = (recipe.clone(), recipe.seed, device.clone());
    let draw = move |step: usize, shard: usize| {
        let recipe = &of_draw;
        let job = (step * recipe.shards + shard) as u64;
        let mut rng = rng(recipe.seed, STREAM_DROP, job);
        let kept = rng.random_bool(recipe.drop_share).then(|| {
            let dropped = rng.random_range(0.0..=recipe.drop_max);
            kept_of(1.0 - dropped, n_patches)
        });
        let keep = kept.map(|count| subsets(n, n_patches, count, &mut rng));
        Ok(Batch::draw(&train, job * n as u64, n as u64, keep))
    };
    let autodiff = device.clone().autodiff();
    let loss = move |pupil: &Pupil, batch: &Batch| Ok(batch.loss(pupil, &autodiff));
    let check = move |pupil: &Pupil| {
        let mut figures = BTreeMap::new();
        for (name, share) in CHECK_KEPT {
            let mut right = 0;
            for first in (0..CHECK_IMAGES).step_by(CHECK_BATCH as usize) {
                let mut rng = rng(seed, STREAM_CHECK, first);
                let count = kept_of(share, n_patches);
                let keep =
                    (count < n_patches).then(|| subsets(CHECK_BATCH as usize, n_patches, count, &mut rng));
                right += Batch::draw(&val, first, CHECK_BATCH, keep).n_right(&pupil.model, &plain);
            }
            figures.insert(name.to_string(), right as f64 / CHECK_IMAGES as f64);
        }
        Ok(figures)
    };
    let pupil = stage.run(pupil, draw, loss, check)?;
    Ok(TrainedDeit {
        model: pupil.model,
        config,
    })
}

fn check(recipe: &DeitRecipe) -> Result<(), MiniError> {
    let refuse = |field, found: String, wanted: &str| {
        Err(MiniError::Config {
            field,
            found,
            wanted: wanted.into(),
        })
    };
    if recipe.width == 0 || !recipe.width.is_multiple_of(32) {
        return refuse("width", recipe.width.to_string(), "a multiple of 32");
    }
    if recipe.shards == 0 || recipe.images_per_shard == 0 {
        return refuse(
            "shards",
            recipe.shards.to_string(),
            "at least one picture in a step",
        );
    }
    for (field, share) in [("drop_share", recipe.drop_share), ("drop_max", recipe.drop_max)] {
        if !(0.0..=1.0).contains(&share) {
            return refuse(field, share.to_string(), "0 to 1");
        }
    }
    Ok(())
}

/// Random weights at the scale that small widths want, and heads that begin undecided.
fn init(config: &VitConfig, device: &Device) -> VitModel {
    let mut model = rescale(config.init(device));
    let head = || {
        LinearConfig::new(config.blocks.hidden_size, config.n_classes)
            .with_initializer(Initializer::Normal {
                mean: 0.0,
                std: HEAD_STD,
            })
            .init(device)
    };
    model.head = head();
    model.distillation_head = Some(head());
    model
}

/// So many patches are that share of all, one at least.
fn kept_of(share: f64, n_patches: usize) -> usize {
    ((share * n_patches as f64).round() as usize).clamp(1, n_patches)
}

/// Random patches of each picture, ascending.
fn subsets(n: usize, n_patches: usize, count: usize, rng: &mut impl Rng) -> Vec<Vec<usize>> {
    let one = |_| {
        let mut kept = sample(rng, n_patches, count).into_vec();
        kept.sort_unstable();
        kept
    };
    (0..n).map(one).collect()
}

impl Batch {
    fn draw(scenes: &ClassScenes, first: u64, n: u64, keep: Option<Vec<Vec<usize>>>) -> Self {
        let drawn: Vec<(Vec<f32>, i64, SceneLabels)> = (first..first + n)
            .into_par_iter()
            .map(|index| {
                let ClassScene { scene, class } = scenes.get(index);
                let labels = SceneLabels::whole(&scene);
                let labels = match keep.as_ref().map(|keep| &keep[(index - first) as usize]) {
                    Some(kept) => labels.of_tokens(kept),
                    None => labels,
                };
                (planes(&render(&scene)), class as i64, labels)
            })
            .collect();
        let side = scenes.image_size() as usize;
        let (mut values, mut classes, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for (planes, class, of_patches) in drawn {
            values.extend(planes);
            classes.push(class);
            labels.push(of_patches);
        }
        Self {
            labels,
            pixels: TensorData::new(values, [n as usize, 3, side, side]),
            classes,
            keep,
        }
    }

    /// Hidden state of the last block.
    fn hidden(&self, model: &VitModel, device: &Device) -> Tensor<3> {
        let tokens = model.embed(Tensor::from_data(self.pixels.clone(), device));
        model.run(match &self.keep {
            Some(keep) => model.keep(tokens, keep),
            None => tokens,
        })
    }

    /// Mean cross entropy, summed over both heads and the questions about patches.
    fn loss(&self, pupil: &Pupil, device: &Device) -> Tensor<1> {
        let (n, model) = (self.classes.len(), &pupil.model);
        let targets = Tensor::<1, Int>::from_data(TensorData::new(self.classes.clone(), [n]), device);
        let hidden = self.hidden(model, device);
        let patches = model.patches(hidden.clone());
        let [images, n_kept, width] = patches.dims();
        let patches = patches.reshape([images * n_kept, width]);
        let (gamma, beta) = (&pupil.patch_norm.gamma, &pupil.patch_norm.beta);
        let patches = match beta {
            Some(beta) => layer_norm(patches, gamma.val(), beta.val(), 1e-5),
            None => pupil.patch_norm.forward(patches),
        };
        let answers = pupil.patch_head.forward(patches);
        let (about_patches, _) = token_loss(answers, &self.labels, device, false);
        let (logits, distilled) = model.head_logits(hidden);
        let loss = cross_entropy(logits, targets.clone()).mean() + about_patches;
        match distilled {
            Some(logits) => loss + cross_entropy(logits, targets).mean(),
            None => loss,
        }
    }

    /// Pictures whose most likely class is the right one.
    fn n_right(&self, model: &VitModel, device: &Device) -> usize {
        let logits = model.logits(self.hidden(model, device));
        let best = logits.argmax(1).into_data();
        best.iter::<i64>()
            .zip(&self.classes)
            .filter(|(best, class)| best == *class)
            .count()
    }
}

/// Pixels of a picture, channel by channel, from -1 to 1: mean and deviation one half, as the preprocessing file says.
fn planes(image: &image::RgbImage) -> Vec<f32> {
    let channel = |c: usize| {
        image
            .pixels()
            .map(move |pixel| f32::from(pixel.0[c]) / 127.5 - 1.0)
    };
    (0..3).flat_map(channel).collect()
}
