#![doc = include_str!("../README.md")]

mod block;
mod checkpoint;
mod config;
mod scorer;

pub use block::{SelfAttention, TransformerBlock, TransformerBlockConfig};
pub use checkpoint::{
    CheckpointError, FORMAT_VERSION, METADATA_FILE, Metadata, ModuleCheckpoint, ScorerCheckpoint,
    TENSORS_FILE,
};
pub use config::{ScorerConfig, ScorerConfigError};
pub use diffprune_kernels::Activation;
pub use scorer::Scorer;
