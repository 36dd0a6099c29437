//! Training of the small models from scratch: the vision tower first, then projector and language model on it.

mod config;
mod init;
mod language;
mod pixels;
mod run;
mod stage;
mod subsets;
mod tower;

pub use config::{PretrainConfig, StageConfig};
pub use run::{Pretrained, pretrain};
