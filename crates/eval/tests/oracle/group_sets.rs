//! Whole data sets in the official layouts whose questions count in groups: MMBench and MME.

use std::collections::HashMap;
use std::fs;

use diffprune_eval::{
    Aggregate, Benchmark, InlineImage, MME_COGNITION, MME_PERCEPTION, Protocol, Question, mme_results,
};
use serde_json::Value;

use super::support::*;

pub fn mmbench(benchmark: Benchmark, name: &str, llava: &str, later: &str) -> f64 {
    let root = dataset(name);
    let expected = json(&format!("datasets/{name}/expected.json"));
    let questions = read(benchmark, &root);
    assert_eq!(questions.len() as u64, expected["rows"].as_u64().unwrap());
    let file = first_file(&root.join("answers").join(llava));
    let said = answers(&file);
    let prompts: HashMap<String, Value> = lines(&file).into_iter().map(|row| (id_of(&row), row)).collect();
    for question in &questions {
        // The stored prompt is without suffix.
        assert!(question.text.starts_with(text(&prompts[&question.id], "prompt")));
        assert!(question.inline.is_some() && question.load_image().unwrap().width() > 0);
    }
    for (protocol, key) in [
        (Protocol::LmmsEval, "circular_hit"),
        (Protocol::Llava, "circular_hit_vlmevalkit_exact_matching"),
    ] {
        let scores: Vec<f64> = questions
            .iter()
            .map(|q| q.score(&said[&q.id], protocol))
            .collect();
        for (group, hit) in expected[key].as_object().unwrap() {
            let of_group = scored(&questions, &scores).filter(|scored| scored.group == Some(group));
            close(Aggregate::Groups.of(of_group) / 100.0, hit, group);
        }
    }
    let scores: Vec<f64> = questions
        .iter()
        .map(|q| q.score(&said[&q.id], Protocol::Llava))
        .collect();
    for (question, score) in questions.iter().zip(&scores) {
        if question.group.as_ref() == Some(&question.id) {
            close(
                *score,
                &expected["vanilla_first_pass_hit"][question.id.as_str()],
                "base",
            );
        }
    }
    for (key, class) in [
        ("category", (|q| &q.kind) as fn(&Question) -> &String),
        ("l2_category", |q| &q.subset),
    ] {
        for (name, stored) in expected[key].as_object().unwrap() {
            let of_class = scored(&questions, &scores)
                .zip(&questions)
                .filter(|(_, question)| class(question) == name)
                .map(|(scored, _)| scored);
            close(Aggregate::Groups.of(of_class) / 100.0, stored, name);
        }
    }
    let plain = Aggregate::MeanScore.of(scored(&questions, &scores)) / 100.0;
    close(plain, &expected["plain_row_accuracy"], "rows");
    let headline = benchmark.aggregate().of(scored(&questions, &scores));
    must_be_close(headline, &expected["headline"], "headline");
    close(headline / 100.0, &expected["circular_accuracy"], "circular");
    let submitted: Vec<&String> = questions.iter().map(|q| &said[&q.id]).collect();
    assert_eq!(
        serde_json::to_value(submitted).unwrap(),
        expected["submission_predictions"]
    );
    // The later edition, in which rotations point to the picture of another row.
    let only = tempfile::tempdir().unwrap();
    fs::copy(root.join(later), only.path().join(later)).unwrap();
    let pointing = read(benchmark, only.path());
    assert_eq!(content(&pointing), content(&questions));
    let bytes = |questions: &[Question]| -> Vec<Option<InlineImage>> {
        questions.iter().map(|question| question.inline.clone()).collect()
    };
    assert_eq!(bytes(&pointing), bytes(&questions));
    headline
}

pub fn mme() -> f64 {
    let root = dataset("MME");
    let expected = json("datasets/MME/expected.json");
    let questions = read(Benchmark::Mme, &root);
    assert_eq!(questions.len() as u64, expected["samples"].as_u64().unwrap());
    let answers = stored_answers(&root);
    let mut scores = Vec::new();
    let mut said_to = HashMap::new();
    for (question, answer) in questions.iter().zip(&answers) {
        assert_eq!(question.text, text(answer, "prompt"));
        let said = text(answer, "text");
        scores.push(question.score(said, Protocol::Llava));
        said_to.insert(question.id.clone(), said.to_string());
    }
    let results = mme_results(&root, &said_to).unwrap();
    for (subtask, stored) in expected["subtask_scores"].as_object().unwrap() {
        let part = scored(&questions, &scores).filter(|scored| scored.subset == subtask);
        close(Aggregate::AccuracyPlus.of(part), stored, subtask);
        let file = root
            .join("expected_eval_tool_answers")
            .join(format!("{subtask}.txt"));
        assert_eq!(results[subtask.as_str()], fs::read_to_string(file).unwrap());
    }
    for (names, key) in [
        (MME_PERCEPTION.as_slice(), "perception"),
        (&MME_COGNITION, "cognition"),
    ] {
        let part = scored(&questions, &scores).filter(|scored| names.contains(&scored.subset));
        close(Aggregate::AccuracyPlus.of(part), &expected[key], key);
    }
    let headline = Benchmark::Mme.aggregate().of(scored(&questions, &scores));
    must_be_close(headline, &expected["headline"], "headline");
    let bare = read(Benchmark::Mme, without_llava(&root).path());
    assert_eq!(content(&bare), content(&questions));
    let ids = |questions: &[Question]| {
        let mut ids: Vec<String> = questions.iter().map(|q| q.id.clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&bare), ids(&questions));
    headline
}
