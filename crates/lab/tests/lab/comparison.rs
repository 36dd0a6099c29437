//! One comparison: continued, refused, shared between copies.

use std::fs;

use diffprune::Budget;
use diffprune_eval::{Arm, EvalError, Metric, Replica, TableId};
use diffprune_lab::{Comparison, Heading, LabError, LoadedModel, RunSettings, protocol, read_questions};

use crate::Setup;

fn arms() -> Vec<Arm> {
    let random = diffprune_baselines::find("random").unwrap();
    let mut arms = vec![Arm::full()];
    arms.extend(Arm::seeded(random, [3, 4]));
    arms
}

fn comparison<'a>(setup: &Setup, model: &'a LoadedModel) -> Comparison<'a> {
    let protocol = protocol(model.vlm.as_ref());
    Comparison {
        model,
        device: "cpu".into(),
        copies: Vec::new(),
        questions: read_questions(&setup.world.folder, protocol).unwrap(),
        names: ["full", "random"].map(String::from).to_vec(),
        arms: arms(),
        absent: Vec::new(),
        budgets: vec![Budget::rate(1, 9)],
        truth: None,
        run: RunSettings {
            protocols: protocol.into(),
            max_new_tokens: Some(2),
            fingerprint: "one".into(),
            ..RunSettings::default()
        },
        seed: 5,
        resamples: Some(20),
        given: Vec::new(),
    }
}

#[test]
fn an_interrupted_comparison_ends_with_the_same_records_and_report() {
    let setup = Setup::new();
    let model = setup.model();
    let comparison = comparison(&setup, &model);
    let (whole, broken) = (setup.at("whole.jsonl"), setup.at("broken.jsonl"));
    let answers = comparison.answer(&whole, &()).unwrap();
    // One record for each of full, seed 3 and seed 4, and the question.
    assert_eq!(answers.records.len(), 3 * comparison.questions.len());
    let bytes = fs::read(&whole).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let resumed = comparison.answer(&broken, &()).unwrap();
    assert!(fs::read(&broken).unwrap() == bytes);
    let heading = Heading {
        records: "whole.jsonl".into(),
        config: serde_json::json!({"mine": 1, "model": "not this"}),
        ..Heading::default()
    };
    let report = comparison.report(&answers.records, &heading).unwrap();
    assert_eq!(report, comparison.report(&resumed.records, &heading).unwrap());
    let config = &report.meta.config;
    assert_eq!(
        (&config["mine"], &config["records"]),
        (&1.into(), &"whole.jsonl".into())
    );
    assert_eq!(config["model"], "model");
    assert_eq!(config["report"]["bootstrap"]["seed"], 5);
    assert_eq!(config["report"]["bootstrap"]["resamples"], 20);
    assert!(
        report
            .row(TableId::Main, "full", "all", &Metric::Average)
            .is_some()
    );
    assert!(
        report
            .row(TableId::Main, "random", "1/9", &Metric::Average)
            .is_some()
    );
    // A complete record file leaves nothing to answer, and so nothing to time.
    let idle = comparison.answer(&whole, &()).unwrap();
    assert!(comparison.timing(&idle).arms.is_empty() && !comparison.timing(&answers).arms.is_empty());
}

#[test]
fn records_of_another_run_are_refused_and_stay() {
    let setup = Setup::new();
    let model = setup.model();
    let mut comparison = comparison(&setup, &model);
    comparison.questions.truncate(2);
    let path = setup.at("records.jsonl");
    comparison.answer(&path, &()).unwrap();
    let before = fs::read(&path).unwrap();
    comparison.run.fingerprint = "two".into();
    let Err(LabError::Eval(error)) = comparison.answer(&path, &()) else {
        panic!("records of run `one` were taken for those of run `two`");
    };
    assert!(
        matches!(*error, EvalError::OtherRun { ref found, ref wanted, .. } if found == "one" && wanted == "two"),
        "{error}"
    );
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn copies_share_the_questions_and_change_no_record() {
    let setup = Setup::new();
    let model = setup.model();
    let mut comparison = comparison(&setup, &model);
    let (alone, shared) = (setup.at("alone.jsonl"), setup.at("shared.jsonl"));
    comparison.answer(&alone, &()).unwrap();
    comparison.copies.push(Replica {
        vlm: setup.model().vlm,
        arms: arms(),
    });
    let answers = comparison.answer(&shared, &()).unwrap();
    assert!(fs::read(&alone).unwrap() == fs::read(&shared).unwrap());
    assert_eq!(comparison.timing(&answers).workers, 2);
}
