//! The attention that an encoder pays to each token.

use burn::tensor::FloatDType;
use diffprune_pruner::{PruneError, PruningContext, Signals};

use crate::tools::top::host_scores;

/// The signals that [`saliency`] reads. A model with `[CLS]` gives the first, one without the second.
pub(crate) fn saliency_signals() -> Signals {
    Signals {
        cls_attention: true,
        received_attention: true,
        ..Signals::default()
    }
}

/// The `[CLS]` attention of each image's tokens, mean over the heads; where the encoder has no `[CLS]`, the attention
/// that each token receives.
///
/// # Errors
/// When the model gives neither, or a value is not finite.
pub(crate) fn saliency(context: &PruningContext, method: &str) -> Result<Vec<Vec<f32>>, PruneError> {
    if let Some(attention) = &context.observed.cls_attention {
        let mean = attention
            .clone()
            .cast(FloatDType::F32)
            .mean_dim(1)
            .squeeze_dim::<2>(1);
        return host_scores(context, mean, method, "[CLS] attention");
    }
    received(context, method, "[CLS] attention or received attention")
}

/// The attention that each token receives; `wanted` names what is missing when the model does not give it.
pub(crate) fn received(
    context: &PruningContext,
    method: &str,
    wanted: &'static str,
) -> Result<Vec<Vec<f32>>, PruneError> {
    let received = context.require(|observed| &observed.received_attention, method, wanted)?;
    host_scores(context, received.clone(), method, "received attention")
}
