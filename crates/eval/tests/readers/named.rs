//! The error of each damage: which file and line it names.

use std::fs;
use std::path::Path;

use diffprune_eval::{Benchmark, EvalError, ReadOptions};
use serde_json::Value;

use crate::{Copy, FILES};

/// The file that TextVQA's prompts take OCR tokens from where LLaVA's question file is absent.
const OCR_TOKENS: &str = "TextVQA_Rosetta_OCR_v0.2_val.json";

#[test]
fn truncated_files_are_errors_that_name_file_and_line() {
    let first = FILES.into_iter().take(3);
    for (benchmark, files) in first.chain([(Benchmark::TextVqa, [OCR_TOKENS].as_slice())]) {
        for file in files {
            for part in 1..20 {
                let copy = Copy::new(benchmark);
                if *file == OCR_TOKENS {
                    fs::remove_file(copy.path("llava_textvqa_val_v051_ocr.jsonl")).unwrap();
                }
                let cut = |text: String| {
                    text.chars()
                        .take(text.chars().count() * part / 20)
                        .collect::<String>()
                };
                copy.change(file, cut);
                let name = Path::new(file).file_name().unwrap().to_str().unwrap();
                match copy.read() {
                    Err(error) => {
                        let text = error.to_string();
                        let named = text.contains(&format!("{name}:"))
                            || matches!(error, EvalError::Unmatched { .. });
                        assert!(named, "{file} {part}/20: {text}");
                    }
                    Ok(questions) => {
                        let whole = file.ends_with(".jsonl") || file.contains("coco");
                        assert!(whole, "{file} {part}/20 gave {} questions", questions.len());
                    }
                }
            }
        }
    }
}

#[test]
fn missing_pictures_are_named() {
    for (benchmark, images) in [
        (Benchmark::Gqa, "data/images"),
        (Benchmark::Pope, "val2014"),
        (Benchmark::TextVqa, "train_images"),
    ] {
        let copy = Copy::new(benchmark);
        let first = fs::read_dir(copy.path(images))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let as_png = first.with_extension("png");
        fs::rename(&first, &as_png).unwrap();
        assert!(copy.read().is_ok(), "another ending will do");
        fs::remove_file(&as_png).unwrap();
        let error = copy.read().unwrap_err();
        assert!(
            matches!(error, EvalError::MissingImage { line: 1.., .. }),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains(first.file_stem().unwrap().to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn duplicate_ids_are_named() {
    for (benchmark, file) in [
        (Benchmark::Gqa, "llava_gqa_testdev_balanced.jsonl"),
        (Benchmark::Pope, "coco/coco_pope_random.json"),
    ] {
        let copy = Copy::new(benchmark);
        copy.change(file, |text| {
            let first = text.lines().next().unwrap().to_string();
            format!("{first}\n{text}")
        });
        if benchmark == Benchmark::Pope {
            fs::remove_file(copy.path("llava_pope_test.jsonl")).unwrap();
        }
        let error = copy.read().unwrap_err();
        assert!(
            matches!(
                error,
                EvalError::DuplicateId {
                    line: 2,
                    first: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
    let copy = Copy::new(Benchmark::TextVqa);
    copy.change("TextVQA_0.5.1_val.json", |text| {
        let mut document: Value = serde_json::from_str(&text).unwrap();
        document["data"][1]["question_id"] = document["data"][0]["question_id"].clone();
        serde_json::to_string_pretty(&document).unwrap()
    });
    assert!(matches!(copy.read(), Err(EvalError::DuplicateId { .. })));
}

#[test]
fn wrong_fields_are_named() {
    let copy = Copy::new(Benchmark::Pope);
    copy.change("coco/coco_pope_random.json", |text| {
        text.replacen("\"label\": \"no\"", "\"label\": \"maybe\"", 1)
    });
    assert!(copy.read().unwrap_err().to_string().contains("maybe"));
    let copy = Copy::new(Benchmark::Pope);
    copy.change("llava_pope_test.jsonl", |text| {
        text.replacen("\"text\"", "\"words\"", 1)
    });
    let error = copy.read().unwrap_err().to_string();
    assert!(
        error.contains("llava_pope_test.jsonl:1:") && error.contains("text"),
        "{error}"
    );
    let copy = Copy::new(Benchmark::Gqa);
    copy.change("llava_gqa_testdev_balanced.jsonl", |text| {
        let (first, rest) = text.split_once('\n').unwrap();
        let mut row: Value = serde_json::from_str(first).unwrap();
        row["question_id"] = "no such question".into();
        format!("{row}\n{rest}")
    });
    assert!(matches!(copy.read(), Err(EvalError::Unmatched { line: 1, .. })));
    let copy = Copy::new(Benchmark::TextVqa);
    copy.change("TextVQA_0.5.1_val.json", |text| {
        let mut document: Value = serde_json::from_str(&text).unwrap();
        document["data"][0]["answers"]
            .as_array_mut()
            .unwrap()
            .push("an eleventh".into());
        document.to_string()
    });
    assert!(copy.read().unwrap_err().to_string().contains("11 answers"));
    let empty = tempfile::tempdir().unwrap();
    for benchmark in Benchmark::ALL {
        let error = benchmark.read(empty.path(), &ReadOptions::default()).unwrap_err();
        assert!(matches!(error, EvalError::NoFiles { .. }), "{error}");
    }
}
