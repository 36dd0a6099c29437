//! Whole data sets in the official layouts: ScienceQA, VQAv2, SEED-Bench and VizWiz.

use std::collections::HashMap;
use std::fs;

use diffprune_eval::{
    Aggregate, Benchmark, Protocol, Question, ReadOptions, Reference, Scored, Split, retention,
    scienceqa_letter, seed_upload, vizwiz_upload, vqa_official_accuracy, vqav2_upload, vqav2_upload_ids,
};
use serde_json::Value;

use super::group_sets::{mmbench, mme};
use super::support::*;

/// The place of the option that LLaVA's program takes an answer for; -1 for none.
fn index_of(question: &Question, answer: &str) -> i64 {
    let Reference::Letter { options, .. } = &question.reference else {
        panic!("a letter")
    };
    let letter = scienceqa_letter(answer);
    let place = options.iter().position(|option| Some(option.0) == letter);
    place.map_or(-1, |place| place as i64)
}

fn scienceqa() -> f64 {
    let root = dataset("scienceqa");
    let expected = json("datasets/scienceqa/expected.json");
    let all = ReadOptions::default().with_text_only(true);
    let questions = with(all.clone(), Benchmark::ScienceQa, &root);
    assert_eq!(questions.len() as u64, expected["total"].as_u64().unwrap());
    let stored = stored_answers(&root);
    let said: HashMap<String, &Value> = stored.iter().map(|row| (id_of(row), row)).collect();
    let answer = |question: &Question| text(said[&question.id], "text").to_string();
    for question in &questions {
        let tag = if question.has_image() { "<image>\n" } else { "" };
        assert_eq!(
            format!("{tag}{}", question.text),
            text(said[&question.id], "prompt")
        );
    }
    let score = |questions: &[Question], protocol| -> Vec<f64> {
        questions.iter().map(|q| q.score(&answer(q), protocol)).collect()
    };
    let percent = |questions: &[Question], protocol| {
        Aggregate::MeanScore.of(scored(questions, &score(questions, protocol)))
    };
    close(percent(&questions, Protocol::Llava), &expected["accuracy"], "all");
    let lmms = percent(&questions, Protocol::LmmsEval) / 100.0;
    close(lmms, &expected["lmms_full_exact_match"], "lmms");
    let pictured = read(Benchmark::ScienceQa, &root);
    assert_eq!(pictured.len() as u64, expected["img_total"].as_u64().unwrap());
    let lmms = percent(&pictured, Protocol::LmmsEval) / 100.0;
    close(lmms, &expected["lmms_img_exact_match"], "lmms img");
    let right: Vec<&String> = pictured
        .iter()
        .zip(score(&pictured, Protocol::Llava))
        .filter(|(_, score)| *score == 1.0)
        .map(|(question, _)| &question.id)
        .collect();
    assert_eq!(serde_json::to_value(right).unwrap(), expected["img_correct_ids"]);
    let headline = percent(&pictured, Protocol::Llava);
    must_be_close(headline, &expected["headline"], "headline");
    close(headline, &expected["img_accuracy"], "img");
    let indices: HashMap<&str, i64> = questions
        .iter()
        .map(|q| (q.id.as_str(), index_of(q, &answer(q))))
        .collect();
    assert_eq!(serde_json::to_value(indices).unwrap(), expected["pred_indices"]);
    let right: f64 = score(&questions, Protocol::Llava).iter().sum();
    close(right, &expected["correct"], "correct");
    let accuracy = percent(&questions, Protocol::Llava);
    let printed = format!(
        "Total: {}, Correct: {right}, Accuracy: {accuracy:.2}%, IMG-Accuracy: {headline:.2}%",
        questions.len()
    );
    assert_eq!(printed, text(&expected, "printed"));
    let bare = tempfile::tempdir().unwrap();
    copy_tree(&root, bare.path());
    fs::remove_file(bare.path().join("llava_test_CQM-A.json")).unwrap();
    assert_eq!(
        content(&with(all, Benchmark::ScienceQa, bare.path())),
        content(&questions)
    );
    headline
}

fn vqav2() -> f64 {
    let root = dataset("vqav2");
    let expected = json("datasets/vqav2/expected.json");
    let questions = read(Benchmark::VqaV2, &root);
    assert_eq!(questions.len() as u64, expected["samples"].as_u64().unwrap());
    let file = first_file(&root.join("answers/val2014"));
    let said = answers(&file);
    for row in lines(&file) {
        let question = questions.iter().find(|q| q.id == id_of(&row)).unwrap();
        assert_eq!(question.text, text(&row, "prompt"));
    }
    let raw: Vec<f64> = questions
        .iter()
        .map(|question| {
            let Reference::TenAnswers(answers) = &question.reference else {
                panic!("ten answers")
            };
            vqa_official_accuracy(&said[&question.id], answers)
        })
        .collect();
    let score = |protocol| -> Vec<f64> {
        questions
            .iter()
            .map(|q| q.score(&said[&q.id], protocol))
            .collect()
    };
    let processed = score(Protocol::Llava);
    for (scores, key) in [
        (&raw, "official_on_raw_text"),
        (&processed, "official_on_llava_processed_text"),
    ] {
        let stored = &expected[key];
        let percent = |keep: &dyn Fn(&Question) -> bool| {
            let kept = scored(&questions, scores)
                .zip(&questions)
                .filter(|(_, question)| keep(question));
            two_decimals(Aggregate::MeanScore.of(kept.map(|(scored, _)| scored)))
        };
        close(percent(&|_| true), &stored["overall"], "overall");
        for (kind, wanted) in stored["perQuestionType"].as_object().unwrap() {
            close(percent(&|q| q.kind == *kind), wanted, kind);
        }
        for (subset, wanted) in stored["perAnswerType"].as_object().unwrap() {
            close(percent(&|q| q.subset == *subset), wanted, subset);
        }
        for (id, wanted) in stored["per_question"].as_object().unwrap() {
            close(percent(&|q| q.id == *id), wanted, id);
        }
    }
    let lmms = Aggregate::MeanScore.of(scored(&questions, &score(Protocol::LmmsEval))) / 100.0;
    close(lmms, &expected["lmms_val_exact_match"], "lmms");
    let upload = ReadOptions::default().with_split(Split::Upload);
    let asked = with(upload, Benchmark::VqaV2, &root);
    let said = answers(&first_file(&root.join("answers/llava_vqav2_mscoco_test-dev2015")));
    assert_eq!(asked.len(), said.len());
    assert!(asked.iter().all(|q| q.reference == Reference::Hidden));
    let ids = vqav2_upload_ids(&root).unwrap();
    let pairs = asked.iter().map(|q| (q.id.as_str(), said[&q.id].as_str()));
    let file: Value = serde_json::from_str(&vqav2_upload(&ids, pairs)).unwrap();
    assert_eq!(
        file,
        json("datasets/vqav2/expected_answers_upload_test-dev2015.json")
    );
    let headline = Aggregate::MeanScore.of(scored(&questions, &processed));
    must_be_close(headline, &expected["headline"], "headline");
    headline
}

fn seed_bench() -> f64 {
    let root = dataset("seed_bench");
    let expected = json("datasets/seed_bench/expected.json");
    let questions = read(Benchmark::SeedBench, &root);
    let stored = stored_answers(&root);
    assert_eq!(questions.len(), stored.len());
    let said: HashMap<String, &Value> = stored.iter().map(|row| (id_of(row), row)).collect();
    let mut numbers = HashMap::new();
    for (protocol, key) in [(Protocol::Llava, "llava"), (Protocol::LmmsEval, "lmms")] {
        let scores: Vec<f64> = questions
            .iter()
            .map(|q| q.score(text(said[&q.id], "text"), protocol))
            .collect();
        let all = Aggregate::MeanScore.of(scored(&questions, &scores));
        close(all, &expected[key]["all"], key);
        for subset in ["image", "video"] {
            let part = scored(&questions, &scores).filter(|scored| scored.subset == subset);
            close(Aggregate::MeanScore.of(part), &expected[key][subset], subset);
        }
        for line in texts(&expected["printed"]) {
            let (name, percent) = line.split_once(": ").unwrap();
            let of_kind: Vec<Scored<'_>> = scored(&questions, &scores)
                .zip(&questions)
                .filter(|(_, question)| question.kind == name)
                .map(|(scored, _)| scored)
                .collect();
            if key == "llava" && !of_kind.is_empty() {
                assert_eq!(
                    format!("{:.2}%", Aggregate::MeanScore.of(of_kind)),
                    percent,
                    "{name}"
                );
            }
        }
        numbers.insert(key, all);
    }
    assert!(questions.iter().all(|q| q.text == text(said[&q.id], "prompt")));
    let pairs = questions
        .iter()
        .map(|q| (q.id.as_str(), text(said[&q.id], "text")));
    let upload: Vec<Value> = seed_upload(pairs)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(upload, lines(&root.join("expected_answers_upload.jsonl")));
    let images = ReadOptions::default().with_video(false);
    let bare = without_llava(&root);
    for root in [root.as_path(), bare.path()] {
        let images = with(images.clone(), Benchmark::SeedBench, root);
        assert!(images.iter().all(|question| question.subset == "image"));
        let scores: Vec<f64> = images
            .iter()
            .map(|q| q.score(text(said[&q.id], "text"), Protocol::LmmsEval))
            .collect();
        let found = Aggregate::MeanScore.of(scored(&images, &scores));
        close(found, &expected["headline_image_only"], "image only");
    }
    assert_eq!(
        content(&read(Benchmark::SeedBench, bare.path())),
        content(&questions)
    );
    must_be_close(numbers["lmms"], &expected["headline"], "headline");
    numbers["lmms"]
}

fn vizwiz() -> f64 {
    let root = dataset("vizwiz");
    let expected = json("datasets/vizwiz/expected.json");
    let questions = read(Benchmark::VizWiz, &root);
    assert_eq!(questions.len() as u64, expected["samples"].as_u64().unwrap());
    let stored = lines(&first_file(&root.join("answers/val")));
    let mut scores = Vec::new();
    for (question, answer) in questions.iter().zip(&stored) {
        assert_eq!(
            (question.id.as_str(), question.text.as_str()),
            (id_of(answer).as_str(), text(answer, "prompt"))
        );
        scores.push(question.score(text(answer, "text"), Protocol::Llava));
    }
    for (found, wanted) in scores.iter().zip(expected["per_question"].as_array().unwrap()) {
        close(*found, wanted, "question");
    }
    let upload = ReadOptions::default().with_split(Split::Upload);
    let asked = with(upload.clone(), Benchmark::VizWiz, &root);
    let file = first_file(&root.join("answers"));
    let rows = lines(&file);
    let pairs = asked.iter().zip(&rows).map(|(question, row)| {
        assert_eq!(question.text, text(row, "prompt"));
        (id_of(row), text(row, "text").to_string())
    });
    let pairs: Vec<(String, String)> = pairs.collect();
    let found = vizwiz_upload(
        pairs
            .iter()
            .map(|(image, answer)| (image.as_str(), answer.as_str())),
    );
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found, json("datasets/vizwiz/expected_answers_upload_test.json"));
    let bare = without_llava(&root);
    assert_eq!(
        content(&with(upload, Benchmark::VizWiz, bare.path())),
        content(&asked)
    );
    let headline = Aggregate::MeanScore.of(scored(&questions, &scores));
    must_be_close(headline, &expected["headline"], "headline");
    headline
}

#[test]
fn the_data_sets_score_as_stored() {
    let summary = json("datasets/expected_summary.json");
    type Largest = fn() -> f64;
    let sets: [(&str, Largest); 7] = [
        ("MMB", || {
            mmbench(
                Benchmark::MmBench,
                "mmbench",
                "mmbench_dev_20230712",
                "MMBench_DEV_EN.tsv",
            )
        }),
        ("MMB_CN", || {
            mmbench(
                Benchmark::MmBenchCn,
                "mmbench_cn",
                "mmbench_dev_cn_20231003",
                "MMBench_DEV_CN.tsv",
            )
        }),
        ("MME", mme),
        ("SQA", scienceqa),
        ("VQAv2", vqav2),
        ("SEED", seed_bench),
        ("VizWiz", vizwiz),
    ];
    each(sets.map(|set| (set.0.to_string(), set)), |(name, headline)| {
        must_be_close(headline(), &summary["headline"][name], name);
    });
    let headline = summary["headline"].as_object().unwrap();
    let upper = &summary["assumed_upper_bound"];
    let average = retention(
        headline
            .iter()
            .map(|(name, score)| (number(score), number(&upper[name.as_str()]))),
    );
    close(average, &summary["average_retention_percent"], "retention");
}
