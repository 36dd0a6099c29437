//! Both stages, one after the other.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffprune_training::rng;
use diffprune_vlm::{
    Activation, ClipVision, ClipVisionConfig, FeatureSelect, LlamaConfig, LlavaConfig, LlavaModel,
};
use rand::RngExt;

use super::config::PretrainConfig;
use super::init::rescale;
use super::language::{Conversation, Lesson, Reader, Words, converse};
use super::pixels::Pictures;
use super::stage::Stage;
use super::tower::TowerPupil;
use crate::{MiniError, ProcessorIds, SceneDataset, Split, WorldConfig, build_tokenizer};

/// Where the scenes of stage two begin, beyond those of stage one.
const LANGUAGE_FIRST: u64 = 1 << 32;
/// Scenes on which the stages are checked.
const CHECK_IMAGES: usize = 192;
/// Of these at a time.
const CHECK_BATCH: usize = 16;
/// Tokens given at the check with few tokens.
const CHECK_FEW: usize = 16;
/// Random streams.
const STREAM_LANGUAGE: u64 = 11;
const STREAM_CHECK: u64 = 12;

/// A model that went through both stages.
#[derive(Debug)]
pub struct Pretrained {
    /// The network, on the plain device.
    pub model: LlavaModel,
    /// Its configuration, as it stands in `config.json`.
    pub config: LlavaConfig,
}

impl PretrainConfig {
    /// The network's sizes for a world.
    pub fn model(&self, world: &WorldConfig) -> LlavaConfig {
        let ids = ProcessorIds::of_mini();
        LlavaConfig {
            vision: ClipVisionConfig {
                hidden_size: self.d_vision,
                intermediate_size: 4 * self.d_vision,
                num_hidden_layers: self.vision_layers + 1,
                num_attention_heads: self.n_heads,
                image_size: world.image_size as usize,
                patch_size: world.patch_size as usize,
                hidden_act: Activation::QuickGelu,
                layer_norm_eps: 1e-5,
            },
            text: LlamaConfig {
                vocab_size: ids.vocab_size,
                hidden_size: self.d_model,
                intermediate_size: (8 * self.d_model / 3).next_multiple_of(16),
                num_hidden_layers: self.language_layers,
                num_attention_heads: self.n_heads,
                num_key_value_heads: self.n_heads,
                head_dim: self.d_model / self.n_heads,
                max_position_embeddings: 1024,
                rope_theta: 10_000.0,
                rms_norm_eps: 1e-5,
                tie_word_embeddings: false,
                attention_bias: false,
                mrope_section: None,
            },
            projector_hidden_act: Activation::Gelu,
            image_token_id: ids.image,
            vision_feature_layer: -2,
            vision_feature_select_strategy: FeatureSelect::Default,
        }
    }
}

/// Trains a small LLaVA-1.5 from nothing; a stopped run in `dir` goes on where its last checkpoint is.
///
/// # Errors
/// When the configuration makes no world or model, files cannot be written, or the loss diverges.
pub fn pretrain(
    config: &PretrainConfig,
    world: &WorldConfig,
    dir: &Path,
    device: &Device,
) -> Result<Pretrained, MiniError> {
    let sizes = config.model(world);
    sizes.validate()?;
    device.seed(config.seed);
    let mut model = sizes.init(device);
    let train = SceneDataset::new(world.clone(), config.seed, Split::Train)?;
    let val = SceneDataset::new(world.clone(), config.seed, Split::Val)?;
    let pupil = TowerPupil::new(rescale(model.vision.clone()), device);
    let reader = Reader {
        projector: model.projector.clone(),
        language: rescale(model.language.clone()),
    };
    model.vision = tower(config, pupil, &train, &val, dir, device)?;
    let reader = language(config, reader, &model, &train, &val, dir, device)?;
    model.projector = reader.projector;
    model.language = reader.language;
    Ok(Pretrained { model, config: sizes })
}

/// Stage one.
fn tower(
    config: &PretrainConfig,
    pupil: TowerPupil,
    train: &SceneDataset,
    val: &SceneDataset,
    dir: &Path,
    device: &Device,
) -> Result<ClipVision, MiniError> {
    let stage = Stage {
        name: "tower",
        recipe: &config.tower,
        config,
        dir,
    };
    let per_shard = config.images_per_shard;
    let autodiff = device.clone().autodiff();
    let loss = |pupil: &TowerPupil, step: usize, shard: usize| {
        let first = ((step * config.shards + shard) * per_shard) as u64;
        let pictures = Pictures::draw(train, first, per_shard);
        Ok(pupil.forward(&pictures, &autodiff, false).loss)
    };
    let check = |pupil: &TowerPupil, _step: usize| {
        let mut counts = vec![(0, 0); TowerPupil::questions().count()];
        for first in (0..CHECK_IMAGES).step_by(CHECK_BATCH) {
            let pictures = Pictures::draw(val, first as u64, CHECK_BATCH);
            for (sum, count) in counts
                .iter_mut()
                .zip(pupil.forward(&pictures, device, true).counts)
            {
                *sum = (sum.0 + count.0, sum.1 + count.1);
            }
        }
        let share = |(n, right): (usize, usize)| right as f64 / n.max(1) as f64;
        Ok(TowerPupil::questions()
            .map(str::to_owned)
            .zip(counts.into_iter().map(share))
            .collect())
    };
    Ok(stage.run(pupil, loss, check)?.vision)
}

/// Stage two.
fn language(
    config: &PretrainConfig,
    reader: Reader,
    frozen: &LlavaModel,
    train: &SceneDataset,
    val: &SceneDataset,
    dir: &Path,
    device: &Device,
) -> Result<Reader, MiniError> {
    let ids = ProcessorIds::of_mini();
    let words = Words::new(build_tokenizer()?, ids.eos, ids.pad)?;
    let classroom = |dataset| Classroom {
        frozen,
        words: &words,
        dataset,
        turns: config.turns,
        device,
    };
    let (pupils, examinees) = (classroom(train), classroom(val));
    let stage = Stage {
        name: "language",
        recipe: &config.language,
        config,
        dir,
    };
    let per_shard = config.images_per_shard;
    let autodiff = device.clone().autodiff();
    let loss = |reader: &Reader, step: usize, shard: usize| {
        let job = (step * config.shards + shard) as u64;
        let mut rng = rng(config.seed, STREAM_LANGUAGE, job);
        let first = LANGUAGE_FIRST + job * per_shard as u64;
        let subset = rng
            .random_bool(config.subset_share)
            .then(|| rng.random_range(config.subset_min as u32..=config.subset_max as u32) as usize);
        let lesson = pupils.lesson(first, per_shard, subset, &mut rng)?;
        Ok(reader.forward(&lesson, &words, &autodiff, false).loss)
    };
    let check = |reader: &Reader, _step: usize| {
        let mut figures = BTreeMap::new();
        let mut rng = rng(config.seed, STREAM_CHECK, 0);
        for (label, subset) in [("", None), ("@few", Some(CHECK_FEW))] {
            let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
            for first in (0..CHECK_IMAGES).step_by(CHECK_BATCH) {
                let first = first as u64;
                let lesson = examinees.lesson(first, CHECK_BATCH, subset, &mut rng)?;
                for (kind, right) in reader.forward(&lesson, &words, device, true).right {
                    let name = kind.map_or("caption", |kind| kind.word());
                    for name in [name, if kind.is_some() { "all" } else { "" }] {
                        let count = counts.entry(name.to_owned()).or_default();
                        *count = (count.0 + 1, count.1 + usize::from(right));
                    }
                }
            }
            counts.remove("");
            let share = |(n, right): (usize, usize)| right as f64 / n.max(1) as f64;
            let keep = |name: &String| label.is_empty() || name == "all";
            figures.extend(
                counts
                    .into_iter()
                    .filter(|(n, _)| keep(n))
                    .map(|(n, c)| (format!("{n}{label}"), share(c))),
            );
        }
        Ok(figures)
    };
    stage.run(reader, loss, check)
}

/// What lessons are made of: a frozen tower, words, scenes.
struct Classroom<'a> {
    frozen: &'a LlavaModel,
    words: &'a Words,
    dataset: &'a SceneDataset,
    turns: usize,
    device: &'a Device,
}

impl Classroom<'_> {
    /// Scenes `first .. first + n`, their tokens (a random subset of that many, if given) and conversations.
    fn lesson(
        &self,
        first: u64,
        n: usize,
        subset: Option<usize>,
        rng: &mut impl rand::Rng,
    ) -> Result<Lesson, MiniError> {
        let pictures = Pictures::draw(self.dataset, first, n);
        let tokens: Tensor<3> = self.frozen.tokens(pictures.pixels(self.device));
        let conversations: Vec<Conversation> = (first..first + n as u64)
            .map(|index| converse(self.words, self.dataset, index, 0, self.turns))
            .collect::<Result<_, _>>()?;
        Ok(Lesson::new(tokens, &pictures, conversations, subset, rng))
    }
}
