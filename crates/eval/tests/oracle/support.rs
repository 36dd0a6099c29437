//! The stored cases, and how they are compared.

use std::collections::HashMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use diffprune_eval::{Benchmark, Protocol, Question, ReadOptions, Record, Reference, Scored};
use diffprune_test_support::fixtures;
use serde_json::Value;

pub use diffprune_test_support::copy_tree;

pub fn root() -> PathBuf {
    fixtures().join("eval")
}

pub fn json(path: &str) -> Value {
    let path = root().join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(!rows.is_empty(), "{} holds no case", path.display());
    rows
}

pub fn rows(file: &str) -> Vec<Value> {
    lines(&root().join(file))
}

/// Runs a check on every case, and fails with the list of all that fail.
pub fn each<T>(cases: impl IntoIterator<Item = (String, T)>, mut check: impl FnMut(T)) {
    let mut n_cases = 0;
    let mut failures = Vec::new();
    for (name, case) in cases {
        n_cases += 1;
        let checked = catch_unwind(AssertUnwindSafe(|| check(case)));
        if let Err(panic) = checked {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            failures.push(format!("{name}: {}", message.unwrap_or("a panic")));
        }
    }
    assert!(n_cases > 0, "no case");
    assert!(
        failures.is_empty(),
        "{} of {n_cases} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Runs a check on every row of a file, and fails with the list of all rows that fail.
pub fn each_row(file: &str, mut check: impl FnMut(&Value)) {
    let rows = rows(file).into_iter().zip(1..);
    each(rows.map(|(row, line)| (format!("{file}:{line}"), row)), |row| {
        check(&row)
    });
}

pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{key}` in {value}"))
}

pub fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap().to_string())
        .collect()
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Compares with an output that a case may lack; one that is absent is named.
pub fn close(found: f64, wanted: &Value, what: &str) {
    if wanted.is_null() {
        eprintln!("{what}: absent from the case");
    } else {
        must_be_close(found, wanted, what);
    }
}

/// Compares with an output that every case has.
pub fn must_be_close(found: f64, wanted: &Value, what: &str) {
    let wanted = number(wanted);
    assert!(
        (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
        "{what}: found {found}, expected {wanted}"
    );
}

/// As Python's `round(value, 2)`: the nearest two decimals of the exact binary value.
pub fn two_decimals(value: f64) -> f64 {
    format!("{value:.2}").parse().unwrap()
}

pub fn dataset(name: &str) -> PathBuf {
    root().join("datasets").join(name)
}

/// The first file below a folder by name: files before folders.
pub fn first_file(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_by_key(|path| (path.is_dir(), path.clone()));
    let first = paths.into_iter().next();
    let first = first.unwrap_or_else(|| panic!("{} is empty", folder.display()));
    if first.is_dir() { first_file(&first) } else { first }
}

/// The stored answers below `answers/`, in file order.
pub fn stored_answers(dataset: &Path) -> Vec<Value> {
    lines(&first_file(&dataset.join("answers")))
}

/// The same files without LLaVA's question file.
pub fn without_llava(dataset: &Path) -> tempfile::TempDir {
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

pub fn id_of(answer: &Value) -> String {
    let id = &answer["question_id"];
    id.as_str().map_or_else(|| id.to_string(), str::to_string)
}

/// The content of a question, whatever its id.
pub fn content(questions: &[Question]) -> Vec<(String, PathBuf, String, Reference)> {
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

pub fn read(benchmark: Benchmark, root: &Path) -> Vec<Question> {
    benchmark
        .read(root, &ReadOptions::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The stored answers of one file, by id.
pub fn answers(file: &Path) -> HashMap<String, String> {
    lines(file)
        .iter()
        .map(|row| (id_of(row), text(row, "text").to_string()))
        .collect()
}

pub fn scored<'a>(questions: &'a [Question], scores: &'a [f64]) -> impl Iterator<Item = Scored<'a>> {
    questions.iter().zip(scores).map(|(question, &score)| Scored {
        subset: &question.subset,
        group: question.group.as_deref(),
        score,
        label: question.label(),
        said: None,
    })
}

/// The record of an unpruned model that gave this answer.
pub fn record_of(question: &Question, answer: &str, protocol: Protocol) -> Record {
    Record {
        arm: "full".into(),
        budget: "all".into(),
        seed: 0,
        question: question.id.clone(),
        benchmark: question.benchmark,
        subset: question.subset.clone(),
        kind: question.kind.clone(),
        group: question.group.clone(),
        image: question.image_name(),
        kept: 576,
        total: 576,
        answer: answer.into(),
        score: question.score(answer, protocol),
        label: question.label(),
        said: None,
        options: None,
        lmms: None,
        layers: None,
        probability: None,
    }
}

pub fn with(read: ReadOptions, benchmark: Benchmark, root: &Path) -> Vec<Question> {
    benchmark
        .read(root, &read)
        .unwrap_or_else(|error| panic!("{error}"))
}
