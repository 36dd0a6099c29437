//! The data of the experiments, written once.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use diffprune_mini::{MiniWorld, Written};

use super::Plan;
use super::ledger::{Ledger, Stage};
use crate::digest::Digest;
use crate::error::LabError;
use crate::files::make_folder;
use crate::observer::Observer;

/// The small world on disk.
#[derive(Debug, Clone)]
pub struct World {
    /// Name of its stage.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The entry of its stage.
    pub stage: Stage,
}

impl World {
    /// Writes the world of a plan into a folder below `stages`, or finds it there.
    ///
    /// # Errors
    /// When the disk refuses, or the folder holds something else.
    pub fn write(
        plan: &Plan,
        seed: u64,
        stages: &Path,
        revision: &str,
        observer: &mut dyn Observer,
    ) -> Result<Self, LabError> {
        make_folder(stages)?;
        let world = plan.world(seed);
        let name = format!("data-{}", Digest::of_settings(&world)?.short());
        let folder = stages.join(&name);
        let mut ledger = Ledger::open(&stages.join(Ledger::FILE), revision.into())?;
        observer.stage("data", ledger.has(&name));
        ledger.time(&name, || write_world(&world, &folder, observer))?;
        Ok(Self {
            stage: ledger.stage(&name),
            name,
            folder,
        })
    }
}

/// Writes a small world, with the progress of its pictures.
///
/// # Errors
/// When the disk refuses, or the folder holds something else.
pub fn write_world(world: &MiniWorld, out: &Path, observer: &mut dyn Observer) -> Result<Written, LabError> {
    let total = world.counts.train_captions;
    let stop = observer.stop();
    // The number of GQA's pictures is known only later; the display corrects itself at the first call.
    let display = Mutex::new((observer.progress("pictures", total), 0, observer));
    let written = world.write(out, &stop, &|progress| {
        if let Ok(mut display) = display.lock() {
            if display.1 != progress.total {
                display.0 = display.2.progress("pictures", progress.total);
                display.1 = progress.total;
            }
            display.0.step(progress.done, &[]);
        }
    })?;
    if let Ok(display) = display.lock() {
        display.0.finish();
    }
    Ok(written)
}
