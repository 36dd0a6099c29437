#![doc = include_str!("../README.md")]

mod config;
mod device;
mod dftopk;
mod family;
mod gradtopk;
mod gumbel;
mod hard;
mod host;
mod iterate;
mod kind;
mod laplace;
mod minexp;
mod operator;
mod perturbed;
mod policy;
mod rank;
mod ratio;
mod relaxed_sort;
mod rows;
mod soft;
mod validate;
mod vjp;
mod zscore;

pub use config::{SoftTopKConfig, Solver, ThresholdKind, VpNoiseError};
pub use dftopk::dftopk;
pub use gradtopk::gradtopk;
pub use gumbel::{
    GumbelNoise, GumbelTopKInput, SteBackward, gumbel_noise, gumbel_softmax_ste, gumbel_topk_ste,
};
pub use hard::{hard_topk, hard_topk_mask};
pub use kind::{SoftTopKKind, UnknownOperator};
pub use operator::{TopKOperator, TopKOperatorConfig};
pub use perturbed::{PerturbNoise, perturbed_topk};
pub use policy::policy_softmax;
pub use ratio::ratio_loss;
pub use relaxed_sort::{RelaxedSort, relaxed_sort_topk};
pub use soft::{K, SoftTopK, SoftTopKInput, SoftTopKOutput, Tau};
pub use validate::{SoftTopKError, validate};
pub use zscore::z_score;
