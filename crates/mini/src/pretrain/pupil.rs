//! Any module in training as a model that `burn-train` knows, and the loaders that feed it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::module::{Module, ModuleDisplay};
use burn::optim::GradientsParams;
use burn::tensor::{Device, ExecutionError, Tensor};
use diffprune_training::learner::Readings;
use diffprune_training::learner::burn_train::metric::Adaptor;
use diffprune_training::learner::burn_train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use rayon::prelude::*;

use crate::MiniError;

/// Steps whose data is drawn ahead.
const AHEAD: usize = 2;

/// Names of measurements.
pub mod reading {
    /// The loss of the step.
    pub const VALUE: &str = "value";
    /// The loss, smoothed.
    pub const LOSS: &str = "loss";
    /// Learning rate.
    pub const LR: &str = "lr";
    /// Norm of the gradients before clipping.
    pub const NORM: &str = "norm";
}

/// A module in training.
#[derive(Module, Debug)]
pub struct Pupil<M> {
    module: M,
}

impl<M> Pupil<M> {
    /// Any module.
    pub fn new(module: M) -> Self {
        Self { module }
    }
}

/// A shard of a step: its data, and how a module's loss on it is computed.
pub struct Exercise<M>(LossOf<M>);

/// The loss of a module on data that it brings along.
type LossOf<M> = Box<dyn FnOnce(&M) -> Result<Tensor<1>, MiniError> + Send>;

/// What a shard, or a step, came to.
pub struct Learned {
    /// The mean loss of a shard.
    pub loss: Result<f64, MiniError>,
    readings: Readings,
}

impl Learned {
    /// A whole step.
    pub fn of_step(value: f64, figures: &[(&'static str, f64)]) -> Self {
        let readings = Readings::new(1).with(reading::VALUE, value);
        let with = |readings: Readings, (name, value): &(&'static str, f64)| readings.with(name, *value);
        Self {
            loss: Ok(value),
            readings: figures.iter().fold(readings, with),
        }
    }

    fn of_shard(loss: Result<f64, MiniError>) -> Self {
        let readings = Readings::new(1);
        let readings = match &loss {
            Ok(value) => readings.with(reading::VALUE, *value),
            Err(_) => readings,
        };
        Self { loss, readings }
    }
}

impl ItemLazy for Learned {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<Readings> for Learned {
    fn adapt(&self) -> Readings {
        self.readings.clone()
    }
}

impl<M: Module + ModuleDisplay + 'static> TrainStep for Pupil<M> {
    type Input = Exercise<M>;
    type Output = Learned;

    fn step(&self, exercise: Exercise<M>) -> TrainOutput<Learned> {
        match exercise.0(&self.module) {
            Ok(loss) => TrainOutput {
                grads: GradientsParams::from_grads(loss.backward(), &self.module),
                // Read last: a GPU then gets the whole step at once.
                item: Learned::of_shard(Ok(loss.into_data().iter::<f64>().sum::<f64>())),
            },
            Err(error) => TrainOutput {
                grads: GradientsParams::new(),
                item: Learned::of_shard(Err(error)),
            },
        }
    }
}

/// A look at a module: figures by name.
type Check<M> = Arc<dyn Fn(&M) -> Result<BTreeMap<String, f64>, MiniError> + Send + Sync>;

/// A check of a module.
pub struct Exam<M> {
    check: Check<M>,
    logged: Vec<&'static str>,
}

/// What a check came to.
pub struct Marks {
    /// Figures by name.
    pub figures: Result<BTreeMap<String, f64>, MiniError>,
    /// Names of those that the learner logs.
    pub logged: Vec<&'static str>,
}

impl ItemLazy for Marks {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<Readings> for Marks {
    fn adapt(&self) -> Readings {
        let Ok(figures) = &self.figures else {
            return Readings::new(0);
        };
        let known = self
            .logged
            .iter()
            .filter_map(|name| Some((*name, *figures.get(*name)?)));
        known.fold(Readings::new(1), |readings, (name, value)| {
            readings.with(name, value)
        })
    }
}

impl<M: Module + ModuleDisplay + 'static> InferenceStep for Pupil<M> {
    type Input = Exam<M>;
    type Output = Marks;

    fn step(&self, exam: Exam<M>) -> Marks {
        Marks {
            figures: (exam.check)(&self.module),
            logged: exam.logged,
        }
    }
}

/// The shards of all steps, drawn ahead on a thread of its own.
pub struct Ahead<M, D> {
    source: Arc<Source<M, D>>,
    shards: usize,
    items: Range<usize>,
}

struct Source<M, D> {
    draw: Draw<D>,
    loss: Loss<M, D>,
}

type Draw<D> = Box<dyn Fn(usize, usize) -> Result<D, MiniError> + Send + Sync>;
type Loss<M, D> = Box<dyn Fn(&M, &D) -> Result<Tensor<1>, MiniError> + Send + Sync>;

impl<M: 'static, D: Send + Sync + 'static> Ahead<M, D> {
    /// `shards` shards for each of `steps` steps: `draw(step, shard)` makes the data, `loss(module, data)` its loss.
    pub fn new(
        steps: usize,
        shards: usize,
        draw: impl Fn(usize, usize) -> Result<D, MiniError> + Send + Sync + 'static,
        loss: impl Fn(&M, &D) -> Result<Tensor<1>, MiniError> + Send + Sync + 'static,
    ) -> Self {
        let source = Source {
            draw: Box::new(draw),
            loss: Box::new(loss),
        };
        Self {
            source: Arc::new(source),
            shards: shards.max(1),
            items: 0..steps * shards,
        }
    }

    fn part(&self, items: Range<usize>) -> Self {
        Self {
            source: self.source.clone(),
            shards: self.shards,
            items,
        }
    }
}

impl<M: Send + Sync + 'static, D: Send + Sync + 'static> DataLoader<Exercise<M>> for Ahead<M, D> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Exercise<M>> + 'a> {
        let (sender, drawn) = sync_channel(AHEAD);
        let (source, shards, items) = (self.source.clone(), self.shards, self.items.clone());
        thread::spawn(move || {
            let steps = items.start / shards..items.end.div_ceil(shards);
            for step in steps {
                let own = (step * shards).max(items.start)..((step + 1) * shards).min(items.end);
                let own = own
                    .into_par_iter()
                    .map(|item| source.exercise(item / shards, item % shards));
                // Nobody receives any more when training ended early.
                if sender.send(own.collect()).is_err() {
                    return;
                }
            }
        });
        Box::new(Steps {
            drawn,
            ready: VecDeque::new(),
            given: 0,
            total: self.items.len(),
        })
    }

    fn num_items(&self) -> usize {
        self.items.len()
    }

    /// Data is drawn on the host.
    fn to_device(&self, _: &Device) -> Arc<dyn DataLoader<Exercise<M>>> {
        Arc::new(self.part(self.items.clone()))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Exercise<M>>> {
        let end = (self.items.start + end).min(self.items.end);
        Arc::new(self.part((self.items.start + start).min(end)..end))
    }
}

impl<M: 'static, D: Send + Sync + 'static> Source<M, D> {
    fn exercise(self: &Arc<Self>, step: usize, shard: usize) -> Exercise<M> {
        let data = (self.draw)(step, shard);
        let source = self.clone();
        Exercise(Box::new(move |module| (source.loss)(module, &data?)))
    }
}

struct Steps<M> {
    drawn: Receiver<VecDeque<Exercise<M>>>,
    ready: VecDeque<Exercise<M>>,
    given: usize,
    total: usize,
}

impl<M> Iterator for Steps<M> {
    type Item = Result<Exercise<M>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            self.ready = self.drawn.recv().ok()?;
        }
        self.given += 1;
        self.ready.pop_front().map(Ok)
    }
}

impl<M> DataLoaderIterator<Exercise<M>> for Steps<M> {
    fn progress(&self) -> Progress {
        Progress::new(self.given, self.total, Some("items".into()))
    }
}

/// One check.
pub struct Exams<M> {
    check: Check<M>,
    logged: Vec<&'static str>,
}

impl<M> Exams<M> {
    /// A check whose figures of these names are logged.
    pub fn new(
        logged: Vec<&'static str>,
        check: impl Fn(&M) -> Result<BTreeMap<String, f64>, MiniError> + Send + Sync + 'static,
    ) -> Self {
        let check = Arc::new(check);
        Self { check, logged }
    }
}

impl<M: 'static> DataLoader<Exam<M>> for Exams<M> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Exam<M>> + 'a> {
        Box::new(Once(Some(Exam {
            check: self.check.clone(),
            logged: self.logged.clone(),
        })))
    }

    fn num_items(&self) -> usize {
        1
    }

    fn to_device(&self, _: &Device) -> Arc<dyn DataLoader<Exam<M>>> {
        Arc::new(Self {
            check: self.check.clone(),
            logged: self.logged.clone(),
        })
    }

    /// One check cannot be split.
    fn slice(&self, _: usize, _: usize) -> Arc<dyn DataLoader<Exam<M>>> {
        self.to_device(&Device::flex())
    }
}

struct Once<M>(Option<Exam<M>>);

impl<M> Iterator for Once<M> {
    type Item = Result<Exam<M>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl<M> DataLoaderIterator<Exam<M>> for Once<M> {
    fn progress(&self) -> Progress {
        Progress::new(usize::from(self.0.is_none()), 1, None)
    }
}
