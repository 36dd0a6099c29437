//! A training as its folder shows it.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffprune_training::Checkpoint;

use super::config::{RunFile, TrainConfig};
use super::model::StoredTrainee;
use super::run::CHECKPOINTS;
use super::trainer::SETTINGS_FILE;
use crate::{TrainError, Trainee};

/// A training, finished or not, as its folder shows it; nothing is written there.
#[derive(Debug, Clone)]
pub struct PastRun {
    folder: PathBuf,
    file: RunFile,
}

impl PastRun {
    /// Reads the settings in the folder of a training.
    ///
    /// # Errors
    /// When there are none, or they are damaged.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, TrainError> {
        let folder = folder.as_ref().to_path_buf();
        let file = RunFile::read(&folder.join(SETTINGS_FILE))?;
        Ok(Self { folder, file })
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        self.file.config()
    }

    /// What was trained at every checkpoint that is still there, oldest first, with the number of updates before it.
    ///
    /// # Errors
    /// When the folder cannot be read, or a checkpoint is damaged.
    pub fn checkpoints(&self, device: &Device) -> Result<Vec<(usize, Trainee)>, TrainError> {
        let config = self.config();
        let start = config
            .diffprune
            .init(self.file.d_descriptor(), config.seed, device)?;
        let all = Checkpoint::all_in(&self.folder.join(CHECKPOINTS))?;
        let read = |checkpoint: &Checkpoint| {
            let stored: StoredTrainee = checkpoint.module(start.clone().into())?;
            Ok((checkpoint.step, stored.into()))
        };
        all.iter().map(read).collect()
    }
}
