//! The interface of learned methods: what stands between encoder and denoiser while a head is trained.
//!
//! A method is trained *through* its gate. The gate gets every token of an image and gives them back, each weakened or
//! replaced as far as the head would rather drop it; the loss of the frozen language model then reaches the head. At
//! inference the gate is gone, and what is left is the head's order of the tokens.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use diffprune_pruner::Layout;
use diffprune_softtopk::{SoftTopKConfig, ratio_loss};
use diffprune_throttler::ThrottlerConfig;
use diffprune_training::{cosine_anneal, rng};
use rand::Rng;

use crate::{ConfigError, HeadConfigError};

/// Stream of the Gumbel noise and of whatever else an operator draws; the throttler's noise has a key of its own.
const OPERATOR_STREAM: u64 = 1;

/// The settings of a learned method, and the gate that it trains its head through.
///
/// One type per method and file, listed in the registry ([`methods`](crate::methods)). `docs/add-a-learned-rival.md` builds
/// one from an empty file.
pub trait Gate {
    /// The module that is trained.
    type Head: ScoringHead;

    /// Short name for checkpoints and tables, in snake case.
    fn name(&self) -> String;

    /// Default sizes of the head for descriptors of width `d_descriptor`; `None`: those of the setting `scorer`, which every
    /// method on DiffPrune's own scorer shares.
    fn head(&self, d_descriptor: usize) -> Option<<Self::Head as ScoringHead>::Config>;

    /// Checks the method's own settings, and that it can work with those it shares with others.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    fn check(&self, shared: &GateSettings) -> Result<(), ConfigError>;

    /// `true` if samples must know which tokens show their objects ([`GateInput::relevance`]).
    fn needs_relevance(&self) -> bool {
        false
    }

    /// The temperature of step `step` of `steps`: half a cosine from start to end, equation 14 of `docs/method.md`, unless the
    /// method has a published schedule of its own.
    fn tau_at(&self, tau: TauRange, step: usize, steps: usize) -> f64 {
        cosine_anneal(tau.start, tau.end, step, steps.saturating_sub(1))
    }

    /// Gates the tokens of a batch.
    ///
    /// # Errors
    /// When settings that nobody has checked cannot be used.
    fn gate(&self, head: &Self::Head, input: &GateInput<'_>) -> Result<Gated, ConfigError>;
}

/// A module that ranks tokens, made from its sizes.
pub trait ScoringHead: Module + Sized {
    /// The sizes.
    type Config: Clone;

    /// `true` if the head decides for itself how many tokens an image needs: those with a score above 0.
    const DECIDES_ON_THE_COUNT: bool = false;

    /// Checks sizes.
    ///
    /// # Errors
    /// The first one that cannot be used.
    fn check(config: &Self::Config) -> Result<(), HeadConfigError>;

    /// Width of the tokens that a head of these sizes takes.
    fn d_model(config: &Self::Config) -> usize;

    /// Creates a head. Values may be drawn now or when they are first read.
    ///
    /// # Panics
    /// If [`check`](Self::check) finds a fault.
    fn init(config: &Self::Config, device: &Device) -> Self;

    /// The sizes that this head was made with.
    fn config(&self) -> Self::Config;

    /// The numbers that tokens are ranked by at inference, higher first.
    ///
    /// # Shapes
    /// - tokens: `[batch, n_tokens, d_model]`; mask: `[batch, n_tokens]`, true = real token
    /// - layouts: where the tokens of each image lie on it; none where nobody knows
    /// - output: `[batch, n_tokens]`; scores of masked tokens mean nothing
    fn scores(&self, tokens: Tensor<3>, layouts: &[Layout], mask: Option<Tensor<2, Bool>>) -> Tensor<2>;
}

/// The part of a [`ScoringHead`] that only passes on to the configuration it was made with: all but the scores.
macro_rules! configured {
    () => {
        fn check(config: &Self::Config) -> Result<(), HeadConfigError> {
            config.check()
        }

        fn d_model(config: &Self::Config) -> usize {
            config.d_model
        }

        fn init(config: &Self::Config, device: &Device) -> Self {
            config.init(device)
        }

        fn config(&self) -> Self::Config {
            self.config.clone()
        }
    };
}
pub(crate) use configured;

/// Settings that several methods share, so that a table can compare methods under the same ones.
#[derive(Debug, Clone)]
pub struct GateSettings {
    /// The soft top-k operator.
    pub softtopk: SoftTopKConfig,
    /// The throttler.
    pub throttler: ThrottlerConfig,
}

/// Temperatures of the first and of the last step of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TauRange {
    /// Of the first step.
    pub start: f64,
    /// Of the last step.
    pub end: f64,
}

/// Everything a gate works on.
#[derive(Debug, Clone)]
pub struct GateInput<'a> {
    /// Visual tokens, `[b, n, d_vision]`.
    pub tokens: Tensor<3>,
    /// The input of the head, one vector per token, `[b, n, d_descriptor]`; equal to `tokens` where a token is one vector.
    pub descriptors: Tensor<3>,
    /// Tokens that may pass, for each image.
    pub budgets: &'a [usize],
    /// The layout of each image's tokens.
    pub layouts: &'a [Layout],
    /// Real tokens, `[b, n]`; `None`: all are.
    pub mask: Option<Tensor<2, Bool>>,
    /// The share of each token that boxes cover, `[b, n]`; `None` when a sample does not know.
    pub relevance: Option<Tensor<2>>,
    /// Temperature of the step, in units of the (normalised) scores.
    pub tau: f64,
    /// The source of random numbers.
    pub draws: Draws<'a>,
    /// Settings shared by methods.
    pub settings: &'a GateSettings,
}

/// Random numbers of a batch, as a function of the run's seed and of each sample's number in the run: the batch that a
/// sample is in does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws<'a> {
    /// Seed of the run.
    pub seed: u64,
    /// For each image its number in the run, counted from 0.
    pub numbers: &'a [u64],
}

/// Tokens on their way to the denoiser.
#[derive(Debug, Clone)]
pub struct Gated {
    /// `[b, n, d_vision]`
    pub tokens: Tensor<3>,
    /// The share of each token that passes, `[b, n]`.
    pub weights: Tensor<2>,
    /// The method's own loss, weighted, as a mean over the images, `[1]`; `None` for methods without one.
    pub penalty: Option<Tensor<1>>,
    /// The tokens of each image that go on, in ascending order, where a method takes the others out: they then pass by the
    /// denoiser too. `None`: all stay in the sequence.
    pub kept: Option<Vec<Vec<usize>>>,
}

impl Draws<'_> {
    /// The seed of what an operator draws for image `row`.
    pub fn seed(&self, row: usize) -> u64 {
        rng(self.seed, OPERATOR_STREAM, self.numbers[row]).next_u64()
    }

    /// Standard normal noise for the throttler, f32.
    ///
    /// # Shapes
    /// - output: `[images, n_tokens, width]`, on `device`
    pub fn noise(&self, [n_tokens, width]: [usize; 2], device: &Device) -> Tensor<3> {
        let of_image =
            |&number: &u64| diffprune_throttler::noise([1, n_tokens, width], self.seed, number, device);
        Tensor::cat(self.numbers.iter().map(of_image).collect(), 0)
    }
}

impl GateInput<'_> {
    /// Number of real tokens of image `row`.
    pub fn count(&self, row: usize) -> usize {
        self.layouts[row].n_tokens()
    }

    /// The device of constants and of what is drawn.
    pub fn device(&self) -> Device {
        self.tokens.device().without_autodiff()
    }

    /// Tokens times weights.
    pub fn scaled(&self, weights: Tensor<2>, penalty: Option<Tensor<1>>) -> Gated {
        let [images, n_tokens] = weights.dims();
        let column = weights.clone().reshape([images, n_tokens, 1]);
        Gated {
            tokens: self.tokens.clone() * column.cast(self.tokens.dtype()),
            weights,
            penalty,
            kept: None,
        }
    }

    /// `weight` times the squared distance between the share of the weights and that of the budget, as a mean over the
    /// images, `[1]`; `None` where `weight` is 0.
    pub fn ratio_penalty(&self, weights: &Tensor<2>, weight: f64) -> Option<Tensor<1>> {
        if weight == 0.0 {
            return None;
        }
        let losses = (0..self.budgets.len()).map(|row| {
            let count = self.count(row);
            let real = weights.clone().slice([row..row + 1, 0..count]);
            ratio_loss(real, self.budgets[row] as f64 / count.max(1) as f64, None)
        });
        let share = weight / self.budgets.len() as f64;
        losses.reduce(|sum, loss| sum + loss).map(|sum| sum * share)
    }
}

/// A row with zeros at its end.
///
/// # Shapes
/// - row: `[1, n]` with `n <= n_tokens`; output: `[1, n_tokens]`
pub fn padded(row: Tensor<2>, n_tokens: usize) -> Tensor<2> {
    let [_, count] = row.dims();
    if count == n_tokens {
        return row;
    }
    let rest = Tensor::zeros(
        [1, n_tokens - count],
        (&row.device().without_autodiff(), row.dtype()),
    );
    Tensor::cat(vec![row, rest], 1)
}

/// Refuses a weight of a method's own loss that is negative, not finite, or 0 where `required`: where nothing else holds the
/// method to the budget.
///
/// # Errors
/// [`ConfigError`] for the setting `diffprune.method.NAME`.
pub fn check_weight(name: &str, weight: f64, required: bool) -> Result<(), ConfigError> {
    let field = format!("diffprune.method.{name}");
    if !(weight.is_finite() && weight >= 0.0) {
        return Err(ConfigError::new(&field, weight, "a finite number, not negative"));
    }
    if weight == 0.0 && required {
        let wanted = "a number above 0: nothing else holds this method to the budget";
        return Err(ConfigError::new(&field, weight, wanted));
    }
    Ok(())
}
