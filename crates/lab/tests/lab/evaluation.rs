//! Data, scorers and arms of an evaluation.

use diffprune::{LearnedPruner, Metadata, ScorerCheckpoint, ScorerConfig};
use diffprune_eval::{Metric, TableId};
use diffprune_lab::{
    ArmSource, Evaluated, Evaluation, LabError, Reading, Scorers, StoredRun, Trained, difference, protocol,
};

use crate::Setup;

fn evaluation(setup: &Setup, arms: &[&str]) -> Evaluation {
    let model = setup.model();
    let reading = Reading::from(protocol(model.vlm.as_ref()));
    Evaluation {
        arms: arms.iter().map(|arm| arm.to_string()).collect(),
        budgets: vec!["1/9".parse().unwrap()],
        max_new_tokens: Some(2),
        pictures: 1,
        strict: true,
        ..Evaluation::new(&setup.world.folder, reading)
    }
}

#[test]
fn a_report_can_be_made_again_from_its_folder() {
    let setup = Setup::new();
    let (model, out) = (setup.model(), setup.at("out"));
    let evaluation = evaluation(&setup, &["full", "cls"]);
    let prepared = evaluation.prepare(&model).unwrap();
    assert_eq!(prepared.left_out(), "");
    let Evaluated::Report(report, _) = prepared.run(&out, &mut ()).unwrap() else {
        panic!("uploads in place of a report");
    };
    assert_eq!(report.meta.tier, "mini");
    assert!(out.join("pictures/1-cls.png").is_file());
    let run = StoredRun::read(&out).unwrap();
    assert_eq!(run.report().unwrap(), *report);
    let same = difference(&[run.clone(), run.clone()]).unwrap();
    let row = same.row(TableId::Main, "full", "all", &Metric::Average);
    assert!(row.is_none_or(|row| row.value == 0.0));
    assert!(difference(&[run]).is_err());
}

#[test]
fn names_that_stand_for_nothing_are_refused_with_those_that_would_do() {
    let setup = Setup::new();
    let model = setup.model();
    let refused = |arm: &str| match evaluation(&setup, &[arm]).prepare(&model) {
        Err(error) => error,
        Ok(_) => panic!("`{arm}` was taken for an arm"),
    };
    let error = refused("best");
    assert!(matches!(error, LabError::UnknownArm { .. }) && error.to_string().contains("cls-attention"));
    for arm in ["inverted", "mine-inverted", "mine-at-budget"] {
        assert!(matches!(refused(arm), LabError::UnknownScorer { .. }), "{arm}");
    }
    assert!(matches!(refused("fastv-per-view"), LabError::Setup { .. }));
    let empty = Evaluation {
        data: setup.at("nothing"),
        ..evaluation(&setup, &["full"])
    };
    assert!(matches!(empty.prepare(&model), Err(LabError::NoQuestions { .. })));
}

#[test]
fn a_scorer_for_another_width_is_refused() {
    let setup = Setup::new();
    let scorer = ScorerConfig::mini(64).init(&burn::tensor::Device::flex());
    let dir = setup.at("wide");
    ScorerCheckpoint::save(&dir, &scorer, &Metadata::new("diffprune", &scorer)).unwrap();
    let mut evaluation = evaluation(&setup, &["diffprune"]);
    evaluation.scorers.push(("diffprune".into(), dir));
    let model = setup.model();
    let Err(LabError::Scorer { dir, source }) = evaluation.prepare(&model) else {
        panic!("a scorer of width 64 was taken for one of width 32");
    };
    let text = source.to_string();
    assert!(
        dir.ends_with("wide") && text.contains("64") && text.contains("32"),
        "{text}"
    );
}

#[test]
fn trainings_of_several_seeds_are_arms_of_one_name() {
    let setup = Setup::new();
    let model = setup.model();
    let device = burn::tensor::Device::flex();
    let trained = |seed: u64| Trained {
        seed,
        budget: None,
        scorer: LearnedPruner::new(ScorerConfig::mini(32).init(&device)),
    };
    let scorers = Scorers::from([("diffprune".to_string(), vec![trained(7), trained(8)])]);
    let source = ArmSource {
        vlm: model.vlm.as_ref(),
        scorers: &scorers,
        random_seeds: 2,
        untrained_seeds: 3,
        oracle_questions: 1,
        seed: 0,
    };
    let seeds = |name: &str| -> Vec<(String, u64)> {
        let arms = source.arms(name).unwrap().into_iter();
        arms.map(|arm| (arm.name, arm.seed)).collect()
    };
    for name in [
        "diffprune",
        "inverted",
        "diffprune-reindexed",
        "diffprune-at-budget",
        "diffprune-per-view",
    ] {
        assert_eq!(seeds(name), [(name.to_string(), 7), (name.to_string(), 8)]);
    }
    assert_eq!(seeds("random"), [("random".into(), 0), ("random".into(), 1)]);
    let drawn = |name: &str| [0, 1, 2].map(|seed| (name.to_string(), seed));
    assert_eq!(seeds("untrained"), drawn("untrained"));
    assert_eq!(seeds("untrained-per-view"), drawn("untrained-per-view"));
}
