#![doc = include_str!("../README.md")]

mod block;
#[cfg(feature = "checkpoint")]
mod checkpoint;
mod config;
mod scorer;

pub use block::{SelfAttention, TransformerBlock, TransformerBlockConfig};
#[cfg(feature = "checkpoint")]
pub use checkpoint::{
    CheckpointError, FORMAT_VERSION, METADATA_FILE, Metadata, ModuleCheckpoint, ScorerCheckpoint,
    ScorerSizes, Sizes, TENSORS_FILE,
};
pub use config::{ScorerConfig, ScorerConfigError};
pub use diffprune_kernels::Activation;
pub use scorer::Scorer;
