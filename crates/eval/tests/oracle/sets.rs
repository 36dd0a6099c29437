//! Whole data sets in the official layouts: GQA, POPE and TextVQA.

use std::collections::HashMap;
use std::path::Path;

use diffprune_eval::{
    Benchmark, Confusion, GqaShare, Meta, Metric, Protocol, Question, ReadOptions, Record, Reference, Report,
    ReportOptions, TableId, gqa_details, gqa_predictions, pope_label, score,
};
use serde_json::Value;

use super::answers::check_counts;
use super::support::*;

#[test]
fn the_gqa_data_set_scores_as_stored() {
    let root = dataset("gqa");
    let expected = json("datasets/gqa/expected.json");
    let questions = read(Benchmark::Gqa, &root);
    assert_eq!(questions.len() as u64, expected["samples"].as_u64().unwrap());
    let answers: HashMap<String, Value> = stored_answers(&root)
        .into_iter()
        .map(|row| (id_of(&row), row))
        .collect();
    let answer = |question: &Question| text(&answers[&question.id], "text").to_string();
    for question in &questions {
        assert_eq!(question.text, text(&answers[&question.id], "prompt"));
        assert!(question.image.is_file());
    }
    let scores: Vec<f64> = questions
        .iter()
        .map(|q| score(&answer(q), &q.reference, Protocol::Llava))
        .collect();
    let correct: Vec<bool> = scores.iter().map(|&score| score == 1.0).collect();
    assert_eq!(serde_json::to_value(&correct).unwrap(), expected["correct"]);
    let percent = |keep: &dyn Fn(&Question) -> bool| {
        let kept: Vec<f64> = questions
            .iter()
            .zip(&scores)
            .filter(|(q, _)| keep(q))
            .map(|(_, &s)| s)
            .collect();
        (100.0 * kept.iter().sum::<f64>() / kept.len() as f64, kept.len())
    };
    must_be_close(percent(&|_| true).0, &expected["headline"], "headline");
    let printed = &expected["official_printed_2_decimals"];
    close(
        two_decimals(percent(&|q| q.subset == "query").0),
        &printed["Open"],
        "open",
    );
    close(
        two_decimals(percent(&|q| q.subset != "query").0),
        &printed["Binary"],
        "binary",
    );
    for subset in questions.iter().map(|q| q.subset.clone()) {
        let (found, count) = percent(&|q| q.subset == subset);
        let stored = &expected["official_detail_tables"][subset.as_str()];
        close(two_decimals(found), &stored["percent"], &subset);
        assert_eq!(count as u64, stored["questions"].as_u64().unwrap());
    }
    details(
        &root,
        &expected,
        questions.iter().map(|q| (q.id.clone(), answer(q))),
    );
    let lmms: f64 = questions
        .iter()
        .map(|q| score(&answer(q), &q.reference, Protocol::LmmsEval))
        .sum();
    close(
        lmms / questions.len() as f64,
        &expected["lmms_exact_match"],
        "lmms",
    );
    let said: Vec<(String, String)> = questions.iter().map(|q| (q.id.clone(), answer(q))).collect();
    let file = gqa_predictions(said.iter().map(|(id, answer)| (id.as_str(), answer.as_str())));
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(
        file,
        json("datasets/gqa/expected_testdev_balanced_predictions.json")
    );
    assert_eq!(
        content(&read(Benchmark::Gqa, without_llava(&root).path())),
        content(&questions)
    );
}

/// The tables that GQA's program prints: by types, steps and words, and the distribution.
fn details(root: &Path, expected: &Value, said: impl Iterator<Item = (String, String)>) {
    let mut said: HashMap<String, String> = said.collect();
    let found = gqa_details(root, &said).unwrap();
    let printed = &expected["official_printed_2_decimals"];
    close(
        two_decimals(found.distribution),
        &printed["Distribution"],
        "distribution",
    );
    let by_name = found.structural.into_iter().chain(found.semantic);
    let by_number = found.steps.into_iter().chain(found.words);
    let mut tables: HashMap<String, GqaShare> = by_name.collect();
    for (number, share) in by_number {
        assert!(tables.insert(number.to_string(), share).is_none(), "{number}");
    }
    let stored = expected["official_detail_tables"].as_object().unwrap();
    assert_eq!(tables.len(), stored.len(), "{tables:?}");
    for (name, stored) in stored {
        close(two_decimals(tables[name].percent), &stored["percent"], name);
        assert_eq!(
            tables[name].questions as u64,
            stored["questions"].as_u64().unwrap(),
            "{name}"
        );
    }
    let id = said.keys().next().unwrap().clone();
    said.remove(&id);
    let error = gqa_details(root, &said).unwrap_err().to_string();
    assert!(error.contains(&id) && error.contains("no answer"), "{error}");
}

#[test]
fn the_pope_data_set_scores_as_stored() {
    let root = dataset("pope");
    let expected = json("datasets/pope/expected.json");
    let questions = read(Benchmark::Pope, &root);
    assert_eq!(questions.len() as u64, expected["samples"].as_u64().unwrap());
    let answers: HashMap<String, Value> = stored_answers(&root)
        .into_iter()
        .map(|row| (id_of(&row), row))
        .collect();
    let (mut f1, mut accuracy) = (Vec::new(), Vec::new());
    for (split, stored) in expected["official"].as_object().unwrap() {
        let of_split: Vec<&Question> = questions
            .iter()
            .filter(|question| question.subset == *split)
            .collect();
        assert_eq!(of_split.len() as u64, stored["samples"].as_u64().unwrap());
        let pair = |question: &&Question| {
            let Reference::YesNo(label) = question.reference else {
                panic!("yes or no")
            };
            let answer = text(&answers[&question.id], "text");
            let predicted = pope_label(answer);
            assert_eq!(
                score(answer, &question.reference, Protocol::Llava),
                f64::from(predicted == label)
            );
            (predicted, label)
        };
        let counts = Confusion::count(of_split.iter().map(pair));
        check_counts(&counts, stored, split);
        f1.push(counts.f1());
        accuracy.push(counts.accuracy());
    }
    let mean = |values: &[f64]| 100.0 * values.iter().sum::<f64>() / values.len() as f64;
    must_be_close(mean(&f1), &expected["headline"], "headline");
    close(mean(&f1), &expected["mean_f1_x100"], "mean f1");
    close(mean(&accuracy), &expected["mean_accuracy_x100"], "mean accuracy");
    in_the_report(&questions, &answers, &expected);
    assert_eq!(
        content(&read(Benchmark::Pope, without_llava(&root).path())),
        content(&questions)
    );
}

/// The same numbers by name in a report about an arm that gave these answers.
fn in_the_report(questions: &[Question], answers: &HashMap<String, Value>, expected: &Value) {
    let record = |question: &Question| {
        let answer = text(&answers[&question.id], "text");
        Record {
            said: Some(Some(pope_label(answer)).into()),
            ..record_of(question, answer, Protocol::Llava)
        }
    };
    let records: Vec<Record> = questions.iter().map(record).collect();
    let report = Report::from_records(&records, Meta::default(), &ReportOptions::default()).unwrap();
    let value = |table, metric: &Metric| report.row(table, "full", "all", metric).unwrap().value;
    let secondary = |name: &str| {
        value(
            TableId::Secondary,
            &Metric::Secondary(Benchmark::Pope, name.into()),
        )
    };
    close(
        value(TableId::Benchmarks, &Metric::Benchmark(Benchmark::Pope)),
        &expected["mean_f1_x100"],
        "F1",
    );
    close(secondary("accuracy"), &expected["mean_accuracy_x100"], "accuracy");
    let official = expected["official"].as_object().unwrap();
    for (metric, key) in [
        ("precision", "precision"),
        ("recall", "recall"),
        ("yes ratio", "yes_ratio"),
    ] {
        let mean = official.values().map(|split| number(&split[key])).sum::<f64>() / official.len() as f64;
        close(secondary(metric), &(100.0 * mean).into(), metric);
    }
}

#[test]
fn the_textvqa_data_set_scores_as_stored() {
    let root = dataset("textvqa");
    let expected = json("datasets/textvqa/expected.json");
    let questions = read(Benchmark::TextVqa, &root);
    let answers = stored_answers(&root);
    assert_eq!(questions.len(), answers.len());
    let mut scores = Vec::new();
    for (question, answer) in questions.iter().zip(&answers) {
        assert_eq!(question.text, text(answer, "prompt"));
        scores.push(score(text(answer, "text"), &question.reference, Protocol::Llava));
    }
    for (found, wanted) in scores.iter().zip(expected["per_question"].as_array().unwrap()) {
        close(*found, wanted, "question");
    }
    close(
        100.0 * scores.iter().sum::<f64>() / scores.len() as f64,
        &expected["headline"],
        "headline",
    );
    let bare = without_llava(&root);
    assert_eq!(
        content(&read(Benchmark::TextVqa, bare.path())),
        content(&questions)
    );
    let options = ReadOptions::default().with_ocr(false);
    let plain = Benchmark::TextVqa.read(bare.path(), &options).unwrap();
    assert!(plain.iter().all(|question| question.text.lines().count() == 2));
}
