#![doc = include_str!("../README.md")]

mod block;
#[cfg(feature = "checkpoint")]
mod checkpoint;
mod config;
mod scorer;

pub use block::{Activation, SelfAttention, TransformerBlock, TransformerBlockConfig};
#[cfg(feature = "checkpoint")]
pub use checkpoint::{
    CheckpointError, FORMAT_VERSION, METADATA_FILE, Metadata, ModuleCheckpoint, ScorerCheckpoint,
    ScorerSizes, Sizes, TENSORS_FILE,
};
pub use config::{ScorerConfig, ScorerConfigError};
pub use scorer::Scorer;
