//! The studies of trainings, end to end on the narrow model.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffprune::{CaptionData, LoadOptions, Metadata, ScorerCheckpoint, ScorerConfig};
use diffprune_lab::{
    GeneratedCaptions, LabError, LoadedModel, PilotModel, SCORER, ScaleQuestions, scale_study,
};
use diffprune_pilots::{CoherencePlan, LandscapePlan, Outcome, PilotError, ScalesPlan};

use crate::Setup;

/// The narrow model with these trained scorers.
fn narrow(model: &LoadedModel, scorers: Vec<PathBuf>) -> PilotModel<'_> {
    PilotModel {
        vlm: model.vlm.as_ref(),
        name: "narrow".into(),
        scorers,
        runs: Vec::new(),
    }
}

fn small_coherence() -> CoherencePlan {
    CoherencePlan {
        batches: 3,
        noises: 2,
        batch: 2,
        ..CoherencePlan::default()
    }
}

#[test]
fn gradients_are_compared_for_every_arm() {
    let setup = Setup::new();
    let model = setup.model();
    let pilot = narrow(&model, Vec::new());
    let data = GeneratedCaptions::new(6, 0).unwrap();
    let plan = small_coherence();
    let study = pilot.coherence(&data, 2, &plan, &mut |_| true).unwrap();
    let rows = &study.tables[0].rows;
    assert_eq!(rows.len(), 8, "{rows:?}");
    assert!(
        rows.iter().all(|row| row[8] == "0"),
        "a gradient of zero: {rows:?}"
    );
    assert!(rows[0][3].contains("n = 2"), "{rows:?}");
    // Other gates, other gradients.
    let mut coherence: Vec<&String> = rows.iter().map(|row| &row[2]).collect();
    coherence.sort();
    coherence.dedup();
    assert!(coherence.len() > 4, "{rows:?}");
    let page = study.write(&setup.at("study")).unwrap();
    assert!(page.is_file() && setup.at("study").join("coherence.svg").is_file());
}

/// A scorer that was never trained, as a training leaves it.
fn write_scorer(model: &LoadedModel, dir: &Path) {
    let width = model.vlm.d_descriptor();
    let trainee = diffprune::DiffPruneConfig {
        scorer: diffprune::ScorerChoice::Config(ScorerConfig::mini(width)),
        ..diffprune::DiffPruneConfig::default()
    }
    .init(width, 9, &model.vlm.device())
    .unwrap();
    let diffprune::Head::Scorer(scorer) = &trainee.head else {
        panic!("no scorer");
    };
    let described = Metadata::new("throttle", scorer);
    ScorerCheckpoint::save_with_denoiser(dir, scorer, &trainee.denoiser, &described).unwrap();
}

#[test]
fn losses_are_looked_at_before_and_after_a_training() {
    let setup = Setup::new();
    let model = setup.model();
    let dir = setup.at("scorer");
    write_scorer(&model, &dir);
    let pilot = narrow(&model, vec![dir]);
    let data = GeneratedCaptions::new(2, 0).unwrap();
    let plan = LandscapePlan {
        directions: 1,
        steps: 8,
        doublings: 2,
        surface: 2,
        pictures: 2,
        ..LandscapePlan::default()
    };
    let run = || pilot.landscape(&data, &plan, &mut |_| true).unwrap();
    let study = run();
    // A scorer that was read is the same one each time; fresh ones share Burn's generator with other tests.
    assert_eq!(run().tables[0].rows[5..], study.tables[0].rows[5..]);
    let rows = &study.tables[0].rows;
    assert_eq!(rows.len(), 2 * 5, "{rows:?}");
    assert_eq!(rows[0][0], "before training");
    assert_eq!(rows[5][0], "after DiffPrune's training");
    assert!(
        rows.iter()
            .all(|row| row[2].parse::<f64>().is_ok_and(f64::is_finite)),
        "{rows:?}"
    );
    assert_eq!(study.figures.len(), 2);
}

#[test]
fn too_few_captions_and_a_stop_are_errors() {
    let setup = Setup::new();
    let model = setup.model();
    let pilot = narrow(&model, Vec::new());
    let data = GeneratedCaptions::new(5, 0).unwrap();
    assert_eq!(data.len(), 5);
    let error = pilot
        .coherence(&data, 1, &small_coherence(), &mut |_| true)
        .unwrap_err();
    assert!(error.to_string().contains("at least 6"), "{error}");
    let data = GeneratedCaptions::new(6, 0).unwrap();
    let error = pilot
        .coherence(&data, 1, &small_coherence(), &mut |_| false)
        .unwrap_err();
    assert!(matches!(error, LabError::Pilot(PilotError::Stopped)), "{error}");
}

#[test]
fn each_size_is_asked_at_every_rate_and_not_twice() {
    let setup = Setup::new();
    let model = setup.model();
    write_scorer(&model, &setup.at("model").join(SCORER));
    let dirs = [setup.at("model")];
    let plan = ScalesPlan {
        resamples: 50,
        ..ScalesPlan::default()
    };
    let mut stages = Heard::default();
    let out = setup.at("scales");
    let mut run = || {
        let load = |dir: &Path| LoadedModel::load(dir, &Device::flex(), LoadOptions::default());
        scale_study(
            &dirs,
            load,
            &ScaleQuestions::Generated(4),
            &plan,
            &out,
            &mut stages,
        )
        .unwrap()
    };
    let study = run();
    // One size is no verdict.
    assert_eq!(study.findings[0].outcome, Outcome::Untestable);
    let kept: Vec<&str> = study.tables[0].rows.iter().map(|row| row[2].as_str()).collect();
    assert_eq!(kept, ["all", "1/2", "1/3", "2/9", "1/9", "1/18"]);
    let columns = &study.tables[0].columns;
    for benchmark in ["mme", "scienceqa", "mmbench"] {
        assert!(columns.iter().any(|column| column == benchmark), "{columns:?}");
    }
    let records = std::fs::read(out.join("stages/model/records.jsonl")).unwrap();
    assert_eq!(run(), study);
    assert_eq!(
        std::fs::read(out.join("stages/model/records.jsonl")).unwrap(),
        records
    );
    assert_eq!(
        stages.0,
        [
            "data",
            "model: answers at 6 rates",
            "data",
            "model: answers at 6 rates"
        ]
    );
}

/// The names of the stages.
#[derive(Default)]
struct Heard(Vec<String>);

impl diffprune_lab::Observer for Heard {
    fn stage(&mut self, name: &str, _: bool) {
        self.0.push(name.into());
    }
}
