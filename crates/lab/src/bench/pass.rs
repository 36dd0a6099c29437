//! One pass from pixels to answers, with a clock.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use burn::tensor::Device;
use diffprune::pruning::{
    DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderStage, PruningContext, Selection,
    Signals,
};
use diffprune::vlm::{GenerateOptions, Hooks, PruneOptions, Stage, prepare_watched};
use diffprune::{Budget, PositionRule, PruneError, Pruner, Vlm, respond};
use image::RgbImage;

use crate::error::LabError;

/// The parts of a pass.
pub(super) struct Pass<'a> {
    pub(super) vlm: &'a dyn Vlm,
    pub(super) pruner: &'a dyn Pruner,
    /// Budget and question.
    pub(super) options: PruneOptions,
    /// Ids with one placeholder.
    pub(super) prompt: &'a [u32],
    /// The picture of every prompt.
    pub(super) picture: &'a RgbImage,
}

/// The times of a pass.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Laps {
    /// Seconds of each of [`Pass::STAGES`].
    pub(super) seconds: [f64; 5],
    /// Seconds of the choices inside the language model; the prefill among [`Self::seconds`] contains them.
    pub(super) inside: f64,
    /// Visual tokens that enter each layer of the language model, of the first prompt; one number where no method acts inside it.
    pub(super) per_layer: Vec<usize>,
}

impl Pass<'_> {
    /// The stages that [`Self::run`] times.
    pub(super) const STAGES: [&'static str; 5] = ["encode", "select", "project", "prefill", "first decode"];

    /// The times of every stage for `batch` pictures with a prompt each, answered together with `n_new` tokens each; the last
    /// stage has every step after the prefill, so the first one only when `n_new` is 2.
    pub(super) fn run(&self, batch: usize, n_new: usize) -> Result<Laps, LabError> {
        let vlm = self.vlm;
        let device = vlm.device();
        let clocked = Clocked::new(self.pruner, &device);
        let mut clock = Instant::now();
        let mut lap = || -> Result<f64, LabError> {
            wait(&device)?;
            Ok(std::mem::replace(&mut clock, Instant::now())
                .elapsed()
                .as_secs_f64())
        };
        let mut laps = Vec::new();
        let mut on_stage = |stage: Stage| laps.push((stage, lap()));
        let pictures = vec![self.picture.clone(); batch];
        let images = prepare_watched(vlm, &pictures, &clocked, &self.options, &mut on_stage)?;
        let mut seconds = [0.0; 5];
        for (stage, lap) in laps {
            match stage {
                Stage::Encoded => seconds[0] = lap?,
                Stage::Selected => seconds[1] = lap?,
                Stage::Projected => seconds[2] = lap?,
                _ => {
                    lap?;
                }
            }
        }
        let kept = images.kept(0);
        let generate = GenerateOptions::default().with_max_new_tokens(n_new);
        let start = Instant::now();
        let mut read = 0.0;
        let mut on_prefill = || read = start.elapsed().as_secs_f64();
        let mut hooks = Hooks {
            on_prefill: Some(&mut on_prefill),
            ..Hooks::default()
        };
        respond(
            vlm,
            &vec![self.prompt.to_vec(); batch],
            &images,
            &generate,
            &mut hooks,
        )?;
        let end = start.elapsed().as_secs_f64();
        let sequences = hooks.report.take().map(|report| report.sequences);
        drop(hooks);
        (seconds[3], seconds[4]) = (read, end - read);
        let first = sequences.and_then(|sequences| sequences.into_iter().next());
        Ok(Laps {
            seconds,
            inside: clocked.seconds(),
            per_layer: first
                .map(|sequence| sequence.visual_tokens)
                .filter(|layers| !layers.is_empty())
                .unwrap_or_else(|| vec![kept]),
        })
    }
}

fn wait(device: &Device) -> Result<(), LabError> {
    device.sync().map_err(|error| LabError::Device(error.to_string()))
}

/// A method whose choices inside the language model are timed; everything else is the method's own.
struct Clocked<'a> {
    inner: &'a dyn Pruner,
    device: &'a Device,
    spent: Mutex<f64>,
}

impl<'a> Clocked<'a> {
    fn new(inner: &'a dyn Pruner, device: &'a Device) -> Self {
        Self {
            inner,
            device,
            spent: Mutex::new(0.0),
        }
    }

    fn seconds(&self) -> f64 {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a choice of the part inside, between two moments at which the device has nothing left to do. What the device says
    /// at such a moment it says again at the next stage, where it is heard.
    fn time<T>(
        &self,
        choice: impl FnOnce(&dyn DecoderPruner) -> Result<T, PruneError>,
    ) -> Result<T, PruneError> {
        let decoder = self.inner.decoder().ok_or_else(|| PruneError::NoChoice {
            method: self.name().to_string(),
        })?;
        let _ = self.device.sync();
        let start = Instant::now();
        let chosen = choice(decoder);
        let _ = self.device.sync();
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) += start.elapsed().as_secs_f64();
        chosen
    }
}

impl Pruner for Clocked<'_> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signals(&self) -> Signals {
        self.inner.signals()
    }

    fn positions(&self) -> PositionRule {
        self.inner.positions()
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        self.inner.decoder().map(|_| self as &dyn DecoderPruner)
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        self.inner.select(context)
    }
}

impl DecoderPruner for Clocked<'_> {
    fn stages(
        &self,
        n_layers: usize,
        n_visual: usize,
        budget: &Budget,
    ) -> Result<Vec<DecoderStage>, PruneError> {
        match self.inner.decoder() {
            Some(decoder) => decoder.stages(n_layers, n_visual, budget),
            None => Ok(Vec::new()),
        }
    }

    fn raters(&self, embeds: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        self.time(|decoder| decoder.raters(embeds))
    }

    fn select_at(
        &self,
        stage: &DecoderStage,
        context: &DecoderContext,
    ) -> Result<DecoderSelection, PruneError> {
        self.time(|decoder| decoder.select_at(stage, context))
    }
}
