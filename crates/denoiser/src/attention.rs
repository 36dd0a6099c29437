//! The denoiser's self-attention: diagonal (default) or global.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::tensor::{Bool, Device, Tensor};
use diffprune_kernels::{AttentionLayers, linear_with_bias, linear3, self_attention};

/// Which tokens a token may look at while it is denoised.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum DenoiserAttention {
    /// Only itself. Noise on one token then cannot be repaired with the content of another, so the
    /// score of a token answers for that token alone. This is what the method uses.
    Diagonal,
    /// Every token of the sample (ablation): information may leak around the throttle.
    Global,
}

/// Configuration of a [`DenoiserSelfAttention`].
#[derive(Config, Debug)]
pub struct DenoiserSelfAttentionConfig {
    /// Width of the tokens.
    pub d_model: usize,
    /// Number of heads; must divide `d_model` when the attention is global, else without effect.
    pub n_heads: usize,
    /// Diagonal or global. Default: diagonal.
    #[config(default = "DenoiserAttention::Diagonal")]
    pub attention: DenoiserAttention,
    /// Start with an output projection of zeros. Default: false.
    #[config(default = false)]
    pub zero_output: bool,
}

/// Self-attention whose diagonal form is computed as what it is: two projections per token.
#[derive(Module, Debug)]
pub struct DenoiserSelfAttention {
    /// Query projection `[d_model, d_model]`; present only when the attention is global.
    pub q_proj: Option<Linear>,
    /// Key projection `[d_model, d_model]`; present only when the attention is global.
    pub k_proj: Option<Linear>,
    /// Value projection `[d_model, d_model]`.
    pub v_proj: Linear,
    /// Output projection `[d_model, d_model]`.
    pub out_proj: Linear,
    /// Number of heads (global attention only).
    pub n_heads: usize,
}

impl DenoiserSelfAttentionConfig {
    /// Creates the projections on `device`: weights Xavier-uniform, biases zero.
    ///
    /// # Panics
    ///
    /// If `d_model` is 0, or the attention is global and `n_heads` does not divide `d_model`.
    pub fn init(&self, device: &Device) -> DenoiserSelfAttention {
        let d = self.d_model;
        assert!(d > 0, "d_model must be positive");
        let global = self.attention == DenoiserAttention::Global;
        if global {
            let heads = self.n_heads;
            assert!(
                heads > 0 && d.is_multiple_of(heads),
                "n_heads {heads} must divide d_model {d}"
            );
        }
        let square = || projection(d, d, false, device);
        DenoiserSelfAttention {
            q_proj: global.then(square),
            k_proj: global.then(square),
            v_proj: square(),
            out_proj: projection(d, d, self.zero_output, device),
            n_heads: self.n_heads,
        }
    }
}

impl DenoiserSelfAttention {
    /// Attends, then projects.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, n_tokens, d_model]`
    /// - mask: `[batch, n_tokens]`, true = a real token; read only by the global form
    /// - output: `[batch, n_tokens, d_model]`
    pub fn forward(&self, x: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<3> {
        match (&self.q_proj, &self.k_proj) {
            (Some(q_proj), Some(k_proj)) => self.global(q_proj, k_proj, x, mask),
            _ => diagonal_attention(&self.v_proj, &self.out_proj, x),
        }
    }

    fn global(
        &self,
        q_proj: &Linear,
        k_proj: &Linear,
        x: Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let layers = AttentionLayers {
            q_proj,
            k_proj,
            v_proj: &self.v_proj,
            out_proj: &self.out_proj,
            n_heads: self.n_heads,
        };
        self_attention(layers, x, mask)
    }
}

/// Eq. (10): attention under the identity mask, `y_i = W_o (W_v x_i + b_v) + b_o`.
///
/// A softmax over the single permitted key is 1 whatever the query and key are, so neither they nor
/// any `n x n` matrix is formed, the number of heads does not matter, and the cost is linear in `n`.
///
/// # Shapes
///
/// - x and output: `[batch, n_tokens, d_model]`
fn diagonal_attention(v_proj: &Linear, out_proj: &Linear, x: Tensor<3>) -> Tensor<3> {
    linear3(out_proj, linear3(v_proj, x))
}

/// A linear layer with bias zero and weight Xavier-uniform (or zero), `[d_in, d_out]`.
pub(crate) fn projection(d_in: usize, d_out: usize, zero: bool, device: &Device) -> Linear {
    let initializer = match zero {
        true => Initializer::Zeros,
        false => Initializer::XavierUniform { gain: 1.0 },
    };
    linear_with_bias(d_in, d_out, &initializer, device)
}
