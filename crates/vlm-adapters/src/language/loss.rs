//! The loss of a language model on chosen tokens.

use burn::tensor::{Int, Tensor, TensorData};
use diffprune_kernels::cross_entropy;

use super::Llama;
use crate::{Slot, Spliced, TextBatch, VlmError};

/// Mean negative log-likelihood of the target tokens given all tokens before them, in nats per token, `[1]`:
/// Eq. (12) of `docs/method.md`.
///
/// The batch must be padded on the right, if at all (then causality hides the padding). Only the rows that predict a target go
/// through the last norm and the head, and only those from the first of them on through the last layer.
///
/// # Errors
/// When shorter sequences are padded on the left, the flags do not fit the ids, a placeholder is a target, or there is no target.
pub fn next_token_nll(language: &Llama, spliced: &Spliced, batch: &TextBatch) -> Result<Tensor<1>, VlmError> {
    let targets = Targets::of(spliced, batch)?;
    Ok(targets.nll(language, spliced).mean())
}

/// As [`next_token_nll`], with the activations of one layer in memory at a time.
///
/// The layers run without a record of what they computed but their inputs; then, before this returns, each runs a second time,
/// from the last to the first, and hands its gradient on. The model must be frozen: gradients reach the embeddings only. The value
/// is that of [`next_token_nll`]; the gradient is too, up to the order of sums. Embeddings without gradient take the plain way.
///
/// # Errors
/// As [`next_token_nll`].
pub fn next_token_nll_recomputed(
    language: &Llama,
    spliced: &Spliced,
    batch: &TextBatch,
) -> Result<Tensor<1>, VlmError> {
    let targets = Targets::of(spliced, batch)?;
    let embeds = &spliced.embeds;
    if !embeds.is_autodiff() {
        return Ok(targets.nll(language, spliced).mean());
    }
    let n_rows = embeds.dims()[1] - targets.first;
    let rope = language.rope(spliced.position_ids.clone());
    let layer = |i: usize, x: Tensor<3>| language.run(i..i + 1, x, &rope, None, None, n_rows).0;
    let mut inputs = vec![embeds.clone().without_autodiff()];
    for i in 0..language.layers.len() - 1 {
        inputs.push(layer(i, inputs[i].clone()));
    }
    let mut value = None;
    let mut gradient: Option<Tensor<3>> = None;
    for (i, input) in inputs.into_iter().enumerate().rev() {
        let input = input.autodiff().require_grad();
        let output = layer(i, input.clone());
        let loss = match &gradient {
            // The sum whose gradient by the layer's output is the one that came back.
            Some(gradient) => (output * gradient.clone().autodiff()).sum(),
            None => {
                let nll = targets.of_hidden(language, output).mean();
                value = Some(nll.clone().without_autodiff());
                nll
            }
        };
        gradient = input.grad(&loss.backward());
    }
    let (Some(value), Some(gradient)) = (value, gradient) else {
        return Ok(targets.nll(language, spliced).mean());
    };
    // A term of value 0 with that gradient; in f16 its sum would overflow.
    let wide = value.dtype();
    let linear = (embeds.clone().cast(wide) * gradient.cast(wide).autodiff()).sum();
    let zero = linear.clone() - linear.without_autodiff().autodiff();
    Ok(zero + value.autodiff())
}

/// As [`next_token_nll`], for each sequence by itself: the mean over its own targets, `[b]`.
///
/// # Errors
/// As [`next_token_nll`], and when a sequence has no target.
pub fn sequence_nll(language: &Llama, spliced: &Spliced, batch: &TextBatch) -> Result<Tensor<1>, VlmError> {
    let targets = Targets::of(spliced, batch)?;
    let (n_batch, n_targets) = (spliced.plans.len(), targets.places.len());
    let mut counts = vec![0usize; n_batch];
    targets.places.iter().for_each(|&(row, _)| counts[row] += 1);
    if let Some(index) = counts.iter().position(|&count| count == 0) {
        return Err(problem(
            index,
            "found no target token in the sequence, expected at least one".into(),
        ));
    }
    let mut shares = vec![0f32; n_batch * n_targets];
    for (target, &(row, _)) in targets.places.iter().enumerate() {
        shares[row * n_targets + target] = 1.0 / counts[row] as f32;
    }
    let nll = targets.nll(language, spliced);
    let shares = TensorData::new(shares, [n_batch, n_targets]);
    let shares = Tensor::<2>::from_data(shares, (&language.device(), nll.dtype()));
    Ok(shares.matmul(nll.reshape([n_targets, 1])).reshape([n_batch]))
}

/// The targets of a batch.
struct Targets {
    /// Sequence and place that predict each target.
    places: Vec<(usize, usize)>,
    /// The ids of the targets.
    ids: Vec<i64>,
    /// The first place that predicts anything, over all sequences.
    first: usize,
}

impl Targets {
    /// A sequence's first place has none before it to predict it.
    fn of(spliced: &Spliced, batch: &TextBatch) -> Result<Self, VlmError> {
        if let Some(index) = spliced.padded_on_the_left() {
            return Err(problem(
                index,
                "found padding on the left, expected it on the right; splice with Padding::Right".into(),
            ));
        }
        check_flags(batch)?;
        let (mut places, mut ids) = (Vec::new(), Vec::new());
        for (row, plan) in spliced.plans.iter().enumerate() {
            for (place, slot) in plan.slots.iter().enumerate().skip(1) {
                if let Slot::Text(i) = *slot
                    && batch.targets[row][i]
                {
                    places.push((row, place - 1));
                    ids.push(i64::from(batch.ids[row][i]));
                }
            }
        }
        match places.iter().map(|(_, place)| *place).min() {
            Some(first) => Ok(Self { places, ids, first }),
            None => Err(problem(
                0,
                "found no target token in the batch, expected at least one".into(),
            )),
        }
    }

    /// The negative log-likelihood of each target, `[targets]`.
    fn nll(&self, language: &Llama, spliced: &Spliced) -> Tensor<1> {
        let n_rows = spliced.embeds.dims()[1] - self.first;
        let (embeds, positions) = (spliced.embeds.clone(), spliced.position_ids.clone());
        self.of_hidden(
            language,
            language.layers_tail(embeds, positions, None, None, n_rows),
        )
    }

    /// The same from the last layer's output for the places from the first that predicts anything on, `[b, n_rows, d_model]`.
    fn of_hidden(&self, language: &Llama, hidden: Tensor<3>) -> Tensor<1> {
        let [n_batch, n_rows, d_model] = hidden.dims();
        let device = language.device();
        let ints = |values: Vec<i64>| {
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device)
        };
        let rows = self
            .places
            .iter()
            .map(|(row, place)| (row * n_rows + place - self.first) as i64)
            .collect();
        let hidden = hidden.reshape([n_batch * n_rows, d_model]).select(0, ints(rows));
        let logits = language.logits(language.normalize(hidden));
        cross_entropy(logits, ints(self.ids.clone()))
    }
}

fn check_flags(batch: &TextBatch) -> Result<(), VlmError> {
    if batch.ids.len() != batch.targets.len() {
        let (found, wanted) = (batch.targets.len(), batch.ids.len());
        return Err(problem(
            0,
            format!("found flags for {found} sequences, expected {wanted}"),
        ));
    }
    for (index, (ids, targets)) in batch.ids.iter().zip(&batch.targets).enumerate() {
        if ids.len() != targets.len() {
            let (found, wanted) = (targets.len(), ids.len());
            return Err(problem(
                index,
                format!("found {found} target flags, expected {wanted} (one per id)"),
            ));
        }
    }
    Ok(())
}

fn problem(index: usize, problem: String) -> VlmError {
    VlmError::Prompt { index, problem }
}
