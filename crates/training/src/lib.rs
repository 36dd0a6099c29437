#![doc = include_str!("../README.md")]

mod checkpoint;
mod error;
mod gradients;
#[cfg(feature = "learner")]
pub mod learner;
mod metrics;
mod named;
mod optimizer;
mod progress;
mod random;
mod schedule;
mod workers;

pub use checkpoint::{Checkpoint, CheckpointDir};
pub use diffprune_files::{FolderLock, Stop};
pub use error::TrainingError;
pub use gradients::{average_gradients, clip_global_norm, global_norm, scale_gradients, sum_gradients};
pub use metrics::MetricsLog;
pub use optimizer::{AdamWOptions, Optimizer};
pub use progress::Progress;
pub use random::rng;
pub use schedule::{WarmupCosine, cosine_anneal};
pub use workers::{Workers, shard_ranges};
