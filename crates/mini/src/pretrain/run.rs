//! Both stages, one after the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use diffprune_pruner::Layout;
use diffprune_training::{Stop, Workers, rng};
use rand::RngExt;

use super::body::{Body, Pretrained};
use super::config::{PretrainConfig, StageConfig};
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
/// Figures of stage two that the learner logs.
const FIGURES: [&str; 3] = ["all", "all@few", "caption"];
/// Random streams.
const STREAM_LANGUAGE: u64 = 11;
const STREAM_CHECK: u64 = 12;
const STREAM_SUBSETS: u64 = 13;

/// Trains a small model from nothing, or from the checkpoint folder `start`; a stopped run in `dir` goes on where its
/// last checkpoint is. A stage of no steps leaves its part as it is; with [`PretrainConfig::start_tower`] the part that reads is
/// fresh whatever the start.
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
    device.seed(config.seed);
    let (tower, reader) = match start {
        Some(folder) if config.start_tower => (body.load_tower(folder, device)?, body.init(device).1),
        Some(folder) => body.load(folder, device)?,
        None => body.init(device),
    };
    let course = Arc::new(Course {
        config: config.clone(),
        layout: body.layout(world),
        body,
        train: SceneDataset::new(world.clone(), config.seed, Split::Train)?,
        val: SceneDataset::new(world.clone(), config.seed, Split::Val)?,
        dir: dir.to_path_buf(),
        device: device.clone(),
        workers: threads.map(|threads| Arc::new(Workers::new(threads))),
        stop: stop.clone(),
    });
    let tower = course.tower(tower)?;
    let reader = course.reader(reader, tower.clone())?;
    Ok(course.body.assemble(tower, reader, device))
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
struct Course {
    config: PretrainConfig,
    body: Body,
    layout: Layout,
    train: SceneDataset,
    val: SceneDataset,
    dir: PathBuf,
    device: Device,
    workers: Option<Arc<Workers>>,
    stop: Stop,
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

impl Course {
    /// A stage of that name, whose checks have these figures.
    fn stage(&self, name: &'static str, recipe: &StageConfig, figures: Vec<&'static str>) -> Stage {
        let config = &self.config;
        Stage {
            name,
            recipe: recipe.clone(),
            shards: config.shards,
            log_every: config.log_every,
            checkpoint_every: config.checkpoint_every,
            dir: self.dir.clone(),
            workers: self.workers.clone(),
            stop: self.stop.clone(),
            figures,
        }
    }

    /// Stage one.
    fn tower(self: &Arc<Self>, tower: Tower) -> Result<Tower, MiniError> {
        let (config, device) = (&self.config, &self.device);
        let (d_token, d_class) = self.body.widths();
        let pupil = TowerPupil::new(tower, d_token, d_class, device);
        let figures = QUESTIONS.iter().map(|(name, _)| *name).collect();
        let stage = self.stage("tower", &config.tower, figures);
        let (n, shards) = (config.images_per_shard, config.shards);
        let autodiff = device.clone().autodiff();
        let course = self.clone();
        let draw = move |step: usize, shard: usize| {
            let first = ((step * shards + shard) * n) as u64;
            Pictures::draw(&course.body, &sharp(&course.train, first, n))
        };
        let course = self.clone();
        let loss = move |pupil: &TowerPupil, pictures: &Pictures| {
            Ok(pupil.forward(&course.body, pictures, &autodiff, false).loss)
        };
        let course = self.clone();
        let check = move |pupil: &TowerPupil| {
            let mut counts = [(0, 0); QUESTIONS.len()];
            for first in (0..CHECK_IMAGES).step_by(CHECK_BATCH) {
                let scenes = sharp(&course.val, first as u64, CHECK_BATCH);
                let pictures = Pictures::draw(&course.body, &scenes)?;
                let found = pupil
                    .forward(&course.body, &pictures, &course.device, true)
                    .counts;
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
    fn reader(self: &Arc<Self>, reader: Reader, tower: Tower) -> Result<Reader, MiniError> {
        let stage = self.stage("language", &self.config.language, FIGURES.to_vec());
        let words = Arc::new(Words::new(&self.config)?);
        let n_tokens = self.layout.n_tokens();
        let (course, spoken) = (self.clone(), words.clone());
        let draw = move |step: usize, shard: usize| {
            let config = &course.config;
            let n = config.images_per_shard;
            let job = (step * config.shards + shard) as u64;
            let mut rng = rng(config.seed, STREAM_LANGUAGE, job);
            let subset = rng.random_bool(config.subset_share).then(|| {
                let share = rng.random_range(config.subset_min..=config.subset_max);
                tokens_of(share, n_tokens)
            });
            course.draft(
                &course.train,
                &spoken,
                LANGUAGE_FIRST + job * n as u64,
                n,
                subset,
                job,
            )
        };
        let (course, image) = (self.clone(), words.image());
        let study = move |reader: &Reader, draft: &Draft, stream: u64, count: bool| {
            let mut rng = rng(course.config.seed, stream, draft.job);
            let pixels = draft.pictures.pixels(&course.device);
            let tokens: Tensor<3> = course.body.see(&tower, pixels, draft.pictures.len()).tokens;
            let lesson = Lesson::new(
                tokens,
                &course.layout,
                &draft.pictures,
                &draft.conversations,
                draft.subset,
                &mut rng,
            );
            reader.study(&lesson, &course.body, &course.layout, image, count)
        };
        let study = Arc::new(study);
        let learn = study.clone();
        let loss =
            move |reader: &Reader, draft: &Draft| Ok(learn(reader, draft, STREAM_SUBSETS, false)?.loss);
        let course = self.clone();
        let check = move |reader: &Reader| {
            let mut figures = BTreeMap::new();
            for (label, subset) in [("", None), ("@few", Some(tokens_of(CHECK_FEW, n_tokens)))] {
                let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
                for first in (0..CHECK_IMAGES).step_by(CHECK_BATCH) {
                    let first = first as u64;
                    let draft = course.draft(&course.val, &words, first, CHECK_BATCH, subset, first)?;
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
            pictures: Pictures::draw(&self.body, &scenes)?,
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
