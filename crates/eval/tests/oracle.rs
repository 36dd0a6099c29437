//! Every stored case of the official scoring programs that concerns POPE, GQA and TextVQA.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use diffprune_eval::{
    Benchmark, CommaRule, Confusion, Protocol, Question, ReadOptions, Reference, SHORT_ANSWER,
    digits_and_articles, evalai_normalise, evalai_tokenise, gqa_correct, gqa_prediction, gqa_predictions,
    lmms_vqav2_accuracy, pope_label, pope_label_lmms, punctuation, retention, score, textvqa_accuracy,
    textvqa_text, vqa_clean, vqa_normalise, vqa_official_accuracy,
};
use diffprune_vlm::{PromptStyle, Turn, render_prompt};
use serde_json::Value;

fn root() -> PathBuf {
    let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    std::env::var_os("DIFFPRUNE_FIXTURES")
        .map_or_else(|| PathBuf::from(stored), PathBuf::from)
        .join("eval")
}

fn json(path: &str) -> Value {
    let path = root().join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(!rows.is_empty(), "{} holds no case", path.display());
    rows
}

fn rows(file: &str) -> Vec<Value> {
    lines(&root().join(file))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{key}` in {value}"))
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap().to_string())
        .collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

fn close(found: f64, wanted: &Value, what: &str) {
    let wanted = number(wanted);
    assert!(
        (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
        "{what}: found {found}, wanted {wanted}"
    );
}

/// As Python's `round(value, 2)`: the nearest two decimals of the exact binary value.
fn two_decimals(value: f64) -> f64 {
    format!("{value:.2}").parse().unwrap()
}

#[test]
fn answers_are_normalised_as_stored() {
    for row in rows("vqa_normalise.jsonl") {
        let input = text(&row, "input");
        let clean = vqa_clean(input);
        let after_punct = punctuation(&clean, CommaRule::One);
        assert_eq!(after_punct, text(&row, "vqa_after_punct"), "{row}");
        assert_eq!(
            digits_and_articles(&after_punct),
            text(&row, "vqa_final"),
            "{row}"
        );
        assert_eq!(vqa_normalise(input), text(&row, "vqa_final"), "{row}");
        let tokenised = evalai_tokenise(input);
        assert_eq!(tokenised, text(&row, "evalai_after_tokenise"), "{row}");
        let after_punct = punctuation(&vqa_clean(&tokenised), CommaRule::Several);
        assert_eq!(after_punct, text(&row, "evalai_after_punct"), "{row}");
        assert_eq!(evalai_normalise(input), text(&row, "evalai_final"), "{row}");
    }
}

#[test]
fn ten_annotators_score_as_stored() {
    let (mut official, mut lmms, mut textvqa) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_class: HashMap<(&str, String), Vec<f64>> = HashMap::new();
    for row in rows("vqa_score.jsonl") {
        let (prediction, answers) = (text(&row, "prediction"), texts(&row["answers"]));
        official.push(vqa_official_accuracy(prediction, &answers));
        lmms.push(lmms_vqav2_accuracy(prediction, &answers));
        textvqa.push(textvqa_accuracy(prediction, &answers));
        close(
            official[official.len() - 1],
            &row["vqa_official"]["accuracy"],
            &format!("official {row}"),
        );
        close(
            lmms[lmms.len() - 1],
            &row["lmms_vqav2_val"]["accuracy"],
            &format!("lmms {row}"),
        );
        close(
            textvqa[textvqa.len() - 1],
            &row["textvqa_vizwiz_evalai"]["accuracy"],
            &format!("textvqa {row}"),
        );
        let used = evalai_normalise(prediction);
        assert_eq!(
            used,
            text(&row["textvqa_vizwiz_evalai"], "prediction_used"),
            "{row}"
        );
        for class in ["question_type", "answer_type"] {
            by_class
                .entry((class, text(&row, class).into()))
                .or_default()
                .push(official[official.len() - 1]);
        }
    }
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    let expected = json("vqa_score_expected.json");
    close(
        two_decimals(100.0 * mean(&official)),
        &expected["vqa_official"]["overall"],
        "overall",
    );
    close(mean(&lmms), &expected["lmms_vqav2_val_mean"], "lmms mean");
    close(
        mean(&textvqa),
        &expected["textvqa_vizwiz_evalai_mean"],
        "textvqa mean",
    );
    for ((class, name), scores) in by_class {
        let key = if class == "question_type" {
            "perQuestionType"
        } else {
            "perAnswerType"
        };
        close(
            two_decimals(100.0 * mean(&scores)),
            &expected["vqa_official"][key][name.as_str()],
            &name,
        );
    }
}

#[test]
fn pope_answers_have_the_stored_label() {
    for row in rows("pope_parse.jsonl") {
        let answer = text(&row, "text");
        assert_eq!(pope_label(answer), text(&row, "llava_label") == "yes", "{row}");
        let lmms = match text(&row, "lmms_label") {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        };
        assert_eq!(pope_label_lmms(answer), lmms, "{row}");
    }
}

fn check_counts(counts: &Confusion, wanted: &Value, what: &str) {
    close(counts.true_positives, &wanted["TP"], what);
    close(counts.false_positives, &wanted["FP"], what);
    close(counts.true_negatives, &wanted["TN"], what);
    close(counts.false_negatives, &wanted["FN"], what);
    close(counts.accuracy(), &wanted["accuracy"], what);
    close(counts.precision(), &wanted["precision"], what);
    close(counts.recall(), &wanted["recall"], what);
    close(counts.f1(), &wanted["f1"], what);
    close(counts.yes_ratio(), &wanted["yes_ratio"], what);
}

/// lmms-eval: accuracy over all answers, the rest over answers that are a label, yes ratio of the labels.
fn check_lmms(answers: &[String], labels: &[bool], wanted: &Value, what: &str) {
    let said = || answers.iter().map(|answer| pope_label_lmms(answer)).zip(labels);
    let right = said().filter(|(said, label)| *said == Some(**label)).count();
    let counts = Confusion::count(said().filter_map(|(said, &label)| Some((said?, label))));
    let ratio = labels.iter().filter(|&&label| label).count() as f64 / labels.len() as f64;
    close(right as f64 / labels.len() as f64, &wanted["accuracy"], what);
    close(counts.precision(), &wanted["precision"], what);
    close(counts.recall(), &wanted["recall"], what);
    close(counts.f1(), &wanted["f1"], what);
    close(ratio, &wanted["yes_ratio"], what);
}

#[test]
fn pope_sets_have_the_stored_numbers() {
    let stored = json("pope_sets.json");
    let (mut f1, mut accuracy, mut all) = (Vec::new(), Vec::new(), (Vec::new(), Vec::new()));
    for set in stored["sets"].as_array().unwrap() {
        let name = text(set, "name");
        let answers = texts(&set["texts"]);
        let labels: Vec<bool> = texts(&set["labels"]).iter().map(|label| label == "yes").collect();
        let counts = Confusion::count(
            answers
                .iter()
                .map(|answer| pope_label(answer))
                .zip(labels.iter().copied()),
        );
        if set["llava"].get("error").is_some() {
            assert_eq!(counts.f1(), 0.0, "{name}: undefined is 0");
        } else {
            check_counts(&counts, &set["llava"], name);
        }
        check_lmms(&answers, &labels, &set["lmms"], name);
        if ["random", "popular", "adversarial"].contains(&name) {
            f1.push(counts.f1());
            accuracy.push(counts.accuracy());
            all.0.extend(answers);
            all.1.extend(labels);
        }
    }
    let headline = &stored["headline"];
    close(
        100.0 * f1.iter().sum::<f64>() / f1.len() as f64,
        &headline["mean_f1_over_splits_x100"],
        "mean f1",
    );
    let accuracy = 100.0 * accuracy.iter().sum::<f64>() / accuracy.len() as f64;
    close(
        accuracy,
        &headline["mean_accuracy_over_splits_x100"],
        "mean accuracy",
    );
    let pooled = Confusion::count(
        all.0
            .iter()
            .map(|answer| pope_label(answer))
            .zip(all.1.iter().copied()),
    );
    check_counts(&pooled, &headline["pooled_llava"], "pooled");
    check_lmms(&all.0, &all.1, &headline["pooled_lmms"], "pooled lmms");
}

#[test]
fn gqa_answers_match_as_stored() {
    for row in rows("gqa_score.jsonl") {
        let (prediction, answer) = (text(&row, "prediction"), text(&row, "answer"));
        assert_eq!(gqa_prediction(prediction), text(&row, "converted"), "{row}");
        let official = row["official_correct"].as_bool().unwrap();
        assert_eq!(
            gqa_correct(prediction, answer, Protocol::Llava),
            official,
            "{row}"
        );
        assert_eq!(
            gqa_correct(prediction, answer, Protocol::LmmsEval),
            row["lmms_correct"].as_bool().unwrap(),
            "{row}"
        );
        let reference = Reference::Exact(answer.into());
        assert_eq!(
            score(prediction, &reference, Protocol::Llava),
            f64::from(official),
            "{row}"
        );
    }
}

#[test]
fn prompts_are_the_stored_ones() {
    let mut n_checked = 0;
    for row in rows("prompts.jsonl") {
        let (bench, flavour, record) = (text(&row, "bench"), text(&row, "flavour"), &row["record"]);
        let question = match (bench, flavour) {
            ("gqa" | "pope" | "textvqa", "llava") => text(record, "text").to_string(),
            ("gqa" | "pope", _) => format!("{}{SHORT_ANSWER}", text(record, "question")),
            ("textvqa", "lmms-eval-ocr") => {
                textvqa_text(text(record, "question"), Some(&texts(&record["ocr_tokens"])))
            }
            ("textvqa", _) => textvqa_text(text(record, "question"), None),
            _ => continue,
        };
        n_checked += 1;
        assert_eq!(
            format!("<image>\n{question}"),
            text(&row, "user_message"),
            "{row}"
        );
        if let Some(prompt) = row["full_prompt"].as_str() {
            let rendered = render_prompt(PromptStyle::VicunaV1, None, &[Turn::ask(question)]).unwrap();
            assert_eq!(rendered, prompt, "{row}");
        }
    }
    assert!(n_checked > 0, "no prompt of these benchmarks");
}

#[test]
fn retention_is_the_stored_one() {
    for row in rows("retention.jsonl") {
        let upper = row["upper"].as_object().unwrap();
        let score = |name: &String| {
            row["scores"]
                .get(name)
                .and_then(Value::as_f64)
                .unwrap_or(f64::NAN)
        };
        let found = retention(upper.iter().map(|(name, upper)| (score(name), number(upper))));
        close(found, &row["retention_percent"], text(&row, "name"));
    }
}

fn dataset(name: &str) -> PathBuf {
    root().join("datasets").join(name)
}

/// The stored answers below `answers/`, in file order.
fn stored_answers(dataset: &Path) -> Vec<Value> {
    let mut folder = dataset.join("answers");
    loop {
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        let first = entries.into_iter().next().expect("answers are stored");
        if first.is_file() {
            return lines(&first);
        }
        folder = first;
    }
}

/// The same files without LLaVA's question file.
fn without_llava(dataset: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(dataset, copy.path());
    for entry in fs::read_dir(copy.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            fs::remove_file(path).unwrap();
        }
    }
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target)
        } else {
            fs::write(target, fs::read(path).unwrap()).unwrap()
        }
    }
}

fn id_of(answer: &Value) -> String {
    let id = &answer["question_id"];
    id.as_str().map_or_else(|| id.to_string(), str::to_string)
}

/// What a question is about, whatever its id.
fn content(questions: &[Question]) -> Vec<(String, PathBuf, String, Reference)> {
    let mut content: Vec<_> = questions
        .iter()
        .map(|q| {
            (
                q.subset.clone(),
                PathBuf::from(q.image_name()),
                q.text.clone(),
                q.reference.clone(),
            )
        })
        .collect();
    content.sort_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)));
    content
}

fn read(benchmark: Benchmark, root: &Path) -> Vec<Question> {
    benchmark
        .read(root, &ReadOptions::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

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
