//! The whole experiment: data, and for each model trainings, the comparison, the report; then one page over all of them.

mod experiment;
mod index;
mod ledger;
mod lineup;
mod pictures;
mod plan;
mod rehearsal;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use diffprune::vlm::write_atomic;
use diffprune_eval::Report;

use crate::commands::eval;
use crate::model::ModelArgs;

use experiment::Experiment;
use index::Shown;
use lineup::Lineup;
pub use pictures::{collect as pictures, draw_some};
pub use plan::ReproPlan;
use world::World;

/// Folder of data, trainings and records below that of the report. The names in it follow the parameters, so that runs
/// with others stand beside each other.
const STAGES: &str = "stages";
/// The page over the reports of several models.
const INDEX: &str = "report.md";

/// The experiments.
pub struct Repro {
    /// How much of everything.
    pub plan: ReproPlan,
    /// Seed of data, trainings and intervals.
    pub seed: u64,
    /// Folder of the report, or of the page over the reports.
    pub out: PathBuf,
}

impl Repro {
    /// One model, its report directly in the folder.
    pub fn one(&self, model: &ModelArgs) -> anyhow::Result<()> {
        model.dir()?;
        let world = self.world()?;
        self.experiment(model, &world, &self.out)?;
        println!("{}", self.out.join(INDEX).display());
        Ok(())
    }

    /// Several models on the same data: each has its report in a folder of its name, and a page shows them together.
    pub fn several(&self, models: &[ModelArgs]) -> anyhow::Result<()> {
        // Whatever is not there is told before anything is computed.
        let mut folders: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut names = Vec::new();
        for model in models {
            let dir = model.dir()?;
            let name = folder_name(&dir)?;
            if let Some(other) = folders.insert(name.clone(), dir.clone()) {
                bail!(
                    "models: found {} and {}, wanted folders that differ in their last name",
                    other.display(),
                    dir.display()
                );
            }
            names.push(name);
        }
        let world = self.world()?;
        let mut shown = Vec::new();
        for (model, name) in models.iter().zip(names) {
            let report = self.experiment(model, &world, &self.out.join(&name))?;
            shown.push(Shown { folder: name, report });
        }
        let page = self.out.join(INDEX);
        write_atomic(&page, index::page(&shown).as_bytes())?;
        println!("{}", page.display());
        Ok(())
    }

    fn world(&self) -> anyhow::Result<World> {
        let stages = self.out.join(STAGES);
        eval::make_folder(&stages)?;
        World::write(&self.plan, self.seed, &stages)
    }

    fn experiment(&self, model: &ModelArgs, world: &World, out: &Path) -> anyhow::Result<Report> {
        let loaded = model.load()?;
        let experiment = Experiment {
            plan: &self.plan,
            lineup: Lineup::of(loaded.vlm.family()),
            model: &loaded,
            world,
            seed: self.seed,
            device: &model.device,
            out,
        };
        let report = experiment.run()?;
        println!("{}", report.to_text());
        Ok(report)
    }
}

/// Last part of a folder's path.
fn folder_name(dir: &Path) -> anyhow::Result<String> {
    let path = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    name.with_context(|| format!("{}: wanted a folder with a name", dir.display()))
}

/// Tells on standard error what begins.
fn announce(what: &str, complete: bool) {
    eprintln!("[repro] {what}{}", if complete { " (complete)" } else { "" });
}

/// The revision of the code: given at build time, or that of the repository around the current folder.
pub fn revision() -> String {
    if let Some(revision) = option_env!("DIFFPRUNE_REVISION") {
        return revision.to_string();
    }
    let git = |args: &[&str]| {
        let output = std::process::Command::new("git").args(args).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_string();
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    format!("{head}{}", if changed { "+" } else { "" })
}
