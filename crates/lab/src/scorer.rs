//! The trained scorer that a shipped model brings along, and the method that it makes the default.

use std::path::{Path, PathBuf};

use diffprune::scorer::{METADATA_FILE, TENSORS_FILE};
use diffprune::vlm::Family;
use diffprune::{CaptionData, Method as Trained, TrainReport, Trainer};
use diffprune_files::write_whole;
use diffprune_mini::MiniCounts;

use crate::checksums::{verify_checksums, write_checksums};
use crate::error::LabError;
use crate::experiment::{Learned, Plan, stopped_after, write_world};
use crate::files::make_folder;
use crate::methods::{self, Method, PER_VIEW, default_method};
use crate::model::LoadedModel;
use crate::observer::Observer;

/// Folder of the trained scorer, beside the weights of a shipped model.
pub const SCORER: &str = "scorer";
/// Name of the method whose scorer is shipped.
pub(crate) const OURS: &str = "diffprune";

/// A method as it is called, and the text that [`Method::parse`] finds it by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MethodName {
    /// The name for people: as it was given, or that of the default.
    pub shown: String,
    /// The same with the folder of the model's own scorer, where that is meant.
    pub resolved: String,
}

/// The scorer beside the weights in `dir`, if there is one.
pub fn shipped_scorer(dir: &Path) -> Option<PathBuf> {
    let folder = dir.join(SCORER);
    folder.join(METADATA_FILE).is_file().then_some(folder)
}

/// The method that a text names for the model in `dir`. Without a text it is DiffPrune where a trained scorer lies beside the
/// weights, and the family's default elsewhere; `diffprune`, `inverted` and `at-budget` without a folder mean that scorer.
pub fn resolve_method(dir: &Path, name: Option<&str>, family: Family) -> MethodName {
    let scorer = shipped_scorer(dir);
    let shown = match (name, &scorer) {
        (Some(name), _) => name,
        (None, Some(_)) => OURS,
        (None, None) => default_method(family),
    };
    let base = shown.strip_suffix(PER_VIEW).unwrap_or(shown);
    let resolved = match scorer.filter(|_| methods::KINDS.contains(&base)) {
        Some(scorer) => format!("{shown}:{}", scorer.display()),
        None => shown.to_string(),
    };
    MethodName {
        shown: shown.to_string(),
        resolved,
    }
}

impl LoadedModel {
    /// The method that a text names for this model, by [`resolve_method`]; `seed` draws the weights of `untrained`.
    ///
    /// # Errors
    /// As [`Method::parse`], and when the shipped scorer is not what its list of checksums says.
    pub fn method(&self, name: Option<&str>, seed: u64) -> Result<(MethodName, Method), LabError> {
        let name = resolve_method(&self.dir, name, self.vlm.family());
        if name.resolved != name.shown {
            verify_checksums(&self.dir.join(SCORER))?;
        }
        let method = Method::parse(&name.resolved, self.vlm.as_ref(), seed)?;
        Ok((name, method))
    }
}

/// Trains DiffPrune on captions of the small world as the default plan of an experiment does, with the run, its data and its
/// checkpoints in `out`; the result is the scorer at `into`, ready to be shipped beside the model's weights.
///
/// An interrupted training is continued by the same call.
///
/// # Errors
/// When the training fails or is stopped, or a file cannot be written.
pub fn train_shipped_scorer(
    model: &LoadedModel,
    seed: u64,
    out: &Path,
    into: &Path,
    observer: &mut dyn Observer,
) -> Result<TrainReport, LabError> {
    let vlm = model.vlm.as_ref();
    let plan = Plan::default();
    let mut world = plan.world(seed);
    world.counts = MiniCounts {
        train_captions: plan.counts.train_captions,
        val_captions: plan.counts.val_captions,
        ..MiniCounts::none()
    };
    let data = out.join("captions");
    write_world(&world, &data, observer)?;
    let (captions, held_out) = crate::data::read_captions(&data, false)?;
    let held_out = held_out.as_ref().map(|folder| folder as &dyn CaptionData);
    let learned = Learned::new(OURS, Trained::default());
    let config = plan.train(&learned, None, vlm.d_descriptor(), seed)?;
    let mut progress = observer.progress("scorer", config.steps);
    let trainer = Trainer::new(vlm, &config)
        .with_model_digest(model.fingerprint()?)
        .with_stop(observer.stop());
    let run = out.join("run");
    let report = trainer.run(&captions, held_out, &run, &mut progress)?;
    if !report.finished {
        let after = stopped_after(report.steps, config.steps);
        return Err(LabError::Stopped { after });
    }
    make_folder(into)?;
    for name in [METADATA_FILE, TENSORS_FILE] {
        let path = run.join(name);
        let bytes = std::fs::read(&path).map_err(LabError::io(&path, "read"))?;
        write_whole(into.join(name), &bytes)?;
    }
    write_checksums(into)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scorer_beside_the_weights_is_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: Option<&str>| resolve_method(dir.path(), name, Family::Llava15);
        assert_eq!((of(None).shown, of(None).resolved), ("cls".into(), "cls".into()));
        assert_eq!(of(Some("diffprune")).resolved, "diffprune");
        let folder = dir.path().join(SCORER);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(METADATA_FILE), "{}").unwrap();
        assert_eq!(of(None).shown, "diffprune");
        let resolved = format!("diffprune:{}", folder.display());
        assert_eq!(of(None).resolved, resolved);
        assert_eq!(of(Some("diffprune")).resolved, resolved);
        let per_view = of(Some("inverted-per-view"));
        assert_eq!(
            per_view.resolved,
            format!("inverted-per-view:{}", folder.display())
        );
        assert_eq!(of(Some("holov")).resolved, "holov");
        assert_eq!(of(Some("diffprune:else")).resolved, "diffprune:else");
    }
}
