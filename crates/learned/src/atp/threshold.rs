//! Two thresholds per image, and the soft mask that they make.

use burn::config::Config;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Bool, Device, Tensor, TensorData, activation};

use crate::error::{HeadConfigError, multiple_of, positive};
use crate::layers::linear;

/// Configuration of an [`AtpThreshold`].
#[derive(Config, Debug, PartialEq)]
pub struct AtpThresholdConfig {
    /// Statistics of an image that the thresholds depend on. Default: 2.
    #[config(default = 2)]
    pub n_features: usize,
    /// Width of their linear lift. Default: 64.
    #[config(default = 64)]
    pub d_hidden: usize,
    /// `1 / tau` of the soft mask `sigmoid((s - theta) / tau)`. Default: 10.
    #[config(default = 10.0)]
    pub sharpness: f64,
}

/// Two thresholds per image, and the soft mask that they make.
///
/// ```text
/// h = W f      theta_r = sigmoid(w_r h)      theta_s = sigmoid(w_s h)
/// weight_i = max(sigmoid((s_i - theta_r) / tau), sigmoid((p_i - theta_s) / tau))
/// ```
///
/// `s` are scores of importance, `p` spatial scores that keep a uniform sample alive ([`spatial_scores`]), `f`
/// statistics of the image. At inference a token stays when one of its scores is above its threshold: the count varies
/// from image to image, and the soft mask never equals the hard one. The budget is held by
/// [`AtpLossConfig`](crate::AtpLossConfig) alone.
#[derive(Module, Debug)]
pub struct AtpThreshold {
    lift: Linear,
    importance: Linear,
    spatial: Linear,
    sharpness: f64,
}

/// The input of [`AtpThreshold::forward`].
#[derive(Debug, Clone)]
pub struct AtpInput {
    /// Importance, `[batch, n_tokens]`; thresholds lie between 0 and 1, so scores should too.
    pub scores: Tensor<2>,
    /// Spatial scores, `[batch, n_tokens]` or `[1, n_tokens]`. `None`: importance alone decides.
    pub spatial: Option<Tensor<2>>,
    /// Statistics of each image, `[batch, n_features]`; in the published method the means of the self-attention and of
    /// the cross-attention scores.
    pub features: Tensor<2>,
    /// `[batch, n_tokens]`, true = real token. `None`: all are.
    pub mask: Option<Tensor<2, Bool>>,
}

/// The output of [`AtpThreshold::forward`].
#[derive(Debug, Clone)]
pub struct AtpOutput {
    /// The soft mask of training, `[batch, n_tokens]`, in `[0, 1]`. Masked tokens: 0.
    pub weights: Tensor<2>,
    /// The hard mask of inference, `[batch, n_tokens]`.
    pub keep: Tensor<2, Bool>,
    /// The margin of the better of the two scores above its threshold, `[batch, n_tokens]`, without gradient: the order of
    /// the weights, and positive where `keep` is true. Those of masked tokens mean nothing.
    pub margins: Tensor<2>,
    /// Importance, `[batch, n_tokens]`.
    pub scores: Tensor<2>,
    /// `theta_r` and `theta_s`, `[batch, 2]`.
    pub thresholds: Tensor<2>,
}

impl AtpThresholdConfig {
    /// Checks the sizes.
    ///
    /// # Errors
    /// If a size is 0 or the sharpness is not a positive number.
    pub fn check(&self) -> Result<(), HeadConfigError> {
        multiple_of("n_features", self.n_features, 1)?;
        multiple_of("d_hidden", self.d_hidden, 1)?;
        positive("sharpness", self.sharpness)
    }

    /// Creates the thresholds: weights normal with standard deviation 0.02, biases zero, so that both start near 1/2.
    ///
    /// # Panics
    /// If [`check`](Self::check) finds a fault.
    pub fn init(&self, device: &Device) -> AtpThreshold {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        AtpThreshold {
            lift: linear(self.n_features, self.d_hidden, device),
            importance: linear(self.d_hidden, 1, device),
            spatial: linear(self.d_hidden, 1, device),
            sharpness: self.sharpness,
        }
    }
}

impl AtpThreshold {
    /// Soft and hard mask of the tokens.
    ///
    /// # Shapes
    /// See [`AtpInput`] and [`AtpOutput`].
    pub fn forward(&self, input: AtpInput) -> AtpOutput {
        let AtpInput {
            scores,
            spatial,
            features,
            mask,
        } = input;
        let [batch, n_tokens] = scores.dims();
        let lifted = self.lift.forward(features.cast(self.lift.weight.dtype()));
        let threshold = |head: &Linear| activation::sigmoid(head.forward(lifted.clone()));
        let (importance, uniform) = (threshold(&self.importance), threshold(&self.spatial));
        let thresholds = Tensor::cat(vec![importance.clone(), uniform.clone()], 1);
        let above = |scores: Tensor<2>, threshold: Tensor<2>| {
            let margin = scores - threshold;
            let value = margin.clone().without_autodiff();
            (activation::sigmoid(margin * self.sharpness), value)
        };
        let scores = scores.cast(thresholds.dtype());
        let (mut weights, mut margins) = above(scores.clone(), importance);
        if let Some(spatial) = spatial {
            let spatial = spatial.cast(thresholds.dtype()).expand([batch, n_tokens]);
            let (other, margin) = above(spatial, uniform);
            weights = weights.max_pair(other);
            margins = margins.max_pair(margin);
        }
        let mut keep = margins.clone().greater_elem(0.0);
        if let Some(mask) = mask {
            weights = weights.mask_fill(mask.clone().bool_not(), 0.0);
            keep = keep.bool_and(mask.without_autodiff());
        }
        AtpOutput {
            weights,
            keep,
            margins,
            scores,
            thresholds,
        }
    }
}

/// Spatial scores of a grid of tokens in raster order: every `stride`-th token of every `stride`-th row, with the
/// stride that comes nearest to the share `rate`, gets `max(0, 1 - 3 rate)`; the others get 0.
///
/// # Shapes
/// - output: `[1, rows * cols]`
///
/// # Panics
/// If `rate` is not above 0 and at most 1.
pub fn spatial_scores(rows: usize, cols: usize, rate: f64, device: &Device) -> Tensor<2> {
    assert!(
        rate > 0.0 && rate <= 1.0,
        "rate must be above 0 and at most 1, found {rate}"
    );
    let stride = (1.0 / rate.sqrt()).round().max(1.0) as usize;
    let value = (1.0 - 3.0 * rate).max(0.0);
    let places = (0..rows * cols).map(|place| (place / cols, place % cols));
    let on_grid = |(row, col): (usize, usize)| row.is_multiple_of(stride) && col.is_multiple_of(stride);
    let values: Vec<f64> = places
        .map(|place| if on_grid(place) { value } else { 0.0 })
        .collect();
    Tensor::from_data(TensorData::new(values, [1, rows * cols]), device)
}
