//! The scorer: vision tokens in, one score per token out.

use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Device, FloatDType, Tensor};
use diffprune_kernels::{apply_layer_norm, draw_parameters};

use crate::block::TransformerBlock;
use crate::config::ScorerConfig;

/// Standard deviation of the head's initial weights.
///
/// Not zero: scores are z-scored before the soft top-k, and equal scores have no direction to be scaled
/// along. Small: AdamW moves every weight by about the learning rate per step whatever its size, so the
/// smaller the start, the sooner what was learnt outweighs what was drawn. The spread itself is free, the
/// z-score removes it.
const HEAD_STD: f64 = 0.02;

/// Ranks the vision tokens of an image.
///
/// ```text
/// h_0 = LN_in(x)      h_l = Block_l(h_(l-1))      s = w . LN_out(h_L)
/// ```
///
/// Vision tokens carry their position already (the encoder put it there), so none is added here: the
/// scorer is equivariant to the order of the tokens. The head has no bias, which neither a ranking nor a
/// z-score would see.
#[derive(Module, Debug)]
pub struct Scorer {
    /// Layer norm of the incoming tokens, `[d_model]`.
    pub input_norm: Option<LayerNorm>,
    /// Transformer blocks, pre-LN.
    pub blocks: Vec<TransformerBlock>,
    /// Layer norm after the last block, `[d_model]`.
    pub final_norm: LayerNorm,
    /// Linear head, `[d_model, 1]`, without bias.
    pub head: Linear,
    #[module(skip)]
    config: ScorerConfig,
}

impl ScorerConfig {
    /// Creates a scorer: block weights Xavier-uniform, biases zero, norms the identity, head normal with
    /// standard deviation 0.02.
    ///
    /// All values are drawn here and in the order of the fields, so that a seed set on the device just
    /// before fixes them.
    ///
    /// # Panics
    ///
    /// If [`check`](Self::check) finds a fault.
    pub fn init(&self, device: &Device) -> Scorer {
        let scorer = self.init_lazy(device);
        draw_parameters(&scorer);
        scorer
    }

    /// As [`init`](Self::init), but values are drawn only when they are first read.
    pub(crate) fn init_lazy(&self, device: &Device) -> Scorer {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let d_model = self.d_model;
        let norm = LayerNormConfig::new(d_model).with_epsilon(self.norm_eps);
        let block = self.block();
        let head = Initializer::Normal {
            mean: 0.0,
            std: HEAD_STD,
        }
        .init([d_model, 1], device);
        Scorer {
            input_norm: self.input_norm.then(|| norm.init(device)),
            blocks: (0..self.n_layers).map(|_| block.init(device)).collect(),
            final_norm: norm.init(device),
            head: Linear {
                weight: head,
                bias: None,
            },
            config: self.clone(),
        }
    }
}

impl Scorer {
    /// The configuration that this scorer was made with.
    pub fn config(&self) -> &ScorerConfig {
        &self.config
    }

    /// Eq. (9): the raw scores `s = w . LN(Block_L(... Block_1(LN(x))))`, one per token; larger is kept
    /// first.
    ///
    /// Tokens are cast to the float type of the parameters; scores are f32.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, n_tokens, d_model]`
    /// - mask: `[batch, n_tokens]`, true = a real token. The others are never attended to; their own
    ///   scores mean nothing and are to be masked by whoever selects. They must be finite.
    /// - output: `[batch, n_tokens]`
    pub fn forward(&self, tokens: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        let eps = self.config.norm_eps;
        let mut hidden = tokens.cast(self.final_norm.gamma.dtype());
        if let Some(input_norm) = &self.input_norm {
            hidden = apply_layer_norm(input_norm, hidden, eps);
        }
        for block in &self.blocks {
            hidden = block.forward(hidden, mask.clone());
        }
        self.score(apply_layer_norm(&self.final_norm, hidden, eps))
    }

    /// The head, as a product and a sum: a matrix product with one column is where GPU backends have gone
    /// wrong (fusion with autotune), and it saves nothing.
    fn score(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [_, _, d_model] = hidden.dims();
        let weight = self
            .head
            .weight
            .val()
            .reshape([1, 1, d_model])
            .cast(FloatDType::F32);
        (hidden.cast(FloatDType::F32) * weight)
            .sum_dim(2)
            .squeeze_dim::<2>(2)
    }
}
