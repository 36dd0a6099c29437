//! The worth of a single token to an answer.

use burn::tensor::{Int, Tensor, TensorData};
use diffprune_pruner::PositionRule;
use diffprune_vlm::{Encoded, TextBatch, VisualInput, Vlm, VlmError};

/// The rise of the negative log-likelihood of `answer` when each token of a picture is left out, in nats per token of
/// the answer; negative where the answer becomes more likely.
///
/// `encoded` is one picture, `prompt` has its placeholder, and `answer` is what follows, with its end token. All other
/// tokens stay, at the positions that `rule` gives them. The cost is a forward pass over prompt and answer for each token
/// and one with all of them; `batch` of them go through the model together. The only token of a picture is worth 0: there
/// is nothing to compare it with.
///
/// # Errors
/// As [`Vlm::losses`].
pub fn leave_one_out(
    vlm: &dyn Vlm,
    encoded: &Encoded,
    prompt: &[u32],
    answer: &[u32],
    rule: PositionRule,
    batch: usize,
) -> Result<Vec<f32>, VlmError> {
    let count = encoded.layouts[0].n_tokens();
    if count < 2 {
        return Ok(vec![0.0; count]);
    }
    let features = vlm.project(encoded.tokens.clone().narrow(0, 0, 1).narrow(1, 0, count));
    let [_, _, width] = features.dims();
    let features = features.reshape([count, width]);
    let losses = |keep: &[Vec<usize>]| {
        let visual = kept(vlm, features.clone(), encoded, keep, rule);
        let text = TextBatch {
            ids: vec![[prompt, answer].concat(); keep.len()],
            targets: vec![[vec![false; prompt.len()], vec![true; answer.len()]].concat(); keep.len()],
        };
        let losses = vlm.losses(&text, Some(&visual))?.into_data();
        Ok::<Vec<f32>, VlmError>(losses.iter::<f32>().collect())
    };
    let all: Vec<usize> = (0..count).collect();
    let whole = losses(std::slice::from_ref(&all))?[0];
    let mut rises = Vec::with_capacity(count);
    for left_out in all.chunks(batch.max(1)) {
        let without = |&token: &usize| all.iter().copied().filter(|&other| other != token).collect();
        let keep: Vec<Vec<usize>> = left_out.iter().map(without).collect();
        rises.extend(losses(&keep)?.into_iter().map(|loss| loss - whole));
    }
    Ok(rises)
}

/// One picture as many times as there are lists, each with the tokens of its list; all lists are equally long.
fn kept(
    vlm: &dyn Vlm,
    features: Tensor<2>,
    encoded: &Encoded,
    keep: &[Vec<usize>],
    rule: PositionRule,
) -> VisualInput {
    let [_, width] = features.dims();
    let (rows, k) = (keep.len(), keep[0].len());
    let places: Vec<i64> = keep.iter().flatten().map(|&place| place as i64).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [rows * k]), &features.device());
    let features = features.select(0, places).reshape([rows, k, width]);
    vlm.visual_input(features, &vec![encoded.layouts[0].clone(); rows], keep, rule)
}
