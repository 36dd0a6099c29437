//! The projector of LLaVA: two linear layers that take each visual token to the language model.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use diffprune_kernels::{gelu, linear3, quick_gelu};

use crate::Activation;

/// `W2 act(W1 x + b1) + b2`, token by token; `act` is the erf form of gelu in every published checkpoint.
#[derive(Module, Debug)]
pub struct Projector {
    /// `d_vision` to `d_model`.
    pub linear_1: Linear,
    /// `d_model` to `d_model`.
    pub linear_2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Projector {
    /// A projector with random weights.
    pub fn new(d_vision: usize, d_model: usize, activation: Activation, device: &Device) -> Self {
        Self {
            linear_1: LinearConfig::new(d_vision, d_model).init(device),
            linear_2: LinearConfig::new(d_model, d_model).init(device),
            activation,
        }
    }

    /// Tokens are cast to the type of the weights.
    ///
    /// # Shapes
    /// - tokens: `[b, k, d_vision]`
    /// - output: `[b, k, d_model]`
    pub fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        let inner = linear3(&self.linear_1, tokens.cast(self.linear_1.weight.dtype()));
        let inner = match self.activation {
            Activation::Gelu => gelu(inner),
            Activation::QuickGelu => quick_gelu(inner),
        };
        linear3(&self.linear_2, inner)
    }
}
