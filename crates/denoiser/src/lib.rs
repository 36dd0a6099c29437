#![doc = include_str!("../README.md")]

mod attention;
mod denoiser;

pub use attention::{DenoiserAttention, DenoiserSelfAttention, DenoiserSelfAttentionConfig};
pub use denoiser::{Activation, Denoiser, DenoiserConfig};
