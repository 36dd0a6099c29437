//! What decoding is made of, for prompts that are continued together and for those that join one by one.

use burn::tensor::{Tensor, TensorData};

use super::{KvCache, LayerRun, Llama};
use crate::{DecoderPruning, DecoderReport, Finish, GenerateOptions, Sampler, Spliced, VlmError};

/// A sequence on its way: its new ids, what chooses the next one, and its end.
#[derive(Debug)]
pub(super) struct Continuation {
    sampler: Sampler,
    stop_ids: Vec<u32>,
    limit: usize,
    ids: Vec<u32>,
    finish: Option<Finish>,
}

impl Continuation {
    /// The beginning of an answer to prompt `row` of a batch, of at most `limit` ids.
    pub(super) fn new(options: &GenerateOptions, row: usize, prompt: &[u32], limit: usize) -> Self {
        Self {
            sampler: Sampler::new(options, row, prompt),
            stop_ids: options.stop_ids.clone(),
            limit,
            ids: Vec::new(),
            finish: (limit == 0).then_some(Finish::Length),
        }
    }

    /// Chooses the next id by the model's scores; `None` when the sequence has ended, be it now or before.
    pub(super) fn advance(&mut self, scores: &mut [f32]) -> Option<u32> {
        if self.finish.is_some() {
            return None;
        }
        let id = self.sampler.next(scores);
        if self.stop_ids.contains(&id) {
            self.end(Finish::Stop);
            return None;
        }
        self.ids.push(id);
        if self.ids.len() == self.limit {
            self.end(Finish::Length);
        }
        Some(id)
    }

    /// Ends the sequence.
    pub(super) fn end(&mut self, finish: Finish) {
        self.finish = Some(finish);
    }

    /// Why it ended; `None` while it goes on.
    pub(super) fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// The id that is fed next: the last one.
    pub(super) fn last(&self) -> i64 {
        self.ids.last().map_or(0, |&id| i64::from(id))
    }

    /// The place of [`Self::last`] after the prompt.
    pub(super) fn fed(&self) -> usize {
        self.ids.len().saturating_sub(1)
    }

    /// Ids that may still be chosen.
    pub(super) fn left(&self) -> usize {
        self.limit - self.ids.len()
    }

    /// The answer.
    pub(super) fn into_ids(self) -> Vec<u32> {
        self.ids
    }
}

/// Ids that may be produced from `next_position` on.
pub(super) fn limit(language: &Llama, next_position: usize, options: &GenerateOptions) -> usize {
    options
        .max_new_tokens
        .min(language.max_positions().saturating_sub(next_position))
}

/// Prompts that were read.
#[derive(Default)]
pub(super) struct Prefilled {
    /// Scores of the next id of each, all of them finite.
    pub(super) scores: Vec<Vec<f32>>,
    /// The layers by the tokens that they hold.
    pub(super) runs: Vec<LayerRun>,
    /// The tokens that the method inside the language model dropped.
    pub(super) report: Option<DecoderReport>,
}

/// Reads prompts (padded on the left) after what the cache holds.
pub(super) fn prefill(
    language: &Llama,
    spliced: &Spliced,
    cache: &mut KvCache,
    inside: Option<&DecoderPruning<'_>>,
) -> Result<Prefilled, VlmError> {
    let (hidden, runs, report) = match inside {
        Some(pruning) => {
            let pass = language.forward_pruned(spliced, pruning, Some(cache), Some(1))?;
            (pass.hidden, pass.runs, Some(pass.report))
        }
        None => {
            let hidden = fill(language, spliced, cache);
            let all = LayerRun {
                layers: 0..language.layers.len(),
                next_positions: spliced.plans.iter().map(|plan| plan.next_position).collect(),
            };
            (hidden, vec![all], None)
        }
    };
    let scores = last_scores(language, hidden);
    check_finite(&scores)?;
    Ok(Prefilled { scores, runs, report })
}

/// Reads prompts as [`prefill`] does, without a method and without scores; gives the last hidden state of each,
/// `[b, 1, d_model]`.
pub(super) fn fill(language: &Llama, spliced: &Spliced, cache: &mut KvCache) -> Tensor<3> {
    let (embeds, positions, mask) = (
        spliced.embeds.clone(),
        spliced.position_ids.clone(),
        spliced.mask.clone(),
    );
    language.layers_tail(embeds, positions, mask, Some(cache), 1)
}

/// Scores of the next token, one list per sequence; `hidden` is `[b, 1, d_model]`.
pub(super) fn last_scores(language: &Llama, hidden: Tensor<3>) -> Vec<Vec<f32>> {
    let [batch, _, d_model] = hidden.dims();
    let logits = language.logits(language.normalize(hidden.reshape([batch, d_model])));
    let [_, vocab] = logits.dims();
    let data: TensorData = logits.into_data().convert::<f32>();
    let values = data.as_slice::<f32>().unwrap_or_default();
    values.chunks(vocab).map(<[f32]>::to_vec).collect()
}

/// True for scores that a token can be chosen by.
pub(super) fn is_finite(scores: &[f32]) -> bool {
    scores.iter().all(|score| score.is_finite())
}

/// Refuses scores of which a token cannot be chosen by some.
pub(super) fn check_finite(scores: &[Vec<f32>]) -> Result<(), VlmError> {
    match scores.iter().position(|scores| !is_finite(scores)) {
        None => Ok(()),
        Some(index) => Err(VlmError::Prompt {
            index,
            problem: "found scores that are not finite; check the weights, or load them as f32".into(),
        }),
    }
}
