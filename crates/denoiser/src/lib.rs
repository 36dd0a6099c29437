#![doc = include_str!("../README.md")]

mod attention;
mod denoiser;

pub use attention::{DenoiserAttention, DenoiserSelfAttention, DenoiserSelfAttentionConfig};
pub use denoiser::{Denoiser, DenoiserConfig};
pub use diffprune_kernels::Activation;
