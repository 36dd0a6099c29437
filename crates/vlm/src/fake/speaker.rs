//! A prompt that was read, and what is said about it.

use std::vec::IntoIter;

use super::FakeVlm;
use super::reading::Reading;
use crate::{Finish, GenerateOptions, Sampler};

/// A prompt that was read, and what chooses its ids one after the other.
pub(super) struct Speaker {
    reading: Reading,
    sampler: Sampler,
    scripted: Option<IntoIter<u32>>,
    decided: Option<u32>,
    last: u32,
    left: usize,
    stop_ids: Vec<u32>,
}

impl Speaker {
    /// A prompt that was read as `reading`, with the random stream of prompt `row` of a batch.
    pub(super) fn new(
        model: &FakeVlm,
        reading: Reading,
        prompt: &[u32],
        row: usize,
        options: &GenerateOptions,
    ) -> Self {
        Self {
            sampler: Sampler::new(options, row, prompt),
            scripted: model.scripted(&reading, prompt).map(Vec::into_iter),
            decided: None,
            last: prompt.last().copied().unwrap_or_default(),
            left: options.max_new_tokens,
            stop_ids: options.stop_ids.clone(),
            reading,
        }
    }

    /// The scores of the next id, of which the one that the test decided is the best.
    pub(super) fn scores(&mut self, table: &[Vec<f32>]) -> Vec<f32> {
        let mut scores = self.reading.scores(self.last, table);
        let scripted = self.scripted.as_mut();
        self.decided = scripted.map(|ids| ids.next().unwrap_or(FakeVlm::END_ID));
        if let Some(id) = self.decided {
            let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            scores[id as usize] = best + 1.0;
        }
        scores
    }

    /// The next id by these scores, and the end.
    pub(super) fn next(&mut self, scores: &mut [f32]) -> (Option<u32>, Option<Finish>) {
        if self.left == 0 {
            return (None, Some(Finish::Length));
        }
        self.last = self.decided.unwrap_or_else(|| self.sampler.next(scores));
        if self.last == FakeVlm::END_ID || self.stop_ids.contains(&self.last) {
            return (None, Some(Finish::Stop));
        }
        self.left -= 1;
        (Some(self.last), (self.left == 0).then_some(Finish::Length))
    }
}
