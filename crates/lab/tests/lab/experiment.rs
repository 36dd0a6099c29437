//! Whole experiments on the smallest plan.

use std::fs;
use std::path::Path;

use diffprune::{Budget, Method};
use diffprune_eval::{Metric, Report, TableId};
use diffprune_lab::{Experiment, Learned, Lineup, LoadedModel, Observer, Plan, Series};

use crate::Setup;

#[allow(dead_code, reason = "its `main` reads the command line")]
#[path = "../../examples/experiment.rs"]
mod example;

/// Remembers the stages.
#[derive(Default)]
struct Stages(Vec<(String, bool)>);

impl Observer for Stages {
    fn stage(&mut self, name: &str, complete: bool) {
        self.0.push((name.into(), complete));
    }
}

#[test]
fn the_example_compares_its_arms_on_the_shipped_model() {
    let out = tempfile::tempdir().unwrap();
    let report = example::run(Path::new(example::MODEL), out.path()).unwrap();
    for (arm, budget) in [
        ("full", "all"),
        ("diffprune", "1/3"),
        ("cls-attention", "1/9"),
        ("random", "1/9"),
    ] {
        assert!(
            report.row(TableId::Main, arm, budget, &Metric::Average).is_some(),
            "{arm}"
        );
    }
    assert!(
        !report.meta.note.contains("numbered anew"),
        "{}",
        report.meta.note
    );
    for file in [
        "report.md",
        "report.html",
        "timing.json",
        "pictures/1-diffprune.png",
    ] {
        assert!(out.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn the_example_fits_on_a_page() {
    let source = include_str!("../../examples/experiment.rs");
    assert!(source.lines().count() <= 40);
}

fn lineup() -> Lineup {
    Lineup {
        table: "two trainings".into(),
        budgets: vec![Budget::rate(1, 9)],
        learned: vec![Learned {
            seeds: vec![1, 2],
            ..Learned::new("diffprune", Method::default())
        }],
        arms: ["full", "diffprune"].map(String::from).to_vec(),
    }
}

fn run(setup: &Setup, model: &LoadedModel, revision: &str, stages: &mut Stages) -> Report {
    let (plan, out) = (Plan::smallest(), setup.at("out"));
    let experiment = Experiment {
        plan: &plan,
        lineup: lineup(),
        model,
        world: &setup.world,
        seed: 0,
        device: "cpu",
        revision,
        out: &out,
    };
    experiment.run(stages).unwrap()
}

#[test]
fn every_training_seed_is_a_stage_and_a_complete_stage_does_not_run_again() {
    let setup = Setup::new();
    let model = setup.model();
    let mut stages = Stages::default();
    let report = run(&setup, &model, "a", &mut stages);
    let names: Vec<&str> = stages.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "model: training of diffprune, seed 1",
            "model: training of diffprune, seed 2",
            "model: comparison",
            "model: report"
        ]
    );
    assert!(stages.0.iter().all(|(_, complete)| !complete));
    let trainings = report.meta.config["trainings"].as_object().unwrap();
    assert_eq!(trainings.len(), 2);
    assert_eq!(report.meta.revision, "a");
    let page = fs::read(setup.at("out/report.md")).unwrap();
    let mut again = Stages::default();
    assert_eq!(run(&setup, &model, "a", &mut again), report);
    let complete: Vec<bool> = again.0.iter().map(|(_, complete)| *complete).collect();
    assert_eq!(complete, [true, true, true, false]);
    assert!(fs::read(setup.at("out/report.md")).unwrap() == page);
    // Other code over the same stages says so.
    let mixed = run(&setup, &model, "b", &mut Stages::default());
    assert_eq!(mixed.meta.revision, "mixed: a, b");
}

#[test]
fn models_of_one_name_are_refused_before_anything_is_computed() {
    let setup = Setup::new();
    let series = Series {
        plan: Plan::smallest(),
        seed: 0,
        device: "cpu".into(),
        revision: "a".into(),
        out: setup.at("series"),
    };
    let dirs = [setup.at("model"), setup.at("model")];
    let load = |_: &Path| -> Result<LoadedModel, diffprune_lab::LabError> { panic!("nothing is loaded") };
    let error = series.several(&dirs, load, &mut ()).unwrap_err();
    assert!(error.to_string().contains("differ in their last name"), "{error}");
    assert!(!series.out.exists());
}
