//! The experiments on several models over the same data, and one page over all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diffprune::LoadOptions;
use diffprune::vlm::{Family, plan_vlm};
use diffprune_eval::Report;
use diffprune_files::FolderLock;

use super::outline::{Extent, outline};
use super::{
    Experiment, Lineup, ModelReport, Plan, STAGES, StudyModels, TunedArms, World, contrasts, given_times,
    studies_beside, write_index,
};
use crate::error::LabError;
use crate::files::folder_name;
use crate::model::LoadedModel;
use crate::observer::Observer;

/// One experiment for each model, all with the same sizes, seed and data.
#[derive(Debug, Clone)]
pub struct Series {
    /// The sizes.
    pub plan: Plan,
    /// Seed of data, trainings and intervals.
    pub seed: u64,
    /// Name of the device, for the reports.
    pub device: String,
    /// Revision of the code, for the reports.
    pub revision: String,
    /// The models that the pilot studies need beside the first one; without them those studies are left out.
    pub study_models: StudyModels,
    /// A folder with benchmarks and captions in their official formats, in place of the small world.
    pub data: Option<PathBuf>,
    /// At most so many questions of each benchmark of [`Self::data`].
    pub limit: Option<usize>,
    /// A table of times that was measured on the published shape (`diffprune bench --methods --out`); the claims about times are
    /// judged by it.
    pub times: Option<PathBuf>,
    /// The result of an earlier tuning ([`TunedArms::FILE`] of its run), whose recipes are taken in place of a tuning. A plan
    /// without one then compares every tuned arm too. `None`: what the plan says.
    pub tuned: Option<PathBuf>,
    /// False leaves the pilot studies out.
    pub studies: bool,
    /// Folder of the report, or of the page over the reports.
    pub out: PathBuf,
}

impl Series {
    /// Name of the page over the reports of several models.
    pub const PAGE: &str = "report.md";

    /// One model, its report directly in the folder; gives the path of the report.
    ///
    /// # Errors
    /// When the model cannot be loaded or its experiment fails.
    pub fn one<E: From<LabError>>(
        &self,
        load: impl FnOnce() -> Result<LoadedModel, E>,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf, E> {
        let _lock = FolderLock::take(&self.out).map_err(LabError::from)?;
        let model = load()?;
        let mut tuned = self.given_tuning()?;
        let world = self.world(&[model.vlm.family()], tuned.as_ref(), observer)?;
        self.experiment(&model, &world, &self.out, (&mut tuned, true), observer)?;
        Ok(self.out.join(Self::PAGE))
    }

    /// Several models on the same data, named by their folders: each has its report in a folder of its name, and a page
    /// shows them together; gives the path of the page. A plan with a tuning tunes on the first of them alone.
    ///
    /// # Errors
    /// When two folders have the same name, a model cannot be loaded or an experiment fails.
    pub fn several<E: From<LabError>>(
        &self,
        dirs: &[PathBuf],
        mut load: impl FnMut(&Path) -> Result<LoadedModel, E>,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf, E> {
        // Names are checked before anything is computed.
        let names = names(dirs)?;
        let _lock = FolderLock::take(&self.out).map_err(LabError::from)?;
        let family = |dir: &PathBuf| plan_vlm(dir, LoadOptions::default()).map(|plan| plan.family());
        // A folder that cannot be read is told when its turn comes.
        let families = dirs.iter().map(family).collect::<Result<Vec<_>, _>>();
        let mut tuned = self.given_tuning()?;
        let world = self.world(&families.unwrap_or_default(), tuned.as_ref(), observer)?;
        let mut reports = Vec::new();
        for (dir, name) in dirs.iter().zip(names) {
            LabError::unless_stopped(observer, &format!("before {name}"))?;
            let out = self.out.join(&name);
            let first = reports.is_empty();
            let report = self.experiment(&load(dir)?, &world, &out, (&mut tuned, first), observer)?;
            reports.push(ModelReport { folder: name, report });
        }
        Ok(write_index(&self.out, &self.out, reports)?)
    }

    fn given_tuning(&self) -> Result<Option<TunedArms>, LabError> {
        match &self.tuned {
            Some(path) => TunedArms::read(path).map(Some),
            // Its recipes were chosen on the captions of the small world.
            None if self.plan.tuned_contrasts && self.data.is_none() => {
                Ok(Some(TunedArms::committed()?.of(&contrasts(&self.plan))))
            }
            None => Ok(None),
        }
    }

    /// The data, after the observer was told what there is to do on models of these families, as far as they are known.
    fn world(
        &self,
        families: &[Family],
        tuned: Option<&TunedArms>,
        observer: &mut dyn Observer,
    ) -> Result<World, LabError> {
        let given = self.data.as_deref();
        let given = given.map(|folder| World::of_folder(folder, self.limit, &self.revision));
        let given = given.transpose()?;
        let has_boxes = given.as_ref().is_none_or(|world| world.has_boxes);
        let lineups: Vec<Lineup> = families
            .iter()
            .map(|family| self.lineup(*family, has_boxes, tuned))
            .collect();
        if !lineups.is_empty() {
            let extent = Extent {
                given: given.as_ref().map(|world| world.n_questions),
                encodes: given.as_ref().is_none_or(|world| world.is_small),
                tunes: tuned.is_none(),
                studies: (given.is_none() && self.studies).then_some(&self.study_models),
            };
            observer.outline(&outline(&self.plan, &lineups, &extent, self.seed));
        }
        match given {
            Some(world) => Ok(world),
            None => {
                let stages = self.out.join(STAGES);
                World::write(&self.plan, self.seed, &stages, &self.revision, observer)
            }
        }
    }

    fn lineup(&self, family: Family, has_boxes: bool, tuned: Option<&TunedArms>) -> Lineup {
        let lineup = Lineup::of(family, &self.plan, self.seed);
        let lineup = match has_boxes {
            true => lineup,
            false => lineup.without_boxes(),
        };
        match tuned {
            Some(tuned) => lineup.tuned(tuned.chosen()),
            None => lineup,
        }
    }

    /// One model; tunes on it where the plan says so and no earlier model was tuned on, and studies it where asked to.
    fn experiment(
        &self,
        model: &LoadedModel,
        world: &World,
        out: &Path,
        (tuned, study): (&mut Option<TunedArms>, bool),
        observer: &mut dyn Observer,
    ) -> Result<Report, LabError> {
        let lineup = self.lineup(model.vlm.family(), world.has_boxes, tuned.as_ref());
        let given = self
            .times
            .as_deref()
            .map(given_times)
            .transpose()?
            .unwrap_or_default();
        let mut experiment = Experiment {
            plan: &self.plan,
            lineup,
            model,
            world,
            tuned: None,
            seed: self.seed,
            device: &self.device,
            revision: &self.revision,
            given: &given,
            out,
        };
        if self.plan.tuning.is_some() && tuned.is_none() {
            let made = experiment.tune(observer)?;
            made.write(&self.out)?;
            experiment.lineup = experiment.lineup.tuned(made.chosen());
            *tuned = Some(made);
        }
        experiment.tuned = tuned.as_ref();
        let mut compared = experiment.compare(observer)?;
        let left_out = match (study && self.studies, &self.data) {
            (false, _) => Vec::new(),
            (true, None) => experiment.studies(&self.out, &self.study_models, observer)?,
            // The stages are about pictures of the small world.
            (true, Some(_)) => vec![
                "The pilot studies are no part of a run on a folder of data; `diffprune pilot` makes them on any model and pictures."
                    .into(),
            ],
        };
        // A page over several models has their verdicts itself.
        let studies = match out == self.out {
            true => studies_beside(&self.out)?,
            false => Vec::new(),
        };
        let report = experiment.report(&mut compared, studies, left_out, observer)?;
        observer.report(&report);
        Ok(report)
    }
}

/// The last parts of the folders' paths, which must differ.
fn names(dirs: &[PathBuf]) -> Result<Vec<String>, LabError> {
    let mut folders: BTreeMap<String, &Path> = BTreeMap::new();
    let mut names = Vec::new();
    for dir in dirs {
        let name = folder_name(dir).ok_or_else(|| LabError::Setup {
            subject: "models".into(),
            found: dir.display().to_string(),
            wanted: "a folder with a name".into(),
        })?;
        if let Some(other) = folders.insert(name.clone(), dir) {
            return Err(LabError::Setup {
                subject: "models".into(),
                found: format!("{} and {}", other.display(), dir.display()),
                wanted: "folders that differ in their last name".into(),
            });
        }
        names.push(name);
    }
    Ok(names)
}
