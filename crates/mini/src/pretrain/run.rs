//! Both stages, one after the other.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffprune_pruner::Layout;
use diffprune_training::{Stop, Workers, rng};
use rand::RngExt;

use super::body::{Body, Pretrained};
use super::config::PretrainConfig;
use super::labels::QUESTIONS;
use super::language::Lesson;
use super::parts::{Reader, Tower};
use super::pixels::Pictures;
use super::stage::Stage;
use super::tower::TowerPupil;
use super::words::{Conversation, Words};
use crate::{MiniError, Scene, SceneDataset, Split, WorldConfig};

/// Where the scenes of stage two begin, beyond those of stage one.
const LANGUAGE_FIRST: u64 = 1 << 32;
/// Scenes on which the stages are checked.
const CHECK_IMAGES: usize = 192;
/// Of these at a time.
const CHECK_BATCH: usize = 16;
/// Share of the tokens given at the check with few tokens.
const CHECK_FEW: f64 = 1.0 / 9.0;
/// Random streams.
const STREAM_LANGUAGE: u64 = 11;
const STREAM_CHECK: u64 = 12;
const STREAM_SUBSETS: u64 = 13;

/// Trains a small model from nothing, or from the checkpoint folder `start`; a stopped run in `dir` goes on where its
/// last checkpoint is. A stage of no steps leaves its part as it is.
///
/// `threads` compute the shards of a step on a CPU; their number changes nothing. `None` computes one shard after the
/// other on the calling thread, as GPUs want it, which changes the last bits. `stop` ends the training after the running step,
/// with a checkpoint and [`MiniError::Stopped`].
///
/// # Errors
/// When the configuration makes no world or model, `start` holds another model, files cannot be written, the loss
/// diverges, or the training is stopped.
pub fn pretrain(
    config: &PretrainConfig,
    world: &WorldConfig,
    dir: &Path,
    device: &Device,
    threads: Option<usize>,
    start: Option<&Path>,
    stop: &Stop,
) -> Result<Pretrained, MiniError> {
    let body = Body::new(config, world)?;
    let workers = threads.map(Workers::new);
    device.seed(config.seed);
    let (tower, reader) = match start {
        Some(folder) => body.load(folder, device)?,
        None => body.init(device),
    };
    let course = Course {
        config,
        body: &body,
        layout: body.layout(world),
        train: SceneDataset::new(world.clone(), config.seed, Split::Train)?,
        val: SceneDataset::new(world.clone(), config.seed, Split::Val)?,
        dir,
        device,
        workers: workers.as_ref(),
        stop,
    };
    let tower = course.tower(tower)?;
    let reader = course.reader(reader, &tower)?;
    Ok(body.assemble(tower, reader, device))
}

/// The model of a recipe before its training: random weights, true sizes.
///
/// # Errors
/// When the configuration makes no model.
pub fn untrained(
    config: &PretrainConfig,
    world: &WorldConfig,
    device: &Device,
) -> Result<Pretrained, MiniError> {
    let body = Body::new(config, world)?;
    device.seed(config.seed);
    let (tower, reader) = body.init(device);
    Ok(body.assemble(tower, reader, device))
}

/// What both stages need.
struct Course<'a> {
    config: &'a PretrainConfig,
    body: &'a Body,
    layout: Layout,
    train: SceneDataset,
    val: SceneDataset,
    dir: &'a Path,
    device: &'a Device,
    workers: Option<&'a Workers>,
    stop: &'a Stop,
}

/// The data of a shard of stage two.
struct Draft {
    pictures: Pictures,
    conversations: Vec<Conversation>,
    /// How many tokens are given, when not all.
    subset: Option<usize>,
    /// Number of the shard, from which its subsets follow.
    job: u64,
}

impl Course<'_> {
    /// Stage one.
    fn tower(&self, tower: Tower) -> Result<Tower, MiniError> {
        let (config, body, device) = (self.config, self.body, self.device);
        let (d_token, d_class) = body.widths();
        let pupil = TowerPupil::new(tower, d_token, d_class, device);
        let stage = Stage {
            name: "tower",
            recipe: &config.tower,
            shards: config.shards,
            log_every: config.log_every,
            checkpoint_every: config.checkpoint_every,
            dir: self.dir,
            workers: self.workers,
            stop: self.stop,
        };
        let n = config.images_per_shard;
        let autodiff = device.clone().autodiff();
        let draw = |step: usize, shard: usize| {
            let first = ((step * config.shards + shard) * n) as u64;
            Pictures::draw(body, &sharp(&self.train, first, n))
        };
        let loss = |pupil: &TowerPupil, pictures: &Pictures| {
            Ok(pupil.forward(body, pictures, &autodiff, false).loss)
        };
        let check = |pupil: &TowerPupil| {
            let mut counts = [(0, 0); QUESTIONS.len()];
            for first in (0..CHECK_IMAGES).step_by(CHECK_BATCH) {
                let pictures = Pictures::draw(body, &sharp(&self.val, first as u64, CHECK_BATCH))?;
                let found = pupil.forward(body, &pictures, device, true).counts;
                for (sum, count) in counts.iter_mut().zip(found) {
                    *sum = (sum.0 + count.0, sum.1 + count.1);
                }
            }
            let names = QUESTIONS.iter().map(|(name, _)| (*name).to_owned());
            Ok(names.zip(counts.map(share)).collect())
        };
        Ok(stage.run(pupil, draw, loss, check)?.vision)
    }

    /// Stage two.
    fn reader(&self, reader: Reader, tower: &Tower) -> Result<Reader, MiniError> {
        let config = self.config;
        let words = Words::new(config)?;
        let stage = Stage {
            name: "language",
            recipe: &config.language,
            shards: config.shards,
            log_every: config.log_every,
            checkpoint_every: config.checkpoint_every,
            dir: self.dir,
            workers: self.workers,
            stop: self.stop,
        };
        let n_tokens = self.layout.n_tokens();
        let n = config.images_per_shard;
        let draw = |step: usize, shard: usize| {
            let job = (step * config.shards + shard) as u64;
            let mut rng = rng(config.seed, STREAM_LANGUAGE, job);
            let subset = rng.random_bool(config.subset_share).then(|| {
                let share = rng.random_range(config.subset_min..=config.subset_max);
                tokens_of(share, n_tokens)
            });
            self.draft(
                &self.train,
                &words,
                LANGUAGE_FIRST + job * n as u64,
                n,
                subset,
                job,
            )
        };
        let study = |reader: &Reader, draft: &Draft, stream: u64, count: bool| {
            let mut rng = rng(config.seed, stream, draft.job);
            let pixels = draft.pictures.pixels(self.device);
            let tokens: Tensor<3> = self.body.see(tower, pixels, draft.pictures.len()).tokens;
            let lesson = Lesson::new(
                tokens,
                &self.layout,
                &draft.pictures,
                &draft.conversations,
                draft.subset,
                &mut rng,
            );
            reader.study(&lesson, self.body, &self.layout, words.image(), count)
        };
        let loss = |reader: &Reader, draft: &Draft| Ok(study(reader, draft, STREAM_SUBSETS, false)?.loss);
        let check = |reader: &Reader| {
            let mut figures = BTreeMap::new();
            for (label, subset) in [("", None), ("@few", Some(tokens_of(CHECK_FEW, n_tokens)))] {
                let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
                for first in (0..CHECK_IMAGES).step_by(CHECK_BATCH) {
                    let first = first as u64;
                    let draft = self.draft(&self.val, &words, first, CHECK_BATCH, subset, first)?;
                    for (kind, right) in study(reader, &draft, STREAM_CHECK, true)?.right {
                        let names = match kind {
                            Some((style, kind)) => {
                                vec!["all".to_owned(), style.name().to_owned(), kind.word().to_owned()]
                            }
                            None => vec!["caption".to_owned()],
                        };
                        for name in names {
                            let count = counts.entry(name).or_default();
                            *count = (count.0 + 1, count.1 + usize::from(right));
                        }
                    }
                }
                let keep = |name: &String| label.is_empty() || name == "all";
                let counts = counts.into_iter().filter(|(name, _)| keep(name));
                figures.extend(counts.map(|(name, count)| (format!("{name}{label}"), share(count))));
            }
            Ok(figures)
        };
        stage.run(reader, draw, loss, check)
    }

    /// Scenes `first .. first + n` and conversations about them.
    fn draft(
        &self,
        dataset: &SceneDataset,
        words: &Words,
        first: u64,
        n: usize,
        subset: Option<usize>,
        job: u64,
    ) -> Result<Draft, MiniError> {
        let numbers = first..first + n as u64;
        let scenes: Vec<Scene> = numbers.clone().map(|index| dataset.get_or_blur(index)).collect();
        let conversations = numbers.map(|index| words.converse(dataset, index, 0));
        Ok(Draft {
            conversations: conversations.collect::<Result<_, _>>()?,
            pictures: Pictures::draw(self.body, &scenes)?,
            subset,
            job,
        })
    }
}

/// Scenes `first .. first + n` of a dataset, none of them out of focus.
fn sharp(dataset: &SceneDataset, first: u64, n: usize) -> Vec<Scene> {
    (first..first + n as u64)
        .map(|index| dataset.get(index))
        .collect()
}

/// So many tokens are that share of all, one at least.
fn tokens_of(share: f64, n_tokens: usize) -> usize {
    ((share * n_tokens as f64).round() as usize).clamp(1, n_tokens)
}

/// Right ones among those asked.
fn share((asked, right): (usize, usize)) -> f64 {
    right as f64 / asked.max(1) as f64
}
