//! DiffPrune (2605.28051) and AutoSelect (2603.07135): the scorer, trained through the throttled gate.

use burn::tensor::{Device, Tensor, TensorData};
use diffprune_scorer::{Scorer, ScorerConfig};
use diffprune_softtopk::K;
use serde::{Deserialize, Serialize};

use crate::{
    ConfigError, Gate, GateInput, GateSettings, Gated, LearnedMethod, ThrottledGate, ThrottledInput,
};

/// DiffPrune: a soft top-k with an exact budget says how much of each token is replaced by noise. It has no settings of its
/// own and no loss of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffPrune {}

/// The rows of the registry.
pub const ENTRIES: &[LearnedMethod] =
    &[
        LearnedMethod::new("throttle", "DiffPrune: soft top-k and noise", || {
            DiffPrune {}.into()
        })
        .aliases(&["diffprune"])
        .paper("DiffPrune (2605.28051), AutoSelect (2603.07135)"),
    ];

impl Gate for DiffPrune {
    type Head = Scorer;

    fn name(&self) -> String {
        "diffprune".to_string()
    }

    fn head(&self, _: usize) -> Option<ScorerConfig> {
        None
    }

    fn check(&self, shared: &GateSettings) -> Result<(), ConfigError> {
        ThrottledGate::new(shared.softtopk.clone(), shared.throttler.clone()).map(|_| ())
    }

    fn gate(&self, scorer: &Scorer, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
        let GateSettings { softtopk, throttler } = input.settings.clone();
        Ok(ThrottledGate::new(softtopk, throttler)?.forward(ThrottledInput {
            tokens: input.tokens.clone(),
            scores: scorer.forward(input.descriptors.clone(), input.mask.clone()),
            budget: per_image(input.budgets, &input.device()),
            tau: input.tau,
            draws: input.draws,
            mask: input.mask.clone(),
        }))
    }
}

/// The budget of each image.
pub(crate) fn per_image(budgets: &[usize], device: &Device) -> K {
    if budgets.iter().all(|budget| *budget == budgets[0]) {
        return K::from(budgets[0]);
    }
    let rows: Vec<f32> = budgets.iter().map(|&budget| budget as f32).collect();
    let count = rows.len();
    K::Rows(Tensor::from_data(TensorData::new(rows, [count]), device))
}
