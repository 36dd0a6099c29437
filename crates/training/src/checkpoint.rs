//! Checkpoints from which a run goes on as if it had never stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use burn::module::Module;
use diffprune_files::{faults, write_whole};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::named::{from_bytes, load_module_tensors, module_tensors, to_bytes};
use crate::{Optimizer, TrainingError};

const MODULE: &str = "module.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const MANIFEST: &str = "complete.json";
const UNFINISHED: &str = ".unfinished-";

/// A folder of step-numbered checkpoints (`step-00000120/`).
///
/// A checkpoint is written under another name and renamed when all its files are on the disk: a process killed at any
/// point leaves the older checkpoints and at most an unfinished folder, which the next [`CheckpointDir::open`] removes.
/// One run at a time may use the folder.
#[derive(Debug, Clone)]
pub struct CheckpointDir {
    root: PathBuf,
    keep: usize,
}

/// One complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of finished steps.
    pub step: usize,
    /// Its folder.
    pub path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    step: usize,
    files: Vec<(String, u64)>,
}

impl CheckpointDir {
    /// Opens or creates the folder; the last `keep` checkpoints (at least one) are kept.
    ///
    /// # Errors
    /// When the folder cannot be created or cleaned.
    pub fn open(root: impl AsRef<Path>, keep: usize) -> Result<Self, TrainingError> {
        let root = root.as_ref().to_path_buf();
        fs::create_dir_all(&root).map_err(TrainingError::io("create", &root))?;
        for path in entries(&root)? {
            if file_name(&path).starts_with(UNFINISHED) {
                fs::remove_dir_all(&path).map_err(TrainingError::io("remove", &path))?;
            }
        }
        Ok(Self {
            root,
            keep: keep.max(1),
        })
    }

    /// Writes the checkpoint of `step` finished steps and drops the oldest ones.
    ///
    /// `state` is whatever else the run needs (counters, the best loss so far, …). Learning rates, temperatures and
    /// random numbers are functions of the step and need no state. An f64 may come back from JSON with another last bit:
    /// store `to_bits` where that matters.
    ///
    /// # Errors
    /// When a file cannot be written; older checkpoints are untouched then.
    pub fn save<M: Module, S: Serialize>(
        &self,
        step: usize,
        module: &M,
        optimizer: &Optimizer,
        state: &S,
    ) -> Result<Checkpoint, TrainingError> {
        let target = self.root.join(format!("step-{step:08}"));
        let json = serde_json::to_vec_pretty(state).map_err(|cause| {
            TrainingError::corrupt(&target.join(STATE), cause, "a state JSON can express")
        })?;
        let files = [
            (MODULE, to_bytes(&module_tensors(module), &target.join(MODULE))?),
            (OPTIMIZER, optimizer.to_bytes()?),
            (STATE, json),
        ];
        self.write(step, &target, &files)?;
        self.prune()?;
        Ok(Checkpoint { step, path: target })
    }

    /// The newest complete checkpoint; incomplete ones are passed over.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn latest(&self) -> Result<Option<Checkpoint>, TrainingError> {
        Ok(self.all()?.pop())
    }

    /// All complete checkpoints, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(&self) -> Result<Vec<Checkpoint>, TrainingError> {
        Checkpoint::all_in(&self.root)
    }

    fn write(&self, step: usize, target: &Path, files: &[(&str, Vec<u8>)]) -> Result<(), TrainingError> {
        let folder = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.root)
            .map_err(TrainingError::io("write in", &self.root))?;
        for (name, bytes) in files {
            write_file(&folder.path().join(name), bytes)?;
        }
        let sizes = files
            .iter()
            .map(|(name, bytes)| (name.to_string(), bytes.len() as u64))
            .collect();
        let manifest = serde_json::to_vec(&Manifest { step, files: sizes })
            .map_err(|cause| TrainingError::corrupt(target, cause, "a manifest"))?;
        write_file(&folder.path().join(MANIFEST), &manifest)?;
        if target.exists() {
            // A folder cannot be renamed onto another one; the older checkpoints cover the moment in between.
            fs::remove_dir_all(target).map_err(TrainingError::io("replace", target))?;
        }
        faults::ask(target)
            .and_then(|()| fs::rename(folder.path(), target))
            .map_err(TrainingError::io("create", target))?;
        // The folder has its final name now, so the guard that would delete it is given up.
        let _ = folder.keep();
        if let Ok(root) = File::open(&self.root) {
            // Not every file system can sync a folder; the rename has happened either way.
            let _ = root.sync_all();
        }
        Ok(())
    }

    fn prune(&self) -> Result<(), TrainingError> {
        let all = self.all()?;
        for old in &all[..all.len().saturating_sub(self.keep)] {
            faults::ask(&old.path)
                .and_then(|()| fs::remove_dir_all(&old.path))
                .map_err(TrainingError::io("remove", &old.path))?;
        }
        Ok(())
    }
}

impl Checkpoint {
    /// All complete checkpoints in a folder, oldest first; nothing is written or cleaned there.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all_in(root: &Path) -> Result<Vec<Self>, TrainingError> {
        let mut found: Vec<Self> = entries(root)?.into_iter().filter_map(complete).collect();
        found.sort_by_key(|checkpoint| checkpoint.step);
        Ok(found)
    }

    /// Puts the stored values into `module`, built from the same configuration, without those of the optimizer.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn module<M: Module>(&self, module: M) -> Result<M, TrainingError> {
        let file = self.path.join(MODULE);
        load_module_tensors(module, from_bytes(&read(&file)?, &file)?, &file)
    }

    /// Puts the stored values into `module` (built from the same configuration) and `optimizer`; returns the state.
    ///
    /// # Errors
    /// When a file cannot be read, is damaged, or belongs to another configuration.
    pub fn restore<M: Module, S: DeserializeOwned>(
        &self,
        module: M,
        optimizer: &mut Optimizer,
    ) -> Result<(M, S), TrainingError> {
        let module = self.module(module)?;
        let file = self.path.join(OPTIMIZER);
        optimizer.load_bytes(&read(&file)?, &module, &file)?;
        Ok((module, self.state()?))
    }

    /// The stored state alone.
    ///
    /// # Errors
    /// When the file cannot be read or has another form.
    pub fn state<S: DeserializeOwned>(&self) -> Result<S, TrainingError> {
        let file = self.path.join(STATE);
        serde_json::from_slice(&read(&file)?)
            .map_err(|cause| TrainingError::corrupt(&file, cause, "the state of this kind of run"))
    }
}

fn complete(path: PathBuf) -> Option<Checkpoint> {
    let step: usize = file_name(&path).strip_prefix("step-")?.parse().ok()?;
    let manifest: Manifest = serde_json::from_slice(&fs::read(path.join(MANIFEST)).ok()?).ok()?;
    let whole =
        |(name, size): &(String, u64)| fs::metadata(path.join(name)).is_ok_and(|meta| meta.len() == *size);
    (manifest.step == step && manifest.files.iter().all(whole)).then_some(Checkpoint { step, path })
}

fn entries(root: &Path) -> Result<Vec<PathBuf>, TrainingError> {
    let list = fs::read_dir(root).map_err(TrainingError::io("read", root))?;
    list.map(|entry| {
        entry
            .map(|entry| entry.path())
            .map_err(TrainingError::io("read", root))
    })
    .collect()
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}

fn read(path: &Path) -> Result<Vec<u8>, TrainingError> {
    fs::read(path).map_err(TrainingError::io("read", path))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), TrainingError> {
    write_whole(path, bytes).map_err(|error| TrainingError::io("write", path)(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AdamWOptions;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    fn layer(width: usize) -> Linear {
        LinearConfig::new(width, 2).init(&Device::flex().autodiff())
    }

    fn optimizer() -> Optimizer {
        Optimizer::new(AdamWOptions::default())
    }

    #[test]
    fn keeps_the_last_ones_and_restores_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let dir = CheckpointDir::open(folder.path(), 2).unwrap();
        assert_eq!(dir.latest().unwrap(), None);
        let stored = layer(3);
        for step in [1, 2, 3, 3] {
            dir.save(step, &stored, &optimizer(), &step).unwrap();
        }
        let steps: Vec<usize> = dir
            .all()
            .unwrap()
            .iter()
            .map(|checkpoint| checkpoint.step)
            .collect();
        assert_eq!(steps, [2, 3]);
        let latest = dir.latest().unwrap().unwrap();
        let (restored, state): (Linear, usize) = latest.restore(layer(3), &mut optimizer()).unwrap();
        assert_eq!(module_tensors(&restored), module_tensors(&stored));
        assert!(restored.weight.is_require_grad());
        assert_eq!(state, 3);
    }

    #[test]
    fn incomplete_checkpoints_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let dir = CheckpointDir::open(folder.path(), 3).unwrap();
        for step in [1, 2] {
            dir.save(step, &layer(3), &optimizer(), &()).unwrap();
        }
        let newest = dir.latest().unwrap().unwrap().path;
        File::options()
            .write(true)
            .open(newest.join(MODULE))
            .unwrap()
            .set_len(10)
            .unwrap();
        fs::create_dir(folder.path().join(".unfinished-x")).unwrap();
        fs::create_dir(folder.path().join("step-00000009")).unwrap();
        let dir = CheckpointDir::open(folder.path(), 3).unwrap();
        assert_eq!(dir.latest().unwrap().unwrap().step, 1);
        assert!(!folder.path().join(".unfinished-x").exists());
    }

    #[test]
    fn other_widths_and_damage_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let dir = CheckpointDir::open(folder.path(), 1).unwrap();
        let checkpoint = dir.save(1, &layer(3), &optimizer(), &7).unwrap();
        let error = checkpoint
            .restore::<_, usize>(layer(4), &mut optimizer())
            .unwrap_err();
        assert!(matches!(error, TrainingError::Tensor { .. }), "{error}");
        fs::write(checkpoint.path.join(MODULE), b"damaged").unwrap();
        let error = checkpoint
            .restore::<_, usize>(layer(3), &mut optimizer())
            .unwrap_err();
        assert!(matches!(error, TrainingError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn an_unwritable_place_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(
            CheckpointDir::open(file.join("runs"), 1),
            Err(TrainingError::Io { .. })
        ));
    }
}
