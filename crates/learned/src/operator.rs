//! DiffPrune's scorer and gate on the published alternatives to its soft top-k.

use burn::tensor::Tensor;
use diffprune_scorer::{Scorer, ScorerConfig};
use diffprune_softtopk::{K, SoftTopKInput, SoftTopKKind, Tau, ThresholdKind, TopKOperatorConfig};
use diffprune_throttler::GateKind;
use serde::{Deserialize, Serialize};

use crate::diffprune::per_image;
use crate::dynamic_vit::DYNAMICVIT_RATIO_WEIGHT;
use crate::gate::{check_weight, padded};
use crate::{
    ConfigError, Gate, GateInput, GateSettings, Gated, LearnedMethod, Method, ThrottledGate, ThrottledInput,
};

/// DiffPrune with another soft top-k: the gate of the shared [`ThrottlerConfig`](diffprune_throttler::ThrottlerConfig) on its
/// weights. Noise goes with few of them, see [`SoftTopKKind::supports_vp_noise`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The operator.
    pub operator: SoftTopKKind,
    /// Weight of the [`ratio_loss`](diffprune_softtopk::ratio_loss) towards the budget's share of the tokens.
    /// Default: 2 for [`SoftTopKKind::GumbelSoftmax`], which knows no budget and must have it; 0 for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_weight: Option<f64>,
}

/// The rows of the registry.
pub const ENTRIES: &[LearnedMethod] =
    &[
        LearnedMethod::new("operator", "DiffPrune with another soft top-k", || {
            Operator::new(ThresholdKind::Laplace).into()
        })
        .argument("NAME", "a soft top-k such as operator:clip", named)
        .paper("LapSum (ICML 2025), Xie et al. 2020, Sander et al. 2023, and others by name"),
    ];

fn named(operator: &str) -> Result<Method, String> {
    let operator: SoftTopKKind = operator.parse().map_err(|cause| format!("{cause}"))?;
    Ok(Operator::new(operator).into())
}

impl Operator {
    /// DiffPrune on `operator`, with the default weight of its ratio loss.
    pub fn new(operator: impl Into<SoftTopKKind>) -> Self {
        Self {
            operator: operator.into(),
            ratio_weight: None,
        }
    }

    fn knows_no_budget(&self) -> bool {
        self.operator == SoftTopKKind::GumbelSoftmax
    }

    fn weight(&self) -> f64 {
        let default = match self.knows_no_budget() {
            true => DYNAMICVIT_RATIO_WEIGHT,
            false => 0.0,
        };
        self.ratio_weight.unwrap_or(default)
    }

    fn throttled(&self, shared: &GateSettings) -> Result<ThrottledGate, ConfigError> {
        let GateSettings { softtopk, throttler } = shared.clone();
        let setting = ("diffprune.method.operator", self.operator.to_string());
        ThrottledGate::on(self.operator, softtopk, throttler, setting)
    }
}

impl Gate for Operator {
    type Head = Scorer;

    fn name(&self) -> String {
        format!("operator_{}", self.operator)
    }

    fn head(&self, _: usize) -> Option<ScorerConfig> {
        None
    }

    fn check(&self, shared: &GateSettings) -> Result<(), ConfigError> {
        self.throttled(shared)?;
        check_weight("ratio_weight", self.weight(), self.knows_no_budget())
    }

    fn gate(&self, scorer: &Scorer, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
        let gate = self.throttled(input.settings)?;
        let scores = scorer.forward(input.descriptors.clone(), input.mask.clone());
        let budget = per_image(input.budgets, &input.device());
        let gated = match self.operator {
            SoftTopKKind::Threshold(_) | SoftTopKKind::DfTopK => gate.forward(ThrottledInput {
                tokens: input.tokens.clone(),
                scores,
                budget,
                tau: input.tau,
                draws: input.draws,
                mask: input.mask.clone(),
            }),
            _ => input.scaled(self.weights(scores, budget, input), None),
        };
        let penalty = input.ratio_penalty(&gated.weights, self.weight());
        Ok(Gated { penalty, ..gated })
    }
}

impl Operator {
    /// The weights of an operator that gives no more than them.
    fn weights(&self, scores: Tensor<2>, k: K, input: &GateInput<'_>) -> Tensor<2> {
        debug_assert!(
            input.settings.throttler.gate == GateKind::Scale,
            "noise is refused where there is no argument"
        );
        let config = &input.settings.softtopk;
        let operator = TopKOperatorConfig::new(self.operator)
            .with_z_score(config.z_score)
            .with_z_score_eps(config.z_score_eps)
            .init();
        let (mask, tau) = (input.mask.clone(), Tau::Batch(input.tau));
        if !self.operator.is_random() {
            return operator.forward(SoftTopKInput { scores, k, tau, mask }, 0);
        }
        let [images, n_tokens] = scores.dims();
        // Each image by itself and without padding, as both would change what is drawn.
        let rows = (0..images).map(|row| {
            let count = input.count(row).min(n_tokens);
            let real = SoftTopKInput {
                scores: scores.clone().slice([row..row + 1, 0..count]),
                k: K::from(input.budgets[row]),
                tau: tau.clone(),
                mask: None,
            };
            padded(operator.forward(real, input.draws.seed(row)), n_tokens)
        });
        Tensor::cat(rows.collect(), 0)
    }
}
