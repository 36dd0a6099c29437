//! One pass from pixels to answers, with a clock.

use std::time::Instant;

use burn::tensor::{Device, Tensor};
use diffprune::pruning::{PruningContext, Space};
use diffprune::{Budget, Grid, LearnedPruner, Pruner};

use super::network::Network;
use crate::LabError;

/// The parts of a pass.
pub(super) struct Pass<'a> {
    pub(super) network: &'a Network,
    pub(super) pruner: &'a LearnedPruner,
    /// Vectors in a token.
    pub(super) group: usize,
    pub(super) budget: &'a Budget,
    /// Tokens of the prompt beside the picture.
    pub(super) text: usize,
    pub(super) device: &'a Device,
}

impl Pass<'_> {
    /// The stages that [`Self::run`] times.
    pub(super) const STAGES: [&'static str; 5] = ["encode", "select", "project", "prefill", "first decode"];

    /// Seconds of every stage for `batch` pictures with a prompt each, answered together with `n_new` tokens each; the
    /// last stage has every step after the prefill, so the first one only when `n_new` is 2.
    pub(super) fn run(&self, pixels: Tensor<4>, batch: usize, n_new: usize) -> Result<[f64; 5], LabError> {
        let network = self.network;
        let prompt = network.prompt(self.text);
        let mut clock = Instant::now();
        let mut lap = || -> Result<f64, LabError> {
            self.device
                .sync()
                .map_err(|error| LabError::Device(error.to_string()))?;
            Ok(std::mem::replace(&mut clock, Instant::now())
                .elapsed()
                .as_secs_f64())
        };
        let tokens = network.encode(pixels, batch);
        let encode = lap()?;
        let grid = Grid {
            rows: 1,
            cols: tokens.dims()[1],
        };
        let mut context = PruningContext::new(tokens.clone(), grid, self.budget)?;
        context.group = self.group;
        let selection = self.pruner.select(&context)?;
        debug_assert_eq!(selection.space(), Space::Vision);
        let kept = selection.gather(tokens);
        let select = lap()?;
        let visual = network.visual(network.project(kept), &selection);
        let project = lap()?;
        let [prefill, decode] = network.answer(&prompt, &visual, n_new)?;
        Ok([encode, select, project, prefill, decode])
    }
}
