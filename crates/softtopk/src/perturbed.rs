//! Perturbed top-k: the average of hard selections of noisy scores.

use std::f64::consts::TAU;

use burn::tensor::{Bool, Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::hard::hard_topk_mask;
use crate::rank::first_in_rank;
use crate::rows::Rows;
use crate::soft::{K, SoftTopKInput};
use crate::vjp::departure;

/// Standard normal noise: given, or drawn from a seed.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one short-lived value per call; a box would only burden callers
pub enum PerturbNoise {
    /// `[batch, samples, n_tokens]`, or `[1, samples, n_tokens]` for all rows.
    Given(Tensor<3>),
    /// Drawn on the host; the same seed gives the same noise everywhere.
    Seed {
        /// The seed.
        seed: u64,
        /// The number of hard selections that are averaged.
        samples: usize,
    },
}

/// `alpha = E[1_topk(s + sigma Z)]` with standard normal `Z`, by sampling (Berthet et al., NeurIPS 2020; Cordonnier
/// et al., CVPR 2021). `sigma` is the temperature of the input.
///
/// - Mass: exactly `k`, since every sample keeps `k` tokens.
/// - Range: `[0, 1]`, multiples of `1 / samples`: exactly 0 or 1 for most tokens, so the noise gate cannot run on it.
/// - Gradient: the estimate `E[<v, 1_topk> Z] / sigma` from the same samples, to the scores alone. Unbiased for the
///   expectation; its variance goes with `1 / (samples sigma^2)`.
/// - Cost: `samples` hard selections per row, `O(samples n)` time and memory.
///
/// The budget is rounded to whole tokens and has no gradient. `k` of at least the number of real tokens opens every
/// gate, `k <= 0` closes all; masked tokens have weight 0 and do not count.
///
/// # Shapes
/// - output: `[batch, n_tokens]`
///
/// # Panics
/// If the sizes of given noise do not fit the scores.
pub fn perturbed_topk(input: SoftTopKInput, noise: PerturbNoise) -> Tensor<2> {
    let uniform = match input.k {
        K::Batch(k) => Some((k + 0.5).floor().max(0.0) as usize),
        K::Rows(_) => None,
    };
    let rows = Rows::whole(input);
    let [batch, n_tokens] = rows.scores.dims();
    let scores = rows.scores.clone().without_autodiff();
    let noise = match noise {
        PerturbNoise::Given(noise) => noise.without_autodiff().cast(scores.dtype()),
        PerturbNoise::Seed { seed, samples } => {
            normal_noise([batch, samples.max(1), n_tokens], seed, &scores.device()).cast(scores.dtype())
        }
    };
    let samples = noise.dims()[1];
    let shape = [batch, samples, n_tokens];
    let noise = noise.expand(shape);
    let noise = noise * rows.real().reshape([batch, 1, n_tokens]);
    let sigma = rows.tau.clone().without_autodiff().reshape([batch, 1, 1]);
    let perturbed = scores.reshape([batch, 1, n_tokens]) + noise.clone() * sigma.clone();
    let perturbed = perturbed.reshape([batch * samples, n_tokens]);
    let mask = rows.mask.clone().map(|mask| {
        let mask: Tensor<3, Bool> = mask.reshape([batch, 1, n_tokens]).expand(shape);
        mask.reshape([batch * samples, n_tokens])
    });
    let kept = match uniform {
        Some(k) => hard_topk_mask(perturbed, k, mask),
        None => {
            let k = rows.k.clone().reshape([batch, 1, 1]).expand([batch, samples, 1]);
            first_in_rank(perturbed, k.reshape([batch * samples, 1]), mask)
        }
    };
    let kept = kept.reshape(shape);
    let mean = |x: Tensor<3>| (x.sum_dim(1) * (1.0 / samples as f64)).reshape([batch, n_tokens]);
    let value = rows.fix(mean(kept.clone()), 1.0, 0.0);
    if !rows.scores.is_autodiff() {
        return value;
    }
    let d = departure(rows.scores.clone()).reshape([batch, 1, n_tokens]);
    let along = (d * noise).sum_dim(2) / sigma;
    rows.fix(mean(along * kept), 0.0, 0.0) + value
}

/// Standard normal noise drawn on the host with ChaCha8, by the method of Box and Muller.
fn normal_noise(shape: [usize; 3], seed: u64, device: &Device) -> Tensor<3> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
    let count = shape.iter().product::<usize>();
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let (radius, angle) = ((-2.0 * uniform().ln()).sqrt(), TAU * uniform());
        values.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    values.truncate(count);
    Tensor::from_data(TensorData::new(values, shape), device)
}
