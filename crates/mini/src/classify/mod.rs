//! The small classifier: its pictures, its recipe, its training.

mod config;
mod scenes;
mod train;

pub use config::DeitRecipe;
pub use scenes::{ClassScene, ClassScenes, class_names};
pub use train::{TrainedDeit, train_deit};
