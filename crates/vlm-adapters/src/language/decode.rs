//! Prefill and decoding.

use burn::tensor::{Tensor, TensorData};

use super::{KvCache, LayerRun, Llama};
use crate::splice::ints;
use crate::{GenerateOptions, Hooks, Sampler, Spliced, VlmError};

/// Continues spliced prompts (padded on the left): one prefill for the batch, then one token per step for each.
///
/// A sequence stops at a stop id (which is not returned), at `max_new_tokens`, or at the end of the model's positions.
/// Slots of the cache and position ids are counted apart: the first new token of a pruned prompt takes the position
/// after the full one. With [`Hooks::decoder`] visual tokens are dropped between the layers during the prefill; what was
/// dropped is then in [`Hooks::report`].
///
/// # Errors
/// When the scores are not finite, or a method inside the language model cannot choose.
pub fn decode(
    language: &Llama,
    prompts: &[Vec<u32>],
    spliced: &Spliced,
    options: &GenerateOptions,
    hooks: &mut Hooks<'_>,
) -> Result<Vec<Vec<u32>>, VlmError> {
    let limits: Vec<usize> = spliced
        .plans
        .iter()
        .map(|plan| limit(language, plan.next_position, options))
        .collect();
    let n_steps = limits.iter().copied().max().unwrap_or(0);
    let mut sequences: Vec<Sequence> = prompts
        .iter()
        .enumerate()
        .map(|(i, prompt)| Sequence::new(Sampler::new(options, i, prompt), limits[i]))
        .collect();
    if n_steps == 0 {
        return Ok(sequences.into_iter().map(|sequence| sequence.ids).collect());
    }
    let mut cache = language.cache(prompts.len(), spliced.width + n_steps - 1);
    let (mut scores, runs) = prefill(language, spliced, &mut cache, hooks)?;
    if let Some(on_prefill) = &mut hooks.on_prefill {
        on_prefill();
    }
    if let Some(on_scores) = &mut hooks.on_scores {
        scores
            .iter()
            .enumerate()
            .for_each(|(row, scores)| on_scores(row, scores));
    }
    loop {
        for (row, (sequence, scores)) in sequences.iter_mut().zip(&mut scores).enumerate() {
            if let Some(id) = sequence.advance(scores, &options.stop_ids)
                && let Some(on_token) = &mut hooks.on_token
                && on_token(row, id).is_break()
            {
                sequence.done = true;
            }
        }
        if sequences.iter().all(|sequence| sequence.done) {
            return Ok(sequences.into_iter().map(|sequence| sequence.ids).collect());
        }
        scores = step(language, &mut sequences, &runs, &mut cache)?;
    }
}

/// One sequence on its way.
struct Sequence {
    sampler: Sampler,
    ids: Vec<u32>,
    limit: usize,
    fed: usize,
    done: bool,
}

impl Sequence {
    fn new(sampler: Sampler, limit: usize) -> Self {
        Self {
            sampler,
            ids: Vec::new(),
            limit,
            fed: 0,
            done: limit == 0,
        }
    }

    /// Chooses the next id; `None` when the sequence has ended.
    fn advance(&mut self, scores: &mut [f32], stop_ids: &[u32]) -> Option<u32> {
        if self.done {
            return None;
        }
        let id = self.sampler.next(scores);
        if stop_ids.contains(&id) {
            self.done = true;
            return None;
        }
        self.ids.push(id);
        self.done = self.ids.len() == self.limit;
        Some(id)
    }
}

/// Ids that may be produced from `next_position` on.
fn limit(language: &Llama, next_position: usize, options: &GenerateOptions) -> usize {
    options
        .max_new_tokens
        .min(language.max_positions().saturating_sub(next_position))
}

/// Reads the prompts; gives their scores and the layers by the tokens that they hold.
fn prefill(
    language: &Llama,
    spliced: &Spliced,
    cache: &mut KvCache,
    hooks: &mut Hooks<'_>,
) -> Result<(Vec<Vec<f32>>, Vec<LayerRun>), VlmError> {
    if let Some(pruning) = &hooks.decoder {
        let pass = language.forward_pruned(spliced, pruning, Some(cache), Some(1))?;
        hooks.report = Some(pass.report);
        return Ok((last_scores(language, pass.hidden)?, pass.runs));
    }
    let (embeds, positions, mask) = (
        spliced.embeds.clone(),
        spliced.position_ids.clone(),
        spliced.mask.clone(),
    );
    let hidden = language.layers_tail(embeds, positions, mask, Some(cache), 1);
    let all = LayerRun {
        layers: 0..language.layers.len(),
        next_positions: spliced.plans.iter().map(|plan| plan.next_position).collect(),
    };
    Ok((last_scores(language, hidden)?, vec![all]))
}

/// Feeds the last id of every sequence (finished ones are fed along and ignored).
fn step(
    language: &Llama,
    sequences: &mut [Sequence],
    runs: &[LayerRun],
    cache: &mut KvCache,
) -> Result<Vec<Vec<f32>>, VlmError> {
    let device = language.device();
    let last = |sequence: &Sequence| sequence.ids.last().map_or(0, |&id| i64::from(id));
    let batch = sequences.len();
    let ids = ints(sequences.iter().map(last).collect(), [batch, 1], &device);
    let axes = language.position_axes();
    let mut hidden = language.embed(ids);
    for run in runs {
        let fed = sequences.iter().map(|sequence| sequence.fed);
        let positions: Vec<i64> = run
            .next_positions
            .iter()
            .zip(fed)
            .map(|(&next, fed)| (next + fed) as i64)
            .collect();
        let rope = language.rope(ints(positions.repeat(axes), [axes, batch, 1], &device));
        hidden = language
            .run(run.layers.clone(), hidden, &rope, None, Some(cache), 1)
            .0;
    }
    sequences
        .iter_mut()
        .filter(|sequence| !sequence.done)
        .for_each(|sequence| sequence.fed += 1);
    last_scores(language, hidden)
}

/// Scores of the next token, one list per sequence; `hidden` is `[b, 1, d_model]`.
fn last_scores(language: &Llama, hidden: Tensor<3>) -> Result<Vec<Vec<f32>>, VlmError> {
    let [batch, _, d_model] = hidden.dims();
    let logits = language.logits(language.normalize(hidden.reshape([batch, d_model])));
    let [_, vocab] = logits.dims();
    let data: TensorData = logits.into_data().convert::<f32>();
    let values = data.as_slice::<f32>().unwrap_or_default();
    let index_of_bad = values
        .chunks(vocab)
        .position(|row| !row.iter().all(|value| value.is_finite()));
    if let Some(index) = index_of_bad {
        let problem = "found scores that are not finite; check the weights, or load them as f32".to_string();
        return Err(VlmError::Prompt { index, problem });
    }
    Ok(values.chunks(vocab).map(<[f32]>::to_vec).collect())
}
