//! The loss of a language model on chosen tokens.

use burn::tensor::{Int, Tensor, TensorData};
use diffprune_kernels::cross_entropy;

use super::Llama;
use crate::{Slot, Spliced, TextBatch, VlmError};

/// Mean negative log-likelihood of the target tokens given all tokens before them, in nats per token, `[1]`:
/// Eq. (12) of `docs/method.md`.
///
/// The batch must be padded on the right (then causality hides the padding). Only the rows that predict a target go
/// through the last norm and the head.
///
/// # Errors
/// When the flags do not fit the ids, a placeholder is a target, or there is no target.
pub fn next_token_nll(language: &Llama, spliced: &Spliced, batch: &TextBatch) -> Result<Tensor<1>, VlmError> {
    let (rows, ids) = target_rows(spliced, batch)?;
    let [n_batch, width, d_model] = spliced.embeds.dims();
    let device = language.device();
    let ints = |values: Vec<i64>| {
        let n = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device)
    };
    let hidden = language.layers(spliced.embeds.clone(), spliced.position_ids.clone(), None, None);
    let hidden = hidden.reshape([n_batch * width, d_model]).select(0, ints(rows));
    let logits = language.logits(language.normalize(hidden));
    Ok(cross_entropy(logits, ints(ids)).mean())
}

/// The flat rows that predict the targets, and the targets' ids. A sequence's first place has no row to predict it.
fn target_rows(spliced: &Spliced, batch: &TextBatch) -> Result<(Vec<i64>, Vec<i64>), VlmError> {
    check_flags(batch)?;
    let (mut rows, mut ids) = (Vec::new(), Vec::new());
    for (row, plan) in spliced.plans.iter().enumerate() {
        for (place, slot) in plan.slots.iter().enumerate().skip(1) {
            if let Slot::Text(i) = *slot
                && batch.targets[row][i]
            {
                rows.push(spliced.flat_index(row, place - 1) as i64);
                ids.push(i64::from(batch.ids[row][i]));
            }
        }
    }
    if rows.is_empty() {
        return Err(problem(
            0,
            "found no target token in the batch, wanted at least one".into(),
        ));
    }
    Ok((rows, ids))
}

fn check_flags(batch: &TextBatch) -> Result<(), VlmError> {
    if batch.ids.len() != batch.targets.len() {
        let (found, wanted) = (batch.targets.len(), batch.ids.len());
        return Err(problem(
            0,
            format!("found flags for {found} sequences, wanted {wanted}"),
        ));
    }
    for (index, (ids, targets)) in batch.ids.iter().zip(&batch.targets).enumerate() {
        if ids.len() != targets.len() {
            let (found, wanted) = (targets.len(), ids.len());
            return Err(problem(
                index,
                format!("found {found} target flags, wanted {wanted} (one per id)"),
            ));
        }
    }
    Ok(())
}

fn problem(index: usize, problem: String) -> VlmError {
    VlmError::Prompt { index, problem }
}
