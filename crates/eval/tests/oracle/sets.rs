//! Whole data sets in the official layouts: GQA, POPE and TextVQA.

use std::collections::HashMap;

use diffprune_eval::{
    Benchmark, Confusion, Protocol, Question, ReadOptions, Reference, gqa_predictions, pope_label, score,
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
    close(percent(&|_| true).0, &expected["headline"], "headline");
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
    let mut f1 = Vec::new();
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
    }
    close(
        100.0 * f1.iter().sum::<f64>() / f1.len() as f64,
        &expected["headline"],
        "headline",
    );
    assert_eq!(
        content(&read(Benchmark::Pope, without_llava(&root).path())),
        content(&questions)
    );
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
    let options = ReadOptions {
        ocr: false,
        ..ReadOptions::default()
    };
    let plain = Benchmark::TextVqa.read(bare.path(), &options).unwrap();
    assert!(plain.iter().all(|question| question.text.lines().count() == 2));
}
