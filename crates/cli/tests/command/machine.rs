//! What programs read: JSON on standard output, and nothing else there; quiet where that is asked for.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bad_input::refuse;
use crate::{FEW_QUESTIONS, model, output, picture, succeed};

/// A small model and a picture.
fn setting(dir: &Path) -> (PathBuf, PathBuf) {
    let (checkpoint, photo) = (dir.join("model"), dir.join("photo.png"));
    model(&checkpoint, 32);
    picture(&photo);
    (checkpoint, photo)
}

/// The one line of JSON that a call prints.
fn json(line: &str, paths: &[&Path]) -> Value {
    let told = succeed(line, paths);
    assert_eq!(told.lines().count(), 1, "{told}");
    serde_json::from_str(&told).expect("JSON")
}

fn numbers(value: &Value) -> Vec<usize> {
    let list = value.as_array().expect("a list").iter();
    list.map(|number| number.as_u64().expect("a count") as usize)
        .collect()
}

#[test]
fn answers_and_choices_are_told_with_what_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo) = setting(dir.path());
    let png = dir.path().join("out.png");
    let options = "--json --pruner cls --keep 16";
    let ask = format!("ask colour? --model {{}} --image {{}} --max-new-tokens 2 {options}");
    let answer = json(&ask, &[&checkpoint, &photo]);
    assert_eq!((&answer["method"], &answer["kept"]), (&"cls".into(), &16.into()));
    assert!(answer["answer"].is_string() && answer["ms"]["prefill"].as_f64().is_some_and(|ms| ms >= 0.0));
    let show = format!("show --model {{}} --image {{}} --out {{}} {options}");
    let choice = json(&show, &[&checkpoint, &photo, &png]);
    let kept = numbers(&choice["indices"]);
    assert_eq!(numbers(&answer["images"][0]["indices"]), kept);
    assert!(kept.is_sorted() && kept.len() == 16);
    // The method keeps the tokens of the highest scores.
    let scores: Vec<f64> = choice["scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|score| score.as_f64().unwrap())
        .collect();
    assert_eq!(scores.len(), 144);
    let least = kept.iter().map(|&index| scores[index]).fold(f64::MAX, f64::min);
    assert_eq!(scores.iter().filter(|score| **score >= least).count(), 16);
    assert!(image::open(&png).is_ok());

    // Merged tokens are told apart, and drawn apart from the same tokens kept as they are.
    let show = "show --json --model {} --image {} --out {} --keep 16 --pruner ";
    let merged = json(&format!("{show}average-pool"), &[&checkpoint, &photo, &png]);
    assert_eq!(
        (&merged["merged"], &merged["scores"]),
        (&true.into(), &Value::Null)
    );
    let random = json(&format!("{show}random"), &[&checkpoint, &photo, &png]);
    assert_eq!((&random["merged"], &random["kept"]), (&false.into(), &16.into()));

    // Inside the language model another number of tokens enters each layer.
    let inside = "ask colour? --model {} --image {} --max-new-tokens 1 --json --pruner fastv --keep all";
    let inside = json(inside, &[&checkpoint, &photo]);
    assert_eq!(numbers(&inside["tokens_per_layer"]), [144], "one layer");
}

#[test]
fn data_and_comparisons_are_told_as_values() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, _) = setting(dir.path());
    let (world, out) = (dir.path().join("world"), dir.path().join("out"));
    succeed(
        &format!("mini data --out {{}} --images 1 --val-images 1 {FEW_QUESTIONS}"),
        &[&world],
    );
    let found = json("check {} --json", &[&world]);
    let names: Vec<&str> = found["benchmarks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["gqa", "pope", "textvqa"]);
    assert!(found["problems"].as_array().unwrap().is_empty() && found["differences"].is_null());
    succeed("check {} --write", &[&world]);
    std::fs::write(world.join("gqa/more.txt"), "").unwrap();
    let told = output("check {} --json", &[&world]);
    let found: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert_eq!(found["differences"].as_array().unwrap().len(), 1);

    let line = "eval --json -q --model {} --data {} --out {} --arms full,cls --budgets 16 --max-new-tokens 2 --pictures 0";
    let told = output(line, &[&checkpoint, &world, &out]);
    assert!(
        told.status.success() && told.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    let value: Value = serde_json::from_slice(&told.stdout).unwrap();
    let stored: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(value["report"], stored);
    assert!(value["timing"]["wall_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn measurements_are_told_as_values() {
    let bench = "bench --shape llava-1.5-7b --layers 1 --keep all,1/9 --runs 1 --warm-up 0 --text 8 --json";
    let told = json(bench, &[]);
    let kept: Vec<u64> = told["budgets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kept"].as_u64().unwrap())
        .collect();
    assert_eq!(kept, [576, 64]);
    assert!(told["budgets"][0]["timings"][0]["median_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn notes_are_left_out_or_added() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo) = setting(dir.path());
    let ask = |options: &str| {
        let line = format!("ask colour? --model {{}} --image {{}} --keep 1000 --max-new-tokens 1 {options}");
        let told = output(&line, &[&checkpoint, &photo]);
        assert!(told.status.success());
        String::from_utf8(told.stderr).unwrap()
    };
    assert_eq!(ask("-q"), "");
    let usual = ask("");
    assert!(
        usual.contains("keeps all of the 144 tokens") && !usual.contains("read as"),
        "{usual}"
    );
    assert!(ask("-v").contains("read as"));
    let both = output("ask what -q -v", &[]);
    assert_eq!(both.status.code(), Some(2), "a usage error");
}

#[test]
fn calls_without_sense_are_refused_with_what_would_do() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoint, photo) = setting(dir.path());
    let ask = "ask --model {} --image {}";
    let asks = |words: &[&str]| {
        let mut command = crate::diffprune(ask, &[&checkpoint, &photo]);
        let told = command.args(words).output().unwrap();
        assert!(!told.status.success(), "{words:?}");
        String::from_utf8(told.stderr).unwrap()
    };
    assert!(asks(&[" "]).contains("expected a text, found none"));
    for budget in ["-5", "0.11", "150%"] {
        let told = asks(&["what?", "--keep", budget]);
        assert!(
            told.contains("percentage of at most 100 (11%, not 0.11)") && told.contains(budget),
            "{told}"
        );
    }
    assert!(asks(&["what?", "--pruner", "diffprune"]).contains("diffprune:DIR"));
    assert!(asks(&["what?", "--pruner", "vision-zip"]).contains("`visionzip`"));
    refuse("eval --data d --out o --limit 0", &[], &["--limit", "at least 1"]);
    refuse(
        "bench --shape llava-1.5-7b --runs 0",
        &[],
        &["--runs", "at least 1"],
    );
}
