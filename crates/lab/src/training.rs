//! Settings of a training that were not given, and budgets at which nothing would be learned.

use diffprune::{Budget, CaptionData, GateKind, Method, Signals, TrainConfig, Vlm};

use crate::error::LabError;
use crate::methods::{default_learning_rate, default_scorer};

/// The settings of a training of `method` (DiffPrune, where none is named) for descriptors of this width, at the budget 2/9.
pub fn default_training(method: Option<Method>, d_descriptor: usize) -> TrainConfig {
    let mut config = TrainConfig {
        lr: default_learning_rate(d_descriptor),
        ..TrainConfig::default()
    };
    config.diffprune.scorer = default_scorer(d_descriptor);
    config.diffprune.budget = Budget::rate(2, 9);
    if matches!(method, Some(Method::Operator(_))) {
        config.diffprune.throttler.gate = GateKind::Scale;
    }
    config
}

/// Refuses a budget that keeps every token of the first picture: nothing would be learned. A first sample that cannot be used
/// is for the training to report, or to leave out.
///
/// # Errors
/// When the budget keeps every token, or none.
pub fn check_train_budget(vlm: &dyn Vlm, data: &dyn CaptionData, budget: Budget) -> Result<(), LabError> {
    let Some(total) = first_total(vlm, data) else {
        return Ok(());
    };
    match budget.resolve(total)? < total {
        true => Ok(()),
        false => Err(LabError::Setup {
            subject: "keep".into(),
            found: format!("{budget}, which keeps all {total} tokens of the first picture"),
            wanted: "fewer: with nothing to choose nothing is learned".into(),
        }),
    }
}

/// Tokens of the first picture; `None` where it cannot be used.
fn first_total(vlm: &dyn Vlm, data: &dyn CaptionData) -> Option<usize> {
    if let Some(stored) = data.stored(0).ok()? {
        return Some(stored.layout.n_tokens());
    }
    let sample = data.sample(0).ok()?;
    let pixels = vlm.preprocess(std::slice::from_ref(&sample.image)).ok()?;
    Some(vlm.encode(pixels, Signals::default()).counts().iter().sum())
}
