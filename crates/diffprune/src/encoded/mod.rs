//! Captioned pictures behind the encoder, on disk: encoded once, trained on anywhere.
//!
//! A folder of features holds `features.json`, which says what was encoded and with what, and safetensors files of whole
//! samples ([`write_features`]). [`FeatureFolder`] maps them into memory and is [`CaptionData`](crate::CaptionData), so that a
//! training takes it in the place of pictures.

mod error;
mod file;
mod index;
mod read;
mod write;

pub use error::FeatureError;
pub use index::{FEATURES_FILE, FeatureIndex};
pub use read::FeatureFolder;
pub use write::{FeatureOptions, FeaturePlan, FeatureReport, ShardOf, write_features};
