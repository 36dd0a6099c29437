//! Attention to scores of the visual tokens.

use burn::tensor::{DType, Tensor};
use diffprune_pruner::{DecoderContext, DecoderSelection, DecoderStage, PruneError};

use crate::tools::top::top_k;

/// Numbers of a tensor on the host, all finite.
pub(super) fn finite<const D: usize>(
    values: Tensor<D>,
    method: &str,
    what: &'static str,
    row: usize,
) -> Result<Vec<f32>, PruneError> {
    let values: Vec<f32> = values
        .into_data()
        .convert_dtype(DType::F32)
        .iter::<f32>()
        .collect();
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(PruneError::NotFinite {
            method: method.to_string(),
            what,
            row,
        }),
    }
}

/// Mean attention over heads that each visual token receives from the last token of the prompt.
pub(super) fn of_last_token(context: &DecoderContext, method: &str) -> Result<Vec<f32>, PruneError> {
    let what = "attention of the last token";
    let attention = context.require(|observed| &observed.attention, method, what)?;
    received(context, attention.clone(), method)
}

/// The visual tokens with the highest scores, as many as the stage keeps; ties go to the lower index.
pub(super) fn keep_best(scores: &[f32], stage: &DecoderStage) -> DecoderSelection {
    DecoderSelection::keep(top_k(scores, stage.keep))
}

/// Mean attention over heads and queries that each visual token receives.
///
/// # Shapes
/// - attention: `[n_heads, rows, t]`
pub(super) fn received(
    context: &DecoderContext,
    attention: Tensor<3>,
    method: &str,
) -> Result<Vec<f32>, PruneError> {
    let mean = attention.mean_dim(0).mean_dim(1);
    let values = finite(mean, method, "attention", context.row)?;
    Ok(context.visual.iter().map(|&place| values[place]).collect())
}
