//! The training losses of DiffPrune and its contrasts as functions of the scorer.

use std::collections::BTreeMap;

use diffprune::{
    Budget, CachePrecision, CaptionBatch, CaptionData, CaptionPrompt, CaptionSample, DataError,
    DiffPruneConfig, FeatureStore, HeadCheckpoint, Method, PastRun, ScorerCheckpoint, TrainConfig, Trainee,
    TrainingLoss, Variant, Vlm, training_loss,
};
use diffprune_mini::{SceneDataset, Split, WorldConfig, caption, render};
use diffprune_pilots::{
    Advance, Along, CoherenceArm, CoherencePlan, CoherencePoint, GradientAt, LandscapeArm, LandscapePlan,
    LandscapePoint, PilotError, Study, coherence, landscape,
};

use super::parameters::{flat, flat_gradient, with_values};
use super::{OURS, PilotModel};
use crate::LabError;
use crate::methods::{default_scorer, unreadable};

/// The surrogates that the claims name, with both backward rules.
pub(super) const SURROGATES: [&str; 6] = [
    "gumbel-ste",
    "gumbel-ste-soft",
    "gumbel-gathered",
    "gumbel-gathered-soft",
    "gumbel-noise",
    "gumbel-noise-soft",
];

/// The contrast between both.
pub(super) const SCALE: &str = "diffprune-scale";

/// Captions of generated scenes, drawn when they are asked for.
pub struct GeneratedCaptions {
    scenes: SceneDataset,
    count: usize,
}

impl GeneratedCaptions {
    /// The first `count` test scenes of the small world.
    ///
    /// # Errors
    /// When no scene can be drawn.
    pub fn new(count: usize, seed: u64) -> Result<Self, LabError> {
        let scenes = SceneDataset::new(WorldConfig::default(), seed, Split::Test)?;
        Ok(Self { scenes, count })
    }
}

impl CaptionData for GeneratedCaptions {
    fn len(&self) -> usize {
        self.count
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        let number = index as u64;
        let scene = self.scenes.get(number);
        Ok(CaptionSample {
            image: render(&scene),
            caption: caption(&scene, &mut self.scenes.text_rng(number, 0)),
        })
    }
}

/// The part that all arms share: the frozen model, the captions, the budget.
struct Setting<'a> {
    vlm: &'a dyn Vlm,
    store: FeatureStore<'a>,
    prompt: CaptionPrompt,
    batch: usize,
    tau: f64,
    seed: u64,
}

impl<'a> Setting<'a> {
    fn new(
        vlm: &'a dyn Vlm,
        data: &'a dyn CaptionData,
        batch: usize,
        tau: f64,
        seed: u64,
    ) -> Result<Self, LabError> {
        let train = TrainConfig::default();
        Ok(Self {
            prompt: CaptionPrompt::new(vlm, &train.prompt, train.max_caption_tokens)?,
            store: FeatureStore::new(data, CachePrecision::F32, train.cache_bytes),
            vlm,
            batch,
            tau,
            seed,
        })
    }

    /// The loss of batch `batch` under noise `noise`.
    fn loss(
        &self,
        model: &Trainee,
        config: &DiffPruneConfig,
        batch: usize,
        noise: u64,
    ) -> Result<TrainingLoss, PilotError> {
        let first = batch * self.batch;
        let draws = noise * self.batch as u64;
        let batch = CaptionBatch {
            store: &self.store,
            prompt: &self.prompt,
            indices: (first..first + self.batch).collect(),
            draws: (draws..draws + self.batch as u64).collect(),
            seed: self.seed,
            tau: self.tau,
            recompute: false,
        };
        training_loss(model, self.vlm, config, &batch).map_err(|error| PilotError::Function(Box::new(error)))
    }
}

/// Scorers with their denoisers, and what they are.
struct Point {
    label: String,
    models: Vec<Trainee>,
    /// For a place on the way of the training of one arm.
    along: Option<Along>,
}

impl PilotModel<'_> {
    /// Agreement of gradients over batches, for DiffPrune, the scale gate and the Gumbel contrasts, at `seeds` fresh scorers
    /// and at the trained ones if there are some, and for each arm of [`PilotModel::runs`] at the checkpoints of its own
    /// trainings: claim `f1.coherence`.
    ///
    /// # Errors
    /// When `data` has too few captions, a scorer or a training cannot be read or is of no arm of the study, or `advance` stops
    /// the study.
    pub fn coherence(
        &self,
        data: &dyn CaptionData,
        seeds: u64,
        plan: &CoherencePlan,
        advance: &mut Advance<'_>,
    ) -> Result<Study, LabError> {
        enough(data.len(), plan.batches * plan.batch)?;
        let setting = Setting::new(self.vlm, data, plan.batch, plan.tau, plan.seed)?;
        let setting = &setting;
        let mut points = self.points(plan.seed, seeds)?;
        points.extend(self.points_along()?);
        let points = &points;
        let mut arms = Vec::new();
        for name in [OURS, SCALE].into_iter().chain(SURROGATES) {
            let config = arm_config(name, self.vlm.d_descriptor())?;
            let gradient = move |at: GradientAt| {
                let model = points[at.point].models[at.parameters].for_worker();
                let loss = setting.loss(&model, &config, at.batch, at.noise)?;
                Ok(flat_gradient(&model.head, &loss.objective()))
            };
            arms.push(CoherenceArm::new(name, gradient));
        }
        let described: Vec<CoherencePoint> = points
            .iter()
            .map(|point| CoherencePoint {
                along: point.along.clone(),
                ..CoherencePoint::new(&point.label, point.models.len())
            })
            .collect();
        Ok(coherence(
            &self.setting(),
            &described,
            &mut arms,
            &SURROGATES,
            plan,
            advance,
        )?)
    }

    /// The loss over the scorer's weights, for DiffPrune, the scale gate and the hard masks, around one fresh scorer and the
    /// first trained one if there is one: claim `f2.smooth`.
    ///
    /// # Errors
    /// As [`Self::coherence`].
    pub fn landscape(
        &self,
        data: &dyn CaptionData,
        plan: &LandscapePlan,
        advance: &mut Advance<'_>,
    ) -> Result<Study, LabError> {
        enough(data.len(), plan.pictures)?;
        let setting = Setting::new(self.vlm, data, plan.pictures, plan.tau, plan.seed)?;
        let setting = &setting;
        let mut points = self.points(plan.seed, 1)?;
        points.iter_mut().for_each(|point| point.models.truncate(1));
        let points = &points;
        // Both backward rules of a mask have one loss.
        let hard: Vec<&str> = SURROGATES
            .into_iter()
            .filter(|name| !name.ends_with("-soft"))
            .collect();
        let mut arms = Vec::new();
        for name in [OURS, SCALE].into_iter().chain(hard.iter().copied()) {
            let config = arm_config(name, self.vlm.d_descriptor())?;
            let loss = move |point: usize, parameters: &[f32]| {
                let model = &points[point].models[0];
                let model = Trainee {
                    head: with_values(model.head.clone(), parameters),
                    denoiser: model.denoiser.clone(),
                };
                let nll = setting.loss(&model, &config, 0, 0)?.nll;
                Ok(f64::from(nll.into_scalar::<f32>()))
            };
            arms.push(LandscapeArm {
                name: name.into(),
                loss: Box::new(loss),
            });
        }
        let described: Vec<LandscapePoint> = points
            .iter()
            .map(|point| {
                let (parameters, matrices) = flat(&point.models[0].head);
                LandscapePoint {
                    label: point.label.clone(),
                    parameters,
                    matrices,
                }
            })
            .collect();
        Ok(landscape(
            &self.setting(),
            &described,
            &mut arms,
            &hard,
            plan,
            advance,
        )?)
    }

    /// Fresh scorers of the seeds from `seed` on, then those that were given.
    fn points(&self, seed: u64, count: u64) -> Result<Vec<Point>, LabError> {
        let (width, device) = (self.vlm.d_descriptor(), self.vlm.device());
        let config = arm_config(OURS, width)?;
        let fresh = (seed..seed + count).map(|seed| config.init(width, seed, &device));
        let mut points = vec![Point {
            label: "before training".into(),
            models: fresh.collect::<Result<_, _>>()?,
            along: None,
        }];
        let mut trained = Vec::new();
        for dir in &self.scorers {
            let wrong = |source| unreadable(dir, source);
            let (head, _) = HeadCheckpoint::load_for_width(dir, width, &device).map_err(wrong)?;
            let denoiser = config.init(width, seed, &device)?.denoiser;
            let denoiser = ScorerCheckpoint::load_denoiser(dir, denoiser).map_err(wrong)?;
            trained.push(Trainee::new(head, denoiser, &device));
        }
        if !trained.is_empty() {
            points.push(Point {
                label: "after DiffPrune's training".into(),
                models: trained,
                along: None,
            });
        }
        Ok(points)
    }

    /// The checkpoints of the trainings, those after as many updates of one arm together.
    fn points_along(&self) -> Result<Vec<Point>, LabError> {
        let (width, device) = (self.vlm.d_descriptor(), self.vlm.device());
        let mut points: BTreeMap<(String, usize), Vec<Trainee>> = BTreeMap::new();
        for folder in &self.runs {
            let run = PastRun::open(folder)?;
            let own = run.config().diffprune.resolve(width)?;
            let of_arm = |name: &&str| -> bool {
                let config = arm_config(name, width);
                config.is_ok_and(|config| config.method == own.method && config.throttler == own.throttler)
            };
            let arm = [OURS, SCALE].into_iter().chain(SURROGATES).find(of_arm);
            let arm = arm.ok_or_else(|| LabError::Setup {
                subject: folder.display().to_string(),
                found: format!("a training of {}", own.method.name()),
                wanted: "one of DiffPrune, its scale gate or a Gumbel contrast".into(),
            })?;
            for (updates, trainee) in run.checkpoints(&device)? {
                points.entry((arm.into(), updates)).or_default().push(trainee);
            }
        }
        let point = |((arm, updates), models): ((String, usize), Vec<Trainee>)| Point {
            label: format!("after {updates} updates of {arm}"),
            models,
            along: Some(Along { arm, updates }),
        };
        Ok(points.into_iter().map(point).collect())
    }

    fn setting(&self) -> String {
        format!("Model {}, its training loss on captions, budget 2/9;", self.name)
    }
}

/// The default settings of `diffprune train` for an arm, for descriptors of this width.
pub(super) fn arm_config(name: &str, width: usize) -> Result<DiffPruneConfig, LabError> {
    let config = DiffPruneConfig {
        scorer: default_scorer(width),
        budget: Budget::rate(2, 9),
        ..DiffPruneConfig::default()
    };
    let config = match name {
        OURS => config,
        SCALE => Variant::named(SCALE)?.of(&config, width),
        _ => DiffPruneConfig {
            method: name.parse::<Method>().map_err(|error| LabError::UnknownMethod {
                found: name.into(),
                wanted: error.to_string(),
            })?,
            ..config
        },
    };
    Ok(config.resolve(width)?)
}

/// Refuses fewer pictures than the batches take.
pub(super) fn enough(found: usize, wanted: usize) -> Result<(), LabError> {
    match found >= wanted {
        true => Ok(()),
        false => Err(LabError::Setup {
            subject: "pictures".into(),
            found: found.to_string(),
            wanted: format!("at least {wanted}, one for each picture of the batches; or ask for fewer"),
        }),
    }
}
