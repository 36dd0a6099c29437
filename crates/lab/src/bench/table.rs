//! Table 4: methods in turn on one model.

use std::sync::Arc;

use diffprune::vlm::PruneOptions;
use diffprune::{Budget, Pruner, Vlm, VlmError};
use diffprune_baselines::FirstK;
use diffprune_eval::{
    Absent, Counting, ModelShape, Schedule, TimedMethod, TimesTable, TimingContext, prefill_flops,
};
use image::RgbImage;

use super::pass::{Laps, Pass};
use crate::error::LabError;

/// A measurement of the papers' table of times: in each round every method runs once, the unpruned model too.
pub struct TableBench<'a> {
    /// The model.
    pub vlm: &'a dyn Vlm,
    /// The model in words.
    pub model: String,
    /// The name of the published shape that it has in full, with random weights.
    pub published: Option<String>,
    /// Its shape, for the FLOPs.
    pub shape: &'a ModelShape,
    /// The picture.
    pub picture: RgbImage,
    /// Ids of the prompt, with one placeholder.
    pub prompt: Vec<u32>,
    /// Ids of the question, for methods that read it.
    pub question: Vec<u32>,
    /// The budget of the methods.
    pub budget: Budget,
    /// Rounds that count, at least 1.
    pub rounds: usize,
    /// Rounds before the clock counts.
    pub warm_up: usize,
    /// Number format, attention path, device, batch.
    pub context: TimingContext,
    /// Revision of the code.
    pub revision: String,
}

impl TableBench<'_> {
    /// Measures these methods, by the names of their rows. A method that cannot run on the model or at the budget has no row but
    /// a reason. The methods take turns in who comes first. `advance` is called with the rounds that are done, and asks to stop
    /// by `false`.
    ///
    /// # Errors
    /// When the unpruned model cannot run, the device fails, or `advance` asks to stop.
    pub fn measure(
        &self,
        methods: &[(String, Arc<dyn Pruner>)],
        advance: &mut dyn FnMut(usize) -> bool,
    ) -> Result<TimesTable, LabError> {
        let keep_all = FirstK;
        let mut arms: Vec<(String, Pass<'_>)> = vec![("full".into(), self.pass(&keep_all, Budget::All))];
        let (mut absent, mut visual) = (Vec::new(), 0);
        for (name, pruner) in methods {
            let pass = self.pass(pruner.as_ref(), self.budget);
            match pass.run(1, 1) {
                Ok(_) => arms.push((name.clone(), pass)),
                Err(LabError::Vlm(error)) if matches!(*error, VlmError::Prune(_)) => absent.push(Absent {
                    arm: name.clone(),
                    budget: self.budget.to_string(),
                    reason: error.to_string(),
                }),
                Err(error) => return Err(error),
            }
        }
        let mut laps: Vec<Vec<Laps>> = vec![Vec::new(); arms.len()];
        for round in 0..self.warm_up + self.rounds.max(1) {
            for turn in 0..arms.len() {
                let place = (turn + round) % arms.len();
                let lap = arms[place].1.run(1, 1)?;
                if round >= self.warm_up {
                    laps[place].push(lap);
                }
            }
            if !advance(round + 1) {
                return Err(LabError::Stopped {
                    after: "in the table of times, which begins anew".into(),
                });
            }
        }
        if let Some(full) = laps[0].first() {
            visual = full.per_layer[0];
        }
        let text = self.prompt.len() - 1;
        let rows = arms
            .iter()
            .zip(&laps)
            .map(|((name, _), laps)| self.row(name, laps, text));
        Ok(TimesTable {
            model: self.model.clone(),
            shape: self.published.clone(),
            visual,
            text,
            budget: self.budget,
            context: self.context.clone(),
            revision: self.revision.clone(),
            rows: rows.collect(),
            absent,
        })
    }

    fn pass<'p>(&'p self, pruner: &'p dyn Pruner, budget: Budget) -> Pass<'p> {
        let reads = pruner.signals().text_relevance;
        let question = reads.then(|| vec![self.question.clone()]);
        Pass {
            vlm: self.vlm,
            pruner,
            options: PruneOptions::new(budget).with_questions(question),
            prompt: &self.prompt,
            picture: &self.picture,
        }
    }

    fn row(&self, method: &str, laps: &[Laps], text: usize) -> TimedMethod {
        let column = |of: fn(&Laps) -> f64| laps.iter().map(of).collect::<Vec<f64>>();
        let n_layers = self.shape.language.n_layers;
        let schedule = match laps.first().map(|lap| lap.per_layer.as_slice()) {
            Some([kept]) => Schedule::uniform(n_layers, *kept),
            Some(layers) => Schedule::per_layer(layers),
            None => Schedule::uniform(n_layers, 0),
        };
        TimedMethod {
            method: method.into(),
            tokens: schedule.average(),
            prefill_flops: prefill_flops(self.shape, &schedule.plus(text), Counting::PROFILER),
            encode_s: column(|lap| lap.seconds[0]),
            select_s: column(|lap| lap.seconds[1] + lap.inside),
            prefill_s: column(|lap| lap.seconds[3] - lap.inside),
            first_token_s: column(|lap| lap.seconds[..4].iter().sum()),
        }
    }
}
