//! How strong the noise is, measured on the tokens it replaces.

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

/// Population deviation over tokens of what `pool` leaves of the channels.
fn deviation(
    tokens: &Tensor<3>,
    mask: Option<&Tensor<2, Bool>>,
    pool: impl Fn(Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    let tokens = statistic(tokens.clone().without_autodiff());
    let [batch, n_tokens, _] = tokens.dims();
    let real = mask.map(|mask| {
        let real = mask.clone().without_autodiff().float().cast(tokens.dtype());
        real.reshape([batch, n_tokens, 1])
    });
    let mean = |x: Tensor<3>| match &real {
        None => pool(x).mean_dim(1),
        Some(real) => {
            let count = real.clone().sum_dim(1).clamp_min(1.0);
            (pool(x) * real.clone()).sum_dim(1) / count
        }
    };
    let centred = tokens.clone() - mean(tokens);
    mean(centred.clone() * centred).sqrt()
}
