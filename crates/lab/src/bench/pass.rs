//! One pass from pixels to answers, with a clock.

use std::time::Instant;

use diffprune::vlm::{GenerateOptions, Hooks, PruneOptions, Stage, prepare_watched};
use diffprune::{Budget, LearnedPruner, Vlm, respond};
use image::RgbImage;

use super::network::Network;
use crate::error::LabError;

/// The parts of a pass.
pub(super) struct Pass<'a> {
    pub(super) network: &'a Network,
    pub(super) pruner: &'a LearnedPruner,
    pub(super) budget: &'a Budget,
    /// Tokens of the prompt beside the picture.
    pub(super) text: usize,
}

impl Pass<'_> {
    /// The stages that [`Self::run`] times.
    pub(super) const STAGES: [&'static str; 5] = ["encode", "select", "project", "prefill", "first decode"];

    /// Seconds of every stage for `batch` pictures with a prompt each, answered together with `n_new` tokens each; the
    /// last stage has every step after the prefill, so the first one only when `n_new` is 2.
    pub(super) fn run(&self, batch: usize, n_new: usize) -> Result<[f64; 5], LabError> {
        let network = self.network;
        let prompt = network.prompt(self.text);
        let room = network
            .max_positions()
            .saturating_sub(network.n_tokens() + prompt.len());
        if n_new > room {
            return Err(LabError::Setup {
                subject: "answer".into(),
                found: format!("{n_new} new tokens"),
                wanted: format!("at most {room}; ask for a shorter answer or text"),
            });
        }
        let device = network.device();
        let mut clock = Instant::now();
        let mut lap = || -> Result<f64, LabError> {
            device
                .sync()
                .map_err(|error| LabError::Device(error.to_string()))?;
            Ok(std::mem::replace(&mut clock, Instant::now())
                .elapsed()
                .as_secs_f64())
        };
        let mut laps = Vec::new();
        let mut on_stage = |stage: Stage| laps.push((stage, lap()));
        let pictures = vec![RgbImage::new(1, 1); batch];
        let options = PruneOptions::new(*self.budget);
        let images = prepare_watched(network, &pictures, self.pruner, &options, &mut on_stage)?;
        let mut seconds = [0.0; 5];
        for (stage, lap) in laps {
            match stage {
                Stage::Encoded => seconds[0] = lap?,
                Stage::Selected => seconds[1] = lap?,
                Stage::Projected => seconds[2] = lap?,
                _ => {}
            }
        }
        let generate = GenerateOptions::default().with_max_new_tokens(n_new);
        let start = Instant::now();
        let mut read = 0.0;
        let mut on_prefill = || read = start.elapsed().as_secs_f64();
        let mut hooks = Hooks {
            on_prefill: Some(&mut on_prefill),
            ..Hooks::default()
        };
        respond(network, &vec![prompt; batch], &images, &generate, &mut hooks)?;
        let end = start.elapsed().as_secs_f64();
        drop(hooks);
        (seconds[3], seconds[4]) = (read, end - read);
        Ok(seconds)
    }
}
