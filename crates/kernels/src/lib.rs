#![doc = include_str!("../README.md")]

mod activation;
mod attention;
#[cfg(feature = "fused")]
mod fused;
mod linear;
mod loss;
mod norm;
pub mod reference;
mod rope;
mod softmax;

pub use activation::{gelu, quick_gelu, silu, swiglu};
pub use attention::{AttentionOptions, attention, attention_rows};
pub use linear::linear3;
pub use loss::cross_entropy;
pub use norm::{layer_norm, rms_norm};
pub use rope::{rope_halves, rope_tables};
pub use softmax::softmax;
