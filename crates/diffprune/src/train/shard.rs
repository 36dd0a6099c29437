//! What a part of a batch comes to.

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use diffprune_training::sum_gradients;

use super::metrics::WeightStats;
use crate::{Trainee, TrainingLoss};

/// Gradient and measurements of a part of a batch, as sums over its targets and images.
pub(super) struct Shard {
    pub(super) grads: GradientsParams,
    pub(super) sums: Sums,
}

/// Measurements of a part of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) nll: f64,
    pub(super) penalty: Option<f64>,
    pub(super) targets: usize,
    pub(super) weights: WeightStats,
    pub(super) images: usize,
    pub(super) budget: usize,
}

impl Sums {
    /// Negative log-likelihood, nats per token.
    pub(super) fn nll(&self) -> f64 {
        self.nll / self.targets as f64
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            nll: self.nll + other.nll,
            penalty: match (self.penalty, other.penalty) {
                (Some(a), Some(b)) => Some(a + b),
                (one, another) => one.or(another),
            },
            targets: self.targets + other.targets,
            weights: self.weights.plus(&other.weights),
            images: self.images + other.images,
            budget: self.budget + other.budget,
        }
    }
}

impl Shard {
    /// No sample.
    pub(super) fn nothing() -> Self {
        Self {
            grads: GradientsParams::new(),
            sums: Sums::default(),
        }
    }

    /// Walks backward from the sum over the targets.
    pub(super) fn of(loss: TrainingLoss, model: &Trainee) -> Self {
        let (weights, images) = WeightStats::of(&loss.weights, loss.mask.as_ref());
        let budget = loss.budgets.iter().sum();
        let over_targets = |mean: &Tensor<1>| {
            let sum = mean.clone().without_autodiff() * loss.n_targets as f64;
            f64::from(sum.into_scalar::<f32>())
        };
        let (nll, penalty) = (over_targets(&loss.nll), loss.penalty.as_ref().map(over_targets));
        let sum = loss.objective() * loss.n_targets as f64;
        let grads = GradientsParams::from_grads(sum.backward(), model);
        let sums = Sums {
            nll,
            penalty,
            targets: loss.n_targets,
            weights,
            images,
            budget,
        };
        Self { grads, sums }
    }

    /// Adds in the order given.
    pub(super) fn sum(shards: Vec<Self>, model: &Trainee) -> Self {
        let nothing = Sums::default();
        let sums = shards.iter().fold(nothing, |sum, shard| sum.plus(&shard.sums));
        let grads = sum_gradients(shards.into_iter().map(|shard| shard.grads).collect(), model);
        Self { grads, sums }
    }

    /// The same with its gradients on a device.
    pub(super) fn moved_to(self, device: &Device, model: &Trainee) -> Self {
        Self {
            grads: self.grads.to_device(device, model),
            ..self
        }
    }
}
