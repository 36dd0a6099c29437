//! What a trainee learns from, as `burn-train` loads it.

use std::ops::Range;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use diffprune_training::shard_ranges;
use diffprune_vlm::Vlm;

use super::learner::{CaptionShard, HeldOutPart};
use super::order::DataOrder;
use super::setting::Setting;
use crate::{CaptionData, TrainConfig, TrainError, Trainee};

/// The training on captions for a learner of your own: [`Trainee`] is a model that `burn-train` knows (`TrainStep`,
/// `InferenceStep`), this makes what it learns from. [`Trainer`](crate::Trainer) needs none of it.
///
/// With the learner's own strategies a run is Burn's: it resumes at epochs, and optimiser and schedule are the learner's.
pub struct CaptionTask(Arc<Setting>);

impl CaptionTask {
    /// Checks settings and data and brings up the threads.
    ///
    /// # Errors
    /// When a setting cannot be used or there is no data.
    pub fn new(
        vlm: &dyn Vlm,
        config: &TrainConfig,
        data: Arc<dyn CaptionData + Send + Sync>,
        held_out: Option<Arc<dyn CaptionData + Send + Sync>>,
    ) -> Result<Self, TrainError> {
        Self::on_devices(&[vlm], config, data, held_out)
    }

    /// The same for a strategy over several devices (`ExecutionStrategy::multi`, `::ddp`), with a copy of the model on each, in
    /// the order in which the strategy is given them. Each device then learns from its share of every batch. The strategies
    /// weigh the shares alike, whatever their number of caption tokens.
    ///
    /// # Errors
    /// As [`CaptionTask::new`]; and when there is no model, or they are not copies of one.
    pub fn on_devices(
        vlms: &[&dyn Vlm],
        config: &TrainConfig,
        data: Arc<dyn CaptionData + Send + Sync>,
        held_out: Option<Arc<dyn CaptionData + Send + Sync>>,
    ) -> Result<Self, TrainError> {
        Ok(Self(Arc::new(Setting::new(vlms, config, data, held_out)?)))
    }

    /// The modules that are trained, before the first update, with gradients as a learner wants them.
    ///
    /// # Errors
    /// When their sizes do not fit together.
    pub fn trainee(&self) -> Result<Trainee, TrainError> {
        Ok(self.0.trainee()?.for_worker())
    }

    /// Whole batches in the order of the settings, an item each; on several devices first all shares of the first device, then
    /// those of the second: `burn-train` gives each device its part of the whole.
    pub fn batches(&self) -> CaptionLoader {
        CaptionLoader::batches(self.0.clone())
    }

    /// The held-out data; empty when there is none or the settings do not validate.
    pub fn held_out(&self) -> HeldOutLoader {
        HeldOutLoader::new(&self.0)
    }
}

/// The shards of all updates of a run, in order, as `burn-train` loads items: an item is a shard.
#[derive(Clone)]
pub struct CaptionLoader {
    task: Arc<Setting>,
    items: Range<usize>,
    /// Shards of an update.
    n_shards: usize,
    /// True for the shards of one update behind one another, whose gradients are summed; else those of one device are.
    is_part: bool,
    /// Number of the copy of the model.
    device: usize,
}

impl CaptionLoader {
    /// Parts of batches, for a strategy that sums them.
    pub(super) fn shards(task: Arc<Setting>) -> Self {
        let n_shards = task.n_shards();
        Self {
            items: 0..task.config.steps * n_shards,
            task,
            n_shards,
            is_part: true,
            device: 0,
        }
    }

    /// Whole batches, as the strategies of `burn-train` want them.
    pub(super) fn batches(task: Arc<Setting>) -> Self {
        let n_shards = task.n_devices();
        Self {
            items: 0..task.config.steps * n_shards,
            task,
            n_shards,
            is_part: false,
            device: 0,
        }
    }
}

impl DataLoader<CaptionShard> for CaptionLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<CaptionShard> + 'a> {
        Box::new(Shards {
            loader: self,
            order: DataOrder::new(self.task.config.seed, self.task.n_samples()),
            next: self.items.start,
        })
    }

    fn num_items(&self) -> usize {
        self.items.len()
    }

    /// Items name samples; the device says which copy of the model takes them.
    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<CaptionShard>> {
        Arc::new(Self {
            device: self.task.copy_on(device),
            ..self.clone()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<CaptionShard>> {
        let last = (self.items.start + end).min(self.items.end);
        Arc::new(Self {
            items: (self.items.start + start).min(last)..last,
            ..self.clone()
        })
    }
}

struct Shards<'a> {
    loader: &'a CaptionLoader,
    order: DataOrder,
    next: usize,
}

impl Iterator for Shards<'_> {
    type Item = Result<CaptionShard, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let CaptionLoader {
            task,
            items,
            n_shards,
            is_part,
            device,
        } = self.loader;
        if self.next >= items.end {
            return None;
        }
        let config = &task.config;
        let (step, part) = match is_part {
            true => (self.next / n_shards, self.next % n_shards),
            false => (self.next % config.steps, self.next / config.steps),
        };
        self.next += 1;
        let range = shard_ranges(config.batch, *n_shards).swap_remove(part);
        let first = (step * config.batch + range.start) as u64;
        Some(Ok(CaptionShard {
            indices: self.order.at(first..first + range.len() as u64),
            task: task.clone(),
            device: *device,
            first,
            tau: config.diffprune.tau_at(step, config.steps),
            is_part: *is_part,
        }))
    }
}

impl DataLoaderIterator<CaptionShard> for Shards<'_> {
    fn progress(&self) -> Progress {
        let items = &self.loader.items;
        Progress::new(self.next - items.start, items.len(), Some("items".into()))
    }
}

/// The parts of the held-out data, as `burn-train` loads items.
#[derive(Clone)]
pub struct HeldOutLoader {
    parts: Vec<HeldOutPart>,
}

impl HeldOutLoader {
    pub(super) fn new(task: &Arc<Setting>) -> Self {
        Self {
            parts: task.held_out(),
        }
    }
}

impl DataLoader<HeldOutPart> for HeldOutLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<HeldOutPart> + 'a> {
        Box::new(Parts {
            parts: &self.parts,
            next: 0,
        })
    }

    fn num_items(&self) -> usize {
        self.parts.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<HeldOutPart>> {
        let parts = self.parts.iter();
        Arc::new(Self {
            parts: parts.map(|part| part.clone().at(device)).collect(),
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<HeldOutPart>> {
        let end = end.min(self.parts.len());
        Arc::new(Self {
            parts: self.parts[start.min(end)..end].to_vec(),
        })
    }
}

struct Parts<'a> {
    parts: &'a [HeldOutPart],
    next: usize,
}

impl Iterator for Parts<'_> {
    type Item = Result<HeldOutPart, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.parts.get(self.next)?;
        self.next += 1;
        Some(Ok(part.clone()))
    }
}

impl DataLoaderIterator<HeldOutPart> for Parts<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.next, self.parts.len(), Some("parts".into()))
    }
}
