//! Training of scorer and denoiser on captions, with everything else frozen.

mod config;
mod content;
mod data;
mod error;
mod features;
mod health;
mod metrics;
mod model;
mod order;
mod path;
mod run;
mod step;
mod text;
mod usable;

pub use config::{CachePrecision, TrainConfig, ValidationConfig};
pub use data::{CAPTIONS_FILE, CaptionData, CaptionFolder, CaptionSample, DataError};
pub use error::TrainError;
pub use features::FeatureStore;
pub use health::TrainWarning;
pub use model::Trainee;
pub use path::{CaptionBatch, TrainingLoss, training_loss};
pub use run::{METRICS_FILE, SETTINGS_FILE, TrainReport, Trainer, train};
pub use text::CaptionPrompt;
pub use usable::{Skipped, Usable};
