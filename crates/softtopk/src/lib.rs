#![doc = include_str!("../README.md")]

mod config;
mod device;
mod family;
mod gumbel;
mod hard;
mod host;
mod laplace;
mod sigmoid;
mod soft;
mod validate;
mod vjp;
mod zscore;

pub use config::{SoftTopKConfig, Solver, ThresholdKind};
pub use gumbel::{
    GumbelNoise, GumbelTopKInput, SteBackward, gumbel_noise, gumbel_softmax_ste, gumbel_topk_ste,
};
pub use hard::{hard_topk, hard_topk_mask};
pub use soft::{K, SoftTopK, SoftTopKInput, SoftTopKOutput, Tau};
pub use validate::{SoftTopKError, validate};
pub use zscore::z_score;
