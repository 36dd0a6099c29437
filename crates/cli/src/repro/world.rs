//! The data of the experiments, written once.

use std::path::{Path, PathBuf};

use crate::commands::mini_data;
use crate::digest;

use super::ledger::{Ledger, Stage};
use super::{ReproPlan, announce, revision};

/// The small world on disk.
pub struct World {
    /// Name of its stage.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What is noted of its stage.
    pub stage: Stage,
}

impl World {
    /// Writes the world of a plan below `stages`, or finds it there.
    pub fn write(plan: &ReproPlan, seed: u64, stages: &Path) -> anyhow::Result<Self> {
        let world = plan.world(seed);
        let name = format!("data-{}", digest::of_settings(&world)?.short());
        let folder = stages.join(&name);
        let mut ledger = Ledger::open(&stages.join("stages.json"), revision())?;
        announce("data", ledger.has(&name));
        ledger.time(&name, || mini_data::write(&world, &folder))?;
        Ok(Self {
            stage: ledger.stage(&name),
            name,
            folder,
        })
    }
}
