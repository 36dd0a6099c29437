//! Times of the stages of an answer, on random weights of a published shape.

mod network;
mod pass;
mod table;
mod text;

use std::sync::Arc;

use burn::tensor::Device;
use diffprune::scorer::ScorerConfig;
use diffprune::vlm::PruneOptions;
use diffprune::{Budget, LearnedPruner, Pruner, Vlm};
use diffprune_eval::{
    BatchPoint, BatchSweep, BlockShape, Counting, ModelShape, StageTimer, Stages, TimesTable, Timing,
    TimingContext, stages,
};

use crate::comparison::timing_context;
use crate::error::LabError;
use crate::model::WeightType;
use crate::suggestion::with_nearest;

use image::RgbImage;

use network::Network;
use pass::Pass;
pub use table::TableBench;
pub use text::budget_table;

/// The settings of a measurement on a published shape: its times depend on sizes alone, whatever the weights are.
#[derive(Debug, Clone, PartialEq)]
pub struct ShapeBench {
    /// One of [`ModelShape::PRESETS`].
    pub shape: String,
    /// Type of the weights.
    pub dtype: WeightType,
    /// Keep only the first layers of tower and language model; `None` keeps all.
    pub layers: Option<usize>,
    /// Seed of the weights.
    pub seed: u64,
    /// Tokens of the prompt beside the picture, at least 2.
    pub text: usize,
    /// Timed passes for each budget, at least 1.
    pub runs: usize,
    /// Passes before the clock counts.
    pub warm_up: usize,
    /// Numbers of requests that are answered together, each measured for itself.
    pub concurrency: Vec<usize>,
    /// New tokens of each answer to requests together, at least 1.
    pub answer: usize,
}

/// A network of a published shape, ready to be timed.
pub struct ShapeNetwork<'a> {
    bench: &'a ShapeBench,
    shape: ModelShape,
    network: Network,
    pruner: LearnedPruner,
    blocks: BlockShape,
    context: TimingContext,
}

/// The measurements at one budget.
#[derive(Debug, Clone)]
pub struct BudgetTimes {
    /// Kept tokens.
    pub kept: usize,
    /// All visual tokens of the picture.
    pub total: usize,
    /// Bytes of the cache of kept tokens and text.
    pub cache_bytes: u64,
    /// Operations of each stage; `None` for a network with some of its layers only.
    pub flops: Option<Stages>,
    /// Times of each stage, and of all to the first token.
    pub timings: Vec<Timing>,
    /// Throughput, time and memory of several requests answered together.
    pub batches: Vec<BatchPoint>,
}

impl ShapeBench {
    /// The whole shape in f16 with the papers' 97 tokens of text, thirty passes, no requests together.
    pub fn new(shape: impl Into<String>) -> Self {
        Self {
            shape: shape.into(),
            dtype: WeightType::F16,
            layers: None,
            seed: 0,
            text: 97,
            runs: StageTimer::LEAST_RUNS,
            warm_up: 3,
            concurrency: Vec::new(),
            answer: 16,
        }
    }

    /// Refuses settings that measure nothing.
    ///
    /// # Errors
    /// When the shape is unknown or a number is too small.
    pub fn check(&self) -> Result<ModelShape, LabError> {
        let shape = ModelShape::preset(&self.shape).ok_or_else(|| unknown_shape(&self.shape))?;
        if self.runs == 0 || self.text < 2 {
            return Err(LabError::Setup {
                subject: "runs and text".into(),
                found: format!("{} and {}", self.runs, self.text),
                wanted: "at least 1 and 2".into(),
            });
        }
        if self.answer == 0 || self.concurrency.contains(&0) {
            return Err(LabError::Setup {
                subject: "answer and concurrency".into(),
                found: "0".into(),
                wanted: "at least 1".into(),
            });
        }
        Ok(shape)
    }

    /// Draws the weights of the network onto a device, which reports call `name`.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn network<'a>(&'a self, device: &'a Device, name: &str) -> Result<ShapeNetwork<'a>, LabError> {
        let shape = self.check()?;
        let network = Network::new(&self.shape, self.layers, self.dtype.into(), self.seed, device)?;
        let scorer = ScorerConfig::base(network.d_descriptor());
        let blocks = BlockShape::plain(
            scorer.d_model,
            scorer.ff_width(),
            scorer.n_layers,
            scorer.n_heads,
            false,
        );
        Ok(ShapeNetwork {
            bench: self,
            shape,
            network,
            pruner: LearnedPruner::new(scorer.init(device)).with_name("untrained"),
            blocks,
            context: timing_context(self.dtype, *device == Device::flex(), name, 1),
        })
    }
}

impl ShapeNetwork<'_> {
    /// Times one picture, and requests together, at one budget.
    ///
    /// # Errors
    /// When the device fails, or the answers have no room in the context.
    pub fn measure(&self, budget: &Budget) -> Result<BudgetTimes, LabError> {
        let total = self.network.n_tokens();
        let kept = budget.resolve(total)?;
        let text = self.bench.text;
        let (prompt, picture) = (self.network.prompt(text), RgbImage::new(1, 1));
        let pass = Pass {
            vlm: &self.network,
            pruner: &self.pruner,
            options: PruneOptions::new(*budget),
            prompt: &prompt,
            picture: &picture,
        };
        let flops = stages(&self.shape, Some(&self.blocks), kept, text, Counting::FULL);
        Ok(BudgetTimes {
            kept,
            total,
            cache_bytes: self.network.kv_bytes_per_token() * (kept + text) as u64,
            flops: self.bench.layers.is_none().then_some(flops),
            timings: self.time(&pass)?,
            batches: self.sweep(&pass)?,
        })
    }

    /// A table of times of these methods, `diffprune` being an untrained scorer, at one budget.
    ///
    /// # Errors
    /// When a name is unknown, the device fails, or `advance` asks to stop.
    pub fn table(
        &self,
        methods: &[String],
        budget: Budget,
        revision: &str,
        advance: &mut dyn FnMut(usize) -> bool,
    ) -> Result<TimesTable, LabError> {
        let arm = |name: &String| -> Result<(String, Arc<dyn Pruner>), LabError> {
            let pruner: Arc<dyn Pruner> = match name.as_str() {
                "diffprune" => Arc::new(self.pruner.clone()),
                _ => Arc::from(method(name)?),
            };
            Ok((name.clone(), pruner))
        };
        let methods = methods.iter().map(arm).collect::<Result<Vec<_>, _>>()?;
        self.check_room(2)?;
        let prompt = self.network.prompt(self.bench.text);
        TableBench {
            vlm: &self.network,
            model: format!("{} with random weights", self.shape.name),
            published: self.bench.layers.is_none().then(|| self.bench.shape.clone()),
            shape: &self.shape,
            picture: RgbImage::new(1, 1),
            question: prompt[2..].to_vec(),
            prompt,
            budget,
            rounds: self.bench.runs,
            warm_up: self.bench.warm_up,
            context: self.context.clone(),
            revision: revision.into(),
        }
        .measure(&methods, advance)
    }

    /// Refuses answers for which the context has no room.
    fn check_room(&self, n_new: usize) -> Result<(), LabError> {
        let taken = self.network.n_tokens() + self.bench.text + 1;
        let room = self.network.max_positions().saturating_sub(taken);
        match n_new > room {
            true => Err(LabError::Setup {
                subject: "answer".into(),
                found: format!("{n_new} new tokens"),
                wanted: format!("at most {room}; ask for a shorter answer or text"),
            }),
            false => Ok(()),
        }
    }

    /// Times of every stage for one picture.
    fn time(&self, pass: &Pass<'_>) -> Result<Vec<Timing>, LabError> {
        self.check_room(2)?;
        let (warm_up, runs) = (self.bench.warm_up, self.bench.runs);
        let mut seconds: [Vec<f64>; Pass::STAGES.len()] = Default::default();
        for number in 0..warm_up + runs {
            let laps = pass.run(1, 2)?.seconds;
            if number >= warm_up {
                seconds.iter_mut().zip(laps).for_each(|(all, lap)| all.push(lap));
            }
        }
        let totals = (0..runs).map(|run| seconds[..4].iter().map(|stage| stage[run]).sum());
        let total = Timing::new("to the first token", totals.collect(), &self.context);
        let timings = Pass::STAGES
            .iter()
            .zip(seconds)
            .map(|(stage, seconds)| Timing::new(stage, seconds, &self.context));
        Ok(timings.chain([total]).collect())
    }

    /// Throughput, time and memory of several requests answered together.
    fn sweep(&self, pass: &Pass<'_>) -> Result<Vec<BatchPoint>, LabError> {
        let answer = self.bench.answer;
        if !self.bench.concurrency.is_empty() {
            self.check_room(answer)?;
        }
        let sweep = BatchSweep {
            warm_up: self.bench.warm_up,
            runs: self.bench.runs,
            tokens_per_answer: answer,
            context: self.context.clone(),
        };
        sweep.measure(&self.bench.concurrency, |batch| {
            Ok(move || pass.run(batch, answer).map(drop))
        })
    }
}

/// A method of the registry.
fn method(name: &str) -> Result<Box<dyn Pruner>, LabError> {
    diffprune_baselines::find(name).ok_or_else(|| LabError::Setup {
        subject: "methods".into(),
        found: format!("`{name}`"),
        wanted: with_nearest(
            name,
            crate::methods::names(),
            "diffprune, or a name that `diffprune methods` lists",
        ),
    })
}

fn unknown_shape(found: &str) -> LabError {
    LabError::Setup {
        subject: "shape".into(),
        found: format!("`{found}`"),
        wanted: format!("one of {}", ModelShape::PRESETS.join(", ")),
    }
}
