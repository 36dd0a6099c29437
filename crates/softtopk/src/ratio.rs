//! The loss that holds operators without a budget to a share of the tokens.

use burn::tensor::{Bool, Tensor};

/// `mean over rows of (kept share - target)^2`, the kept share being the mean weight of the real tokens (DynamicViT,
/// Dynamic-LLaVA). Rows without real tokens count as a kept share of 0.
///
/// # Shapes
/// - weights, mask (true = real token): `[batch, n_tokens]`
/// - output: `[1]`
pub fn ratio_loss(weights: Tensor<2>, target: f64, mask: Option<Tensor<2, Bool>>) -> Tensor<1> {
    let dtype = weights.dtype();
    let share = match mask {
        Some(mask) => {
            let real = mask.float().cast(dtype);
            (weights * real.clone()).sum_dim(1) / real.sum_dim(1).clamp_min(1.0)
        }
        None => weights.mean_dim(1),
    };
    let error = share - target;
    (error.clone() * error).mean()
}
