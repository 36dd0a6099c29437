//! The loss that holds learned thresholds to a count.

use burn::config::Config;
use burn::tensor::{Bool, Device, Tensor};

/// The soft mask of one pruning layer.
#[derive(Debug, Clone)]
pub struct AtpStage {
    /// Number of the layer, counted from 0: what is kept deep down costs more.
    pub layer: usize,
    /// `[batch, n_tokens]`
    pub weights: Tensor<2>,
}

/// `depth_weight * sum_l (kept_l / n) l + count_weight * |mean over layers of kept - target|`, where `kept_l` is the sum
/// of the soft mask after layer `l`, averaged over the batch, and `n` the number of real tokens.
///
/// Before a language model there is one stage with `layer` 0, and only the second term is left.
#[derive(Config, Debug, PartialEq)]
pub struct AtpLossConfig {
    /// Weight of the first term. Default: 0.05.
    #[config(default = 0.05)]
    pub depth_weight: f64,
    /// Weight of the second term. Default: 0.2.
    #[config(default = 0.2)]
    pub count_weight: f64,
    /// The number of tokens that shall stay on average. Default: 144.
    #[config(default = 144.0)]
    pub target: f64,
}

impl AtpLossConfig {
    /// The loss of all stages; 0 without stages.
    ///
    /// # Shapes
    /// - mask: `[batch, n_tokens]`, true = real token
    /// - output: `[1]`
    pub fn loss(&self, stages: &[AtpStage], mask: Option<&Tensor<2, Bool>>, device: &Device) -> Tensor<1> {
        let kept = |stage: &AtpStage| {
            let [batch, n_tokens] = stage.weights.dims();
            let dtype = stage.weights.dtype();
            let weights = match mask {
                Some(mask) => stage.weights.clone().mask_fill(mask.clone().bool_not(), 0.0),
                None => stage.weights.clone(),
            };
            let count = match mask {
                Some(mask) => mask.clone().float().cast(dtype).sum_dim(1),
                None => Tensor::full([batch, 1], n_tokens as f64, (device, dtype)),
            };
            let kept = weights.sum_dim(1);
            ((kept.clone() / count.clamp_min(1.0)).mean(), kept.mean())
        };
        let both = stages.iter().map(|stage| {
            let (share, kept) = kept(stage);
            (share * stage.layer as f64, kept)
        });
        let Some((depth, total)) = both.reduce(|(a, b), (c, d)| (a + c, b + d)) else {
            return Tensor::zeros([1], device);
        };
        let mean = total * (1.0 / stages.len() as f64);
        depth * self.depth_weight + (mean - self.target).abs() * self.count_weight
    }
}
