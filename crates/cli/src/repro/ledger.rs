//! Which stages are complete and how long they took.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use diffprune::vlm::write_atomic;

use crate::clock::timed;

/// The file `stages.json`: seconds of each complete stage, by the name of its folder or file.
pub struct Ledger {
    path: PathBuf,
    seconds: BTreeMap<String, f64>,
}

impl Ledger {
    /// Reads the ledger of an experiment, empty when there is none.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let seconds = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{}: no list of stages; remove the file", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self {
            path: path.to_path_buf(),
            seconds,
        })
    }

    /// Whether a stage is complete.
    pub fn has(&self, stage: &str) -> bool {
        self.seconds.contains_key(stage)
    }

    /// Runs a stage and notes its time. A stage that was complete before keeps the time that it took then.
    pub fn time<T>(&mut self, stage: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let (result, seconds) = timed(work);
        let result = result?;
        if !self.has(stage) {
            self.seconds.insert(stage.to_string(), seconds);
            write_atomic(&self.path, &serde_json::to_vec_pretty(&self.seconds)?)?;
        }
        Ok(result)
    }

    /// Seconds of a stage.
    pub fn seconds(&self, stage: &str) -> f64 {
        self.seconds.get(stage).copied().unwrap_or(0.0)
    }
}
