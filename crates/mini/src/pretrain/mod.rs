//! Training of the small models from scratch: the vision tower first, then bridge and language model on it.

mod body;
mod config;
mod family;
mod init;
mod labels;
mod language;
mod parts;
mod pixels;
mod pupil;
mod run;
mod stage;
mod subsets;
mod tower;
mod words;

pub use body::Pretrained;
pub(crate) use body::{TILES, qwen_processor};
pub use config::{PretrainConfig, StageConfig};
pub(crate) use family::check;
pub use family::{model_name, prompts_of};
pub(crate) use init::rescale;
pub(crate) use labels::{N_ANSWERS, SceneLabels};
pub use run::{pretrain, untrained};
pub(crate) use stage::Stage;
pub(crate) use tower::token_loss;
