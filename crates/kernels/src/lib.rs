#![doc = include_str!("../README.md")]

mod activation;
mod attention;
#[cfg(feature = "fused")]
mod fused;
mod layers;
mod loss;
mod norm;
pub mod reference;
mod rope;
mod softmax;

pub use activation::{Activation, gelu, quick_gelu, silu, swiglu};
pub use attention::{AttentionOptions, attention, attention_rows};
pub use layers::{
    AttentionLayers, ResidualNorms, apply_layer_norm, apply_rms_norm, draw_parameters, feed_forward,
    linear_with_bias, linear3, self_attention,
};
pub use loss::cross_entropy;
pub use norm::{layer_norm, rms_norm};
pub use rope::{rope_halves, rope_tables};
pub use softmax::softmax;
