//! Sizes of a scorer and the presets.

use burn::config::Config;

use diffprune_kernels::Activation;

use crate::block::TransformerBlockConfig;

/// Configuration of a [`Scorer`](crate::Scorer).
#[derive(Config, Debug, PartialEq)]
pub struct ScorerConfig {
    /// Width of the vision tokens, which is the width of the blocks too.
    pub d_model: usize,
    /// Number of heads; must divide `d_model`.
    pub n_heads: usize,
    /// Number of transformer blocks. Default: 2.
    #[config(default = 2)]
    pub n_layers: usize,
    /// Width of the feed-forward part. Default: `4 * d_model`.
    pub d_ff: Option<usize>,
    /// Layer norm of the tokens before the first block. Default: true. The blocks are pre-LN, so without
    /// it the raw features run along the residual path up to the last norm; where their norms differ much
    /// from token to token (Qwen2.5-VL) the blocks' contribution drowns in those of the large ones.
    #[config(default = true)]
    pub input_norm: bool,
    /// Nonlinearity of the feed-forward part. Default: [`Activation::Gelu`].
    #[config(default = "Activation::Gelu")]
    pub activation: Activation,
    /// Epsilon of the layer norms. Default: 1e-5.
    #[config(default = 1e-5)]
    pub norm_eps: f64,
}

/// Sizes that do not fit one another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScorerConfigError {
    /// A size is zero or too large to be meant.
    #[error("{field} is {found}, expected 1 to {max}")]
    Size {
        /// The field.
        field: &'static str,
        /// Its value.
        found: usize,
        /// The largest value accepted.
        max: usize,
    },
    /// Heads of unequal width.
    #[error("n_heads {n_heads} does not divide d_model {d_model}")]
    Heads {
        /// Number of heads.
        n_heads: usize,
        /// Width.
        d_model: usize,
    },
}

/// Bounds that no scorer comes near; a file that exceeds them is damaged.
const MAX_WIDTH: usize = 1 << 20;
const MAX_LAYERS: usize = 1 << 10;

impl ScorerConfig {
    /// The default scorer: two blocks as wide as the tokens, feed-forward x 4, 16 heads (or the largest
    /// smaller number that divides the width). 25,197,568 parameters at `d_descriptor = 1024`.
    pub fn base(d_descriptor: usize) -> Self {
        Self::new(d_descriptor, largest_divisor(d_descriptor, 16))
    }

    /// The papers' stated size: 84 M for scorer and denoiser together at `d_descriptor = 1024`.
    ///
    /// How the papers split it is not published. Here the two blocks and the width of the tokens stay as
    /// they are stated, the denoiser stays at its default (10,497,024 parameters), and the feed-forward
    /// part of the scorer takes the rest: `d_ff = 15.5 * d_descriptor` = 15,872. Scorer 73,455,616, together
    /// 83,952,640.
    pub fn paper(d_descriptor: usize) -> Self {
        Self::base(d_descriptor).with_d_ff(Some(31 * d_descriptor / 2))
    }

    /// For the mini models: two blocks as wide as the tokens, at most 4 heads, feed-forward x 4.
    pub fn mini(d_descriptor: usize) -> Self {
        Self::new(d_descriptor, largest_divisor(d_descriptor, 4))
    }

    /// Width of the feed-forward part that this configuration means.
    pub fn ff_width(&self) -> usize {
        self.d_ff.unwrap_or(self.d_model.saturating_mul(4))
    }

    /// Configuration of one block.
    pub fn block(&self) -> TransformerBlockConfig {
        TransformerBlockConfig::new(self.d_model, self.n_heads, self.ff_width())
            .with_activation(self.activation)
            .with_norm_eps(self.norm_eps)
    }

    /// Number of parameters of the scorer.
    pub fn num_params(&self) -> usize {
        let (d, f) = (self.d_model, self.ff_width());
        let attention = 4 * (d * d + d);
        let feed_forward = 2 * d * f + f + d;
        let norms = 1 + usize::from(self.input_norm);
        self.n_layers * (attention + feed_forward + 4 * d) + norms * 2 * d + d
    }

    /// Checks the sizes.
    ///
    /// # Errors
    ///
    /// If a size is 0 or absurdly large, or `n_heads` does not divide `d_model`.
    pub fn check(&self) -> Result<(), ScorerConfigError> {
        let within = |field, found, max| match (1..=max).contains(&found) {
            true => Ok(()),
            false => Err(ScorerConfigError::Size { field, found, max }),
        };
        within("d_model", self.d_model, MAX_WIDTH)?;
        within("n_heads", self.n_heads, MAX_WIDTH)?;
        within("n_layers", self.n_layers, MAX_LAYERS)?;
        within("d_ff", self.ff_width(), MAX_WIDTH)?;
        match self.d_model.is_multiple_of(self.n_heads) {
            true => Ok(()),
            false => Err(ScorerConfigError::Heads {
                n_heads: self.n_heads,
                d_model: self.d_model,
            }),
        }
    }
}

/// The largest number up to `at_most` that divides `width`.
fn largest_divisor(width: usize, at_most: usize) -> usize {
    (1..=at_most)
        .rev()
        .find(|&n| width.is_multiple_of(n))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_fall_back_to_the_largest_divisor() {
        assert_eq!(ScorerConfig::base(1024).n_heads, 16);
        assert_eq!(ScorerConfig::base(1280).n_heads, 16);
        assert_eq!(ScorerConfig::base(90).n_heads, 15);
        assert_eq!(ScorerConfig::mini(128).n_heads, 4);
        assert_eq!(ScorerConfig::mini(129).n_heads, 3);
    }

    #[test]
    fn documented_sizes_are_the_real_ones() {
        assert_eq!(ScorerConfig::base(1024).num_params(), 25_197_568);
        let diagonal_denoiser = 10_497_024;
        let paper = ScorerConfig::paper(1024).num_params();
        assert_eq!((paper, paper + diagonal_denoiser), (73_455_616, 83_952_640));
    }

    #[test]
    fn unfit_sizes_are_named() {
        assert_eq!(
            ScorerConfig::new(10, 3).check(),
            Err(ScorerConfigError::Heads {
                n_heads: 3,
                d_model: 10
            })
        );
        let error = ScorerConfig::new(8, 2).with_n_layers(0).check().unwrap_err();
        assert_eq!(error.to_string(), "n_layers is 0, expected 1 to 1024");
    }
}
