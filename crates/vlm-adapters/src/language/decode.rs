//! Prompts that are continued together from beginning to end.

use super::continuation::{Continuation, check_finite, last_scores, limit, prefill};
use super::{KvCache, LayerRun, Llama};
use crate::splice::ints;
use crate::{Finish, GenerateOptions, Hooks, Spliced, VlmError};

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
    let mut sequences: Vec<Continuation> = prompts
        .iter()
        .enumerate()
        .map(|(i, prompt)| Continuation::new(options, i, prompt, limits[i]))
        .collect();
    if n_steps == 0 {
        return Ok(sequences.into_iter().map(Continuation::into_ids).collect());
    }
    let mut cache = language.cache(prompts.len(), spliced.width + n_steps - 1);
    let prefilled = prefill(language, spliced, &mut cache, hooks.decoder.as_ref())?;
    hooks.report = prefilled.report.or(hooks.report.take());
    let (mut scores, runs) = (prefilled.scores, prefilled.runs);
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
            if let Some(id) = sequence.advance(scores)
                && let Some(on_token) = &mut hooks.on_token
                && on_token(row, id).is_break()
            {
                sequence.end(Finish::Stop);
            }
        }
        if sequences.iter().all(|sequence| sequence.finish().is_some()) {
            return Ok(sequences.into_iter().map(Continuation::into_ids).collect());
        }
        scores = step(language, &sequences, &runs, &mut cache)?;
    }
}

/// Feeds the last id of every sequence (finished ones are fed along and ignored).
fn step(
    language: &Llama,
    sequences: &[Continuation],
    runs: &[LayerRun],
    cache: &mut KvCache,
) -> Result<Vec<Vec<f32>>, VlmError> {
    let device = language.device();
    let batch = sequences.len();
    let ids = sequences.iter().map(Continuation::last).collect();
    let axes = language.position_axes();
    let mut hidden = language.embed(ints(ids, [batch, 1], &device));
    for run in runs {
        let fed = sequences.iter().map(Continuation::fed);
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
    let scores = last_scores(language, hidden);
    check_finite(&scores)?;
    Ok(scores)
}
