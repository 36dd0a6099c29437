//! The strength of the noise, measured on the tokens it replaces.

use burn::tensor::{Bool, Tensor};

use crate::gate::statistic;

/// Standard deviation over the real tokens and all channels of each image; `[batch, 1, 1]`, detached.
pub(crate) fn token_std(tokens: &Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
    deviation(tokens, mask, |x| x.mean_dim(2))
}

/// Standard deviation over the real tokens of each channel of each image; `[batch, 1, d]`, detached.
pub(crate) fn channel_std(tokens: &Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
    deviation(tokens, mask, |x| x)
}

/// Standard deviation of the real tokens around their mean token, over all channels of each image; `[batch, 1, 1]`,
/// detached.
pub(crate) fn centred_std(tokens: &Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
    let by_channel = channel_std(tokens, mask);
    (by_channel.clone() * by_channel).mean_dim(2).sqrt()
}

/// Mean over the real tokens of each channel of each image; `[batch, 1, d]`, detached.
pub(crate) fn token_mean(tokens: &Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
    let tokens = statistic(tokens.clone().without_autodiff());
    mean_over_tokens(tokens, mask, |x| x)
}

/// Population deviation over tokens of what `pool` leaves of the channels.
fn deviation(
    tokens: &Tensor<3>,
    mask: Option<&Tensor<2, Bool>>,
    pool: impl Fn(Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    let tokens = statistic(tokens.clone().without_autodiff());
    let centred = tokens.clone() - mean_over_tokens(tokens, mask, &pool);
    mean_over_tokens(centred.clone() * centred, mask, &pool).sqrt()
}

/// Mean over the real tokens of what `pool` leaves of the channels.
fn mean_over_tokens(
    x: Tensor<3>,
    mask: Option<&Tensor<2, Bool>>,
    pool: impl Fn(Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    let [batch, n_tokens, _] = x.dims();
    match mask {
        None => pool(x).mean_dim(1),
        Some(mask) => {
            let real = mask.clone().without_autodiff().float().cast(x.dtype());
            let real = real.reshape([batch, n_tokens, 1]);
            let count = real.clone().sum_dim(1).clamp_min(1.0);
            (pool(x) * real).sum_dim(1) / count
        }
    }
}
