//! Training of scorer and denoiser on captions, with everything else frozen.

mod config;
mod content;
mod data;
mod error;
mod features;
mod folder;
mod health;
mod learner;
mod loader;
mod metrics;
mod model;
mod order;
mod past;
mod path;
mod run;
mod serve;
mod setting;
mod shard;
mod subset;
mod text;
mod trainer;
mod usable;

pub use config::{CachePrecision, TrainConfig, ValidationConfig};
pub use data::{CaptionData, CaptionSample, DataError};
pub use error::TrainError;
pub(crate) use features::encode;
pub use features::{FeatureStore, StoredPicture, TokenValues};
pub use folder::{CAPTIONS_FILE, CaptionFolder, METADATA_FILE};
pub use health::TrainWarning;
pub use learner::{CaptionOutput, CaptionShard, HeldOutOutput, HeldOutPart};
pub use loader::{CaptionLoader, CaptionTask, HeldOutLoader};
pub use model::Trainee;
pub use past::PastRun;
pub use subset::Subset;

pub use path::{CaptionBatch, TrainingLoss, training_loss};
pub use text::CaptionPrompt;
pub use trainer::{LEARNER_DIR, METRICS_FILE, SETTINGS_FILE, TrainReport, Trainer, train};
pub use usable::{Skipped, usable};
