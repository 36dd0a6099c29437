//! Whole experiments on the smallest plan.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffprune::{Budget, DynamicVit, LoadOptions, Method};
use diffprune_eval::{Metric, Report, TableId};
use diffprune_lab::{
    Experiment, LabError, Learned, Lineup, LoadedModel, Observer, Plan, Recipe, Series, StudyModels, Trial,
    Tuned, TunedArms, Tuning, sizes_beside, studies_beside,
};
use diffprune_test_support::copy_tree;

use crate::Setup;

#[allow(dead_code, reason = "its `main` reads the command line")]
#[path = "../../examples/experiment.rs"]
mod example;

/// The shipped classifier.
fn deit() -> PathBuf {
    Path::new(example::MODEL).with_file_name("mini-deit")
}

/// The shipped models of the studies.
fn study_models() -> StudyModels {
    StudyModels {
        classifier: Some(deit()),
        sizes: sizes_beside(&Path::new(example::MODEL).with_file_name("mini-qwen2.5-vl")).unwrap(),
    }
}

/// The smallest experiments into this folder.
fn series(out: PathBuf) -> Series {
    Series {
        plan: Plan::smallest(),
        seed: 0,
        device: "cpu".into(),
        revision: "a".into(),
        study_models: StudyModels::default(),
        data: None,
        limit: None,
        times: None,
        tuned: None,
        studies: true,
        out,
    }
}

/// Remembers the stages, and how many there should be.
#[derive(Default)]
struct Stages(Vec<(String, bool)>, usize);

impl Observer for Stages {
    fn outline(&mut self, work: &[f64]) {
        assert!(work.iter().all(|work| *work > 0.0));
        self.1 = work.len();
    }

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

/// DiffPrune from two seeds, and a rival that has a training for each budget.
fn lineup() -> Lineup {
    Lineup {
        table: "two trainings".into(),
        budgets: vec![Budget::rate(1, 3), Budget::rate(1, 9)],
        learned: vec![
            Learned {
                seeds: vec![1, 2],
                ..Learned::new("diffprune", Method::default())
            },
            Learned {
                own_budgets: true,
                ..Learned::new("dynamic-vit", DynamicVit::default())
            },
        ],
        arms: ["full", "diffprune", "dynamic-vit"].map(String::from).to_vec(),
        absent: Vec::new(),
    }
}

fn run(setup: &Setup, model: &LoadedModel, revision: &str, stages: &mut Stages) -> Report {
    let (plan, out) = (Plan::smallest(), setup.at("out"));
    let experiment = Experiment {
        plan: &plan,
        lineup: lineup(),
        model,
        world: &setup.world,
        tuned: None,
        seed: 0,
        device: "cpu",
        revision,
        given: &[],
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
            "model: features of the captions",
            "model: training of diffprune, seed 1",
            "model: training of diffprune, seed 2",
            "model: training of dynamic-vit at 1/3",
            "model: training of dynamic-vit at 1/9",
            "model: comparison",
            "model: report",
            "model: times"
        ]
    );
    assert!(stages.0.iter().all(|(_, complete)| !complete));
    let trainings = report.meta.config["trainings"].as_object().unwrap();
    assert_eq!(trainings.len(), 4);
    for (arm, seeds) in [("diffprune", vec![1, 2]), ("dynamic-vit", vec![0])] {
        for budget in ["1/3", "1/9"] {
            let row = report.row(TableId::Main, arm, budget, &Metric::Average).unwrap();
            assert_eq!(row.train_seeds, seeds, "{arm} at {budget}");
        }
    }
    let budgets = trained_at(&setup.at("out/stages"), "dynamic-vit");
    assert_eq!(budgets, ["1/3", "1/9"]);
    assert_eq!(report.meta.revision, "a");
    let page = fs::read(setup.at("out/report.md")).unwrap();
    let mut again = Stages::default();
    assert_eq!(run(&setup, &model, "a", &mut again), report);
    let complete: Vec<bool> = again.0.iter().map(|(_, complete)| *complete).collect();
    assert_eq!(complete, [true, true, true, true, true, true, false, true]);
    assert!(fs::read(setup.at("out/report.md")).unwrap() == page);
    // Other code over the same stages says so.
    let mixed = run(&setup, &model, "b", &mut Stages::default());
    assert_eq!(mixed.meta.revision, "mixed: a, b");
}

/// The budgets in the settings of an arm's trainings.
fn trained_at(stages: &Path, arm: &str) -> Vec<String> {
    let mut budgets = Vec::new();
    for entry in fs::read_dir(stages).unwrap() {
        let dir = entry.unwrap().path();
        if dir.file_name().unwrap().to_string_lossy().starts_with(arm) {
            let settings: toml::Table =
                toml::from_str(&fs::read_to_string(dir.join("train.toml")).unwrap()).unwrap();
            budgets.push(
                settings["train"]["diffprune"]["budget"]
                    .as_str()
                    .unwrap()
                    .to_string(),
            );
        }
    }
    budgets.sort();
    budgets
}

#[test]
fn a_tuning_is_made_once_and_its_recipes_serve_the_other_models() {
    let setup = Setup::new();
    let grid = Tuning {
        learning_rates: vec![1e-3, 3e-3],
        temperatures: vec![(1.0, 0.1)],
    };
    let plan = Plan {
        tuning: Some(grid),
        ..Plan::smallest()
    };
    let (model, out) = (setup.model(), setup.at("out"));
    let experiment = |lineup: Lineup, tuned| Experiment {
        plan: &plan,
        lineup,
        model: &model,
        world: &setup.world,
        tuned,
        seed: 1,
        device: "cpu",
        revision: "a",
        given: &[],
        out: &out,
    };
    let mut stages = Stages::default();
    let tuned = experiment(lineup(), None).tune(&mut stages).unwrap();
    let arms: Vec<&str> = tuned.arms.iter().map(|tuned| tuned.arm.as_str()).collect();
    assert_eq!(arms, ["diffprune", "dynamic-vit"]);
    assert!(tuned.arms.iter().all(|tuned| tuned.trials.len() == 2));
    assert!(
        tuned
            .arms
            .iter()
            .flat_map(|tuned| &tuned.trials)
            .all(|trial| trial.val_nll.is_some())
    );
    assert_eq!(stages.0.len(), 5, "features, two trials of each arm");
    let mut again = Stages::default();
    assert_eq!(experiment(lineup(), None).tune(&mut again).unwrap(), tuned);
    assert!(again.0.iter().all(|(_, complete)| *complete));
    // Trials are the first trainings of the arms, declared and tuned.
    let recipe = tuned.arms[0].trials[1].recipe;
    let with = lineup().tuned([("diffprune", recipe)]);
    let mut after = Stages::default();
    let report = experiment(with, Some(&tuned)).run(&mut after).unwrap();
    let complete = |name: &str| after.0.iter().find(|stage| stage.0 == name).unwrap().1;
    assert!(complete("model: training of diffprune, seed 1"));
    assert!(complete("model: training of diffprune-tuned, seed 1"));
    assert!(!complete("model: training of diffprune-tuned, seed 2"));
    assert!(
        report
            .row(TableId::Main, "diffprune-tuned", "1/9", &Metric::Average)
            .is_some()
    );
    assert_eq!(report.meta.config["tuning"]["model"], "model");
    assert!(
        report
            .meta
            .notes
            .iter()
            .any(|note| note.starts_with("`dynamic-vit`: of 2 trials"))
    );
}

#[test]
fn the_recipes_of_an_earlier_tuning_are_compared_without_another() {
    let setup = Setup::new();
    let recipe = |lr: f64| Recipe {
        lr,
        tau_start: 1.0,
        tau_end: 0.1,
    };
    let trial = |lr: f64, nll: f64| Trial {
        recipe: recipe(lr),
        val_nll: Some(nll),
    };
    let tuned = TunedArms {
        model: "another".into(),
        revision: "b".into(),
        steps: 2,
        batch: 4,
        seed: 0,
        arms: vec![Tuned {
            arm: "diffprune".into(),
            trials: vec![trial(1e-3, 0.5), trial(3e-3, 0.4)],
        }],
    };
    let file = setup.at("tuning.json");
    fs::write(&file, serde_json::to_vec(&tuned).unwrap()).unwrap();
    let series = Series {
        tuned: Some(file.clone()),
        studies: false,
        ..series(setup.at("tuned"))
    };
    let mut stages = Stages::default();
    let load = || LoadedModel::load(Path::new(example::MODEL), &Device::flex(), LoadOptions::f32());
    let page = series.one(load, &mut stages).unwrap();
    assert_eq!(stages.0.len(), stages.1, "{:?}", stages.0);
    let names: Vec<&str> = stages.0.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        !names
            .iter()
            .any(|name| name.contains("tuning") || name.contains("study")),
        "{names:?}"
    );
    assert!(
        names.iter().any(|name| name.contains("diffprune-tuned")),
        "{names:?}"
    );
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains("tuned on the validation captions of another"),
        "{page}"
    );

    fs::write(&file, "{}").unwrap();
    let error = series.one(load, &mut ()).unwrap_err().to_string();
    assert!(error.contains("tuning.json"), "{error}");
}

#[test]
fn models_of_one_name_are_refused_before_anything_is_computed() {
    let setup = Setup::new();
    let series = series(setup.at("series"));
    let dirs = [setup.at("model"), setup.at("model")];
    let load = |_: &Path| -> Result<LoadedModel, LabError> { panic!("nothing is loaded") };
    let error = series.several(&dirs, load, &mut ()).unwrap_err();
    assert!(error.to_string().contains("differ in their last name"), "{error}");
    assert!(!series.out.exists());
}

#[test]
fn the_pilot_studies_are_stages_of_the_first_model() {
    let setup = Setup::new();
    let series = Series {
        study_models: study_models(),
        ..series(setup.at("series"))
    };
    let run = |series: &Series| {
        let mut stages = Stages::default();
        let load = |dir: &Path| LoadedModel::load(dir, &Device::flex(), LoadOptions::f32());
        let page = series
            .several(&[example::MODEL.into()], load, &mut stages)
            .unwrap();
        let page = fs::read_to_string(page).unwrap();
        assert!(
            page.contains("Pilot studies") && page.contains("(studies/coherence.md)"),
            "{page}"
        );
        assert_eq!(stages.0.len(), stages.1, "{:?}", stages.0);
        let studies = stages.0.into_iter().filter(|(name, _)| name.contains(": study "));
        studies.collect::<Vec<_>>()
    };
    let first = run(&series);
    let names: Vec<&str> = first
        .iter()
        .map(|(name, _)| name.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "coherence",
            "widths",
            "landscape",
            "proxy",
            "llm-free",
            "diversity",
            "scales"
        ]
    );
    assert!(first.iter().all(|(_, complete)| !complete));
    let pages = studies_beside(&series.out).unwrap();
    let claims: Vec<&str> = pages
        .iter()
        .flat_map(|page| &page.findings)
        .map(|finding| finding.claim.as_str())
        .collect();
    for claim in [
        "f1.coherence",
        "f2.smooth",
        "f3.llm-free",
        "f4.proxy",
        "f5.diverse",
        "a1.no-collapse",
    ] {
        assert!(claims.contains(&claim), "{claim} in {claims:?}");
    }
    for page in &pages {
        assert!(series.out.join(&page.page).is_file(), "{}", page.page);
    }
    assert!(series.out.join("studies/coherence-along.svg").is_file());
    assert!(run(&series).iter().all(|(_, complete)| *complete));
    // Without a classifier three are left out, without sizes one.
    let without = Series {
        study_models: StudyModels::default(),
        ..series
    };
    assert_eq!(run(&without).len(), 3);
}

#[test]
fn a_study_that_a_model_cannot_have_is_left_out_and_told() {
    let out = tempfile::tempdir().unwrap();
    let series = Series {
        study_models: study_models(),
        ..series(out.path().join("next"))
    };
    let dir = Path::new(example::MODEL).with_file_name("mini-llava-next");
    let load = || LoadedModel::load(&dir, &Device::flex(), LoadOptions::f32());
    let mut stages = Stages::default();
    let page = series.one(load, &mut stages).unwrap();
    assert_eq!(stages.0.len(), stages.1, "{:?}", stages.0);
    let page = fs::read_to_string(page).unwrap();
    for part in [
        "study llm-free is left out",
        "expected one with a single raster",
        "(studies/coherence.md)",
    ] {
        assert!(page.contains(part), "{part} is not in the report");
    }
    assert!(!series.out.join("studies/llm-free.json").exists());
    assert!(series.out.join("times.md").is_file());
}

/// What somebody has who brings weights and data: the official formats, and nothing that only a generated world knows.
#[test]
fn a_folder_of_data_takes_the_place_of_the_small_world() {
    let setup = Setup::new();
    let data = setup.at("data");
    copy_tree(&setup.world.folder, &data);
    for name in ["manifest.json", "boxes.json"] {
        fs::remove_file(data.join(name)).unwrap();
    }
    // One line that cannot be used: it is left out and told.
    let questions = data.join("textvqa/llava_textvqa_val_v051_ocr.jsonl");
    let text = fs::read_to_string(&questions).unwrap();
    fs::write(&questions, format!("{text}{{\"question_id\": 1}}\n")).unwrap();
    let series = Series {
        data: Some(data.clone()),
        limit: Some(2),
        ..series(setup.at("own"))
    };
    let before = files_below(&data);
    let run = || {
        let mut stages = Stages::default();
        let page = series
            .one(|| Ok::<_, LabError>(setup.model()), &mut stages)
            .unwrap();
        assert_eq!(stages.0.len(), stages.1, "{:?}", stages.0);
        fs::read_to_string(page).unwrap()
    };
    let page = run();
    assert_eq!(files_below(&data), before, "nothing is written into the data");
    for part in [
        "Samples of the data left out because they cannot be used: textvqa 1",
        "it learns from boxes around objects, which the captions do not have",
        "the first 2 questions of each benchmark in a folder",
        "`diffprune pilot` makes them on any model and pictures",
    ] {
        assert!(page.contains(part), "{part} is not in the report");
    }
    let report = Report::read(&series.out.join("report.json")).unwrap();
    assert_eq!(report.meta.tier, "full");
    assert!(
        report
            .row(TableId::Main, "diffprune", "1/9", &Metric::Average)
            .is_some()
    );
    assert!(
        report
            .row(TableId::Main, "glimpse-prune", "1/9", &Metric::Average)
            .is_none()
    );
    assert_eq!(run(), page);
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}
