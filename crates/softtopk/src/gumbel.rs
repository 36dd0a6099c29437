//! Random hard selection with a straight-through gradient: the controlled contrast to soft top-k.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::{SoftTopKConfig, ThresholdKind};
use crate::hard::hard_topk_mask;
use crate::soft::{K, SoftTopKInput, Tau, to_working_precision};

/// Standard Gumbel noise: given, or drawn from a seed.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one short-lived value per call; a box would only burden callers
pub enum GumbelNoise {
    /// `-log(-log(uniform))`, of the shape of what it perturbs.
    Given(Tensor<2>),
    /// Drawn on the host by [`gumbel_noise`]; the same seed gives the same noise everywhere.
    Seed(u64),
}

/// The gradient that is used in place of that of the hard selection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SteBackward {
    /// The upstream gradient passes to the scores unchanged.
    Identity,
    /// The Jacobian of the soft operator at the perturbed scores.
    SoftTopK {
        /// Curve of the soft operator.
        kind: ThresholdKind,
        /// Its temperature, in units of the raw scores.
        tau: f64,
    },
}

/// The input of [`gumbel_topk_ste`].
#[derive(Debug, Clone)]
pub struct GumbelTopKInput {
    /// `[batch, n_tokens]`
    pub scores: Tensor<2>,
    /// The exact number of tokens kept.
    pub k: usize,
    /// Noise that is added to the scores. Zeros give the deterministic form.
    pub noise: GumbelNoise,
    /// The gradient.
    pub backward: SteBackward,
    /// `[batch, n_tokens]`, true = real token.
    pub mask: Option<Tensor<2, Bool>>,
}

/// Keeps the `k` highest of the perturbed scores, with a straight-through gradient: Eq. (6) of docs/method.md.
///
/// Forward `1_topk(s + g)`, a sample without replacement of `k` tokens; backward the identity or the Jacobian
/// of a soft top-k at `s + g`. Forward and backward belong to different functions. Ties and rows with
/// fewer than `k` real tokens as in [`hard_topk`](crate::hard_topk), except that masked tokens are never
/// kept. Working precision as in [`SoftTopK`](crate::SoftTopK).
///
/// # Shapes
/// - output: `[batch, n_tokens]`, zeros and ones
pub fn gumbel_topk_ste(input: GumbelTopKInput) -> Tensor<2> {
    let GumbelTopKInput {
        scores,
        k,
        noise,
        backward,
        mask,
    } = input;
    let mut scores = to_working_precision(scores);
    if let Some(mask) = &mask {
        scores = scores.mask_fill(mask.clone().bool_not(), 0.0);
    }
    let noise = match noise {
        GumbelNoise::Given(noise) => noise.cast(scores.dtype()),
        GumbelNoise::Seed(seed) => {
            let device = scores.device().without_autodiff();
            gumbel_noise(scores.dims(), seed, &device).cast(scores.dtype())
        }
    };
    let perturbed = scores + noise;
    let hard = hard_topk_mask(perturbed.clone(), k, mask.clone());
    hard_forward(hard, perturbed, K::from(k), backward, mask)
}

/// `hard` without masked tokens forwards, the gradient of `backward` at the perturbed scores backwards.
pub(crate) fn hard_forward(
    mut hard: Tensor<2>,
    perturbed: Tensor<2>,
    k: K,
    backward: SteBackward,
    mask: Option<Tensor<2, Bool>>,
) -> Tensor<2> {
    if let Some(mask) = &mask {
        hard = hard.mask_fill(mask.clone().without_autodiff().bool_not(), 0.0);
    }
    if !perturbed.is_autodiff() {
        return hard;
    }
    let path = match backward {
        SteBackward::Identity => match mask {
            Some(mask) => perturbed.mask_fill(mask.bool_not(), 0.0),
            None => perturbed,
        },
        SteBackward::SoftTopK { kind, tau } => {
            let soft = SoftTopKConfig::new().with_kind(kind).with_z_score(false).init();
            let input = SoftTopKInput {
                scores: perturbed,
                k,
                tau: Tau::Batch(tau),
                mask,
            };
            soft.forward(input).weights
        }
    };
    straight_through(hard, path)
}

/// Keep decision per token from two logits (class 0 keeps), with the straight-through gradient of the
/// tempered softmax, as in DynamicViT and Dynamic-LLaVA (Jang et al., ICLR 2017). The budget is not constrained:
/// add [`ratio_loss`](crate::ratio_loss).
///
/// # Shapes
/// - log_probs, noise (standard Gumbel): `[batch, n_tokens, 2]`
/// - output: `[batch, n_tokens]`; zeros and ones if `hard`, else the softmax probability of keeping
pub fn gumbel_softmax_ste(log_probs: Tensor<3>, noise: Tensor<3>, tau: f64, hard: bool) -> Tensor<2> {
    let logits = to_working_precision(log_probs);
    let noise = noise.cast(logits.dtype());
    let [batch, n_tokens, _] = logits.dims();
    let class = |i: usize| (logits.clone() + noise.clone()).slice([0..batch, 0..n_tokens, i..i + 1]);
    // Multiplied, not divided: the gradient of a division by a number is rounded to f32.
    two_classes(
        (class(0) - class(1)).reshape([batch, n_tokens]) * (1.0 / tau),
        hard,
    )
}

/// The keep decision from `margin`, the perturbed logit of keeping less that of dropping, over the temperature.
pub(crate) fn two_classes(margin: Tensor<2>, hard: bool) -> Tensor<2> {
    let value = margin.clone().without_autodiff();
    let (keep, drop) = ThresholdKind::Sigmoid.weights(value.clone());
    let slope = ThresholdKind::Sigmoid.slope(value.clone(), keep.clone(), drop);
    let decision = match hard {
        true => value.greater_equal_elem(0.0).float().cast(keep.dtype()),
        false => keep,
    };
    straight_through(decision, margin * slope)
}

/// Standard Gumbel noise drawn on the host with ChaCha8; f32 rounding of `-log(-log(uniform))`.
///
/// # Shapes
/// - output: `shape`, in the float type of the device
pub fn gumbel_noise(shape: [usize; 2], seed: u64, device: &Device) -> Tensor<2> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The middle of one of 2^32 equal cells: never 0 and never 1.
    let uniform = |bits: u32| (f64::from(bits) + 0.5) / 4_294_967_296.0;
    let values = (0..shape[0] * shape[1]).map(|_| (-(-uniform(rng.next_u32()).ln()).ln()) as f32);
    Tensor::from_data(TensorData::new(values.collect(), shape), device)
}

/// `value` forwards, the gradient of `path` backwards.
fn straight_through<const D: usize>(value: Tensor<D>, path: Tensor<D>) -> Tensor<D> {
    let stopped = path.clone().without_autodiff();
    (path - stopped) + value
}
