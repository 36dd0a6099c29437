//! Hidden answers, ImageNet, captions and manifests.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use diffprune_eval::{
    Benchmark, Difference, EvalError, ImageNet, Manifest, Protocol, Question, ReadOptions, Reference, Split,
    answer_files, read_captions,
};
use serde_json::Value;

use super::{Copy, copy_tree, stored};

#[test]
fn hidden_answers_score_nothing() {
    let options = ReadOptions::default().with_split(Split::Upload);
    for benchmark in [Benchmark::VqaV2, Benchmark::VizWiz] {
        let questions = benchmark.read(&stored(benchmark), &options).unwrap();
        assert!(!questions.is_empty());
        for question in questions {
            assert_eq!(question.reference, Reference::Hidden);
            assert_eq!(question.score("yes", Protocol::Llava), 0.0);
        }
    }
}

#[test]
fn imagenet_goes_on_without_bad_lines() {
    let folder = tempfile::tempdir().unwrap();
    let from = stored(Benchmark::Gqa).parent().unwrap().join("imagenet");
    copy_tree(&from, folder.path());
    fs::remove_dir_all(folder.path().join("val")).unwrap();
    let list = folder.path().join("LOC_val_solution.csv");
    let text = fs::read_to_string(&list).unwrap();
    let n_lines = text.lines().count() - 1;
    fs::write(&list, text.replacen("n01440764", "n99999999", 1)).unwrap();
    let error = ImageNet::read(folder.path(), true).unwrap_err().to_string();
    assert!(
        error.contains("LOC_val_solution.csv:3: found class `n99999999`"),
        "{error}"
    );
    let data = ImageNet::read(folder.path(), false).unwrap();
    assert_eq!((data.samples.len(), data.problems.len()), (n_lines - 1, 1));
}

#[test]
fn captions_are_read_from_both_lists() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let picture = stored(Benchmark::Gqa).join("data/images/n100001.jpg");
    fs::create_dir(root.join("images")).unwrap();
    fs::copy(&picture, root.join("images/a.jpg")).unwrap();
    fs::write(
        root.join("captions.tsv"),
        "images/a.jpg\ta red cross\r\nimages/a.jpg\t\nimages/b.jpg\ta disc\nno tab\n",
    )
    .unwrap();
    let found = read_captions(root, false).unwrap();
    assert_eq!(found.captions.len(), 1);
    assert_eq!(found.captions[0].caption, "a red cross");
    let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    for (problem, named) in problems
        .iter()
        .zip([":2: found an empty", ":3: image", ":4: found no tab"])
    {
        assert!(problem.contains(named), "{problem}");
    }
    assert_eq!(problems.len(), 3);
    fs::write(
        root.join("captions.jsonl"),
        "{\"image\": \"images/a.jpg\", \"caption\": \"a disc\", \"other\": 1}\n\n",
    )
    .unwrap();
    let found = read_captions(root, true).unwrap();
    assert_eq!(found.captions[0].caption, "a disc", "lines of JSON are preferred");
}

#[test]
fn a_manifest_says_what_is_missing_or_differs() {
    let copy = Copy::new(Benchmark::Pope);
    let root = copy.folder.path();
    let manifest = Manifest::of(root).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("pope.json");
    manifest.write(&file).unwrap();
    let manifest = Manifest::read(&file).unwrap();
    assert!(
        manifest
            .files
            .iter()
            .any(|file| file.path == "coco/coco_pope_random.json")
    );
    assert_eq!(manifest.check(root, true).unwrap(), []);
    fs::remove_file(copy.path("llava_pope_test.jsonl")).unwrap();
    fs::write(copy.path("new"), "").unwrap();
    copy.change("coco/coco_pope_random.json", |text| text + "\n");
    copy.change("coco/coco_pope_popular.json", |text| {
        text.replacen("yes", "no ", 1)
    });
    let content = |difference: &Difference| matches!(difference, Difference::Content { path, .. } if path == "coco/coco_pope_popular.json");
    let all = manifest.check(root, true).unwrap();
    assert_eq!(all.iter().filter(|difference| content(difference)).count(), 1);
    let text: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 4, "{text:?}");
    assert!(text.iter().any(|line| line == "llava_pope_test.jsonl: missing"));
    assert!(text.iter().any(|line| line == "new: not in the manifest"));
    assert!(
        text.iter()
            .any(|line| line.starts_with("coco/coco_pope_random.json: found") && line.contains("bytes"))
    );
    assert!(!manifest.check(root, false).unwrap().iter().any(content));
    fs::write(&file, "{\"files\": 3}").unwrap();
    assert!(matches!(
        Manifest::read(&file),
        Err(EvalError::Line { line: 1, .. })
    ));
}

#[test]
fn parquet_copies_are_told_from_a_missing_benchmark() {
    let folder = tempfile::tempdir().unwrap();
    for benchmark in Benchmark::ALL {
        let root = folder.path().join(benchmark.name());
        fs::create_dir_all(root.join("data")).unwrap();
        let options = ReadOptions::default();
        let error = benchmark.read(&root, &options).unwrap_err();
        assert!(matches!(error, EvalError::NoFiles { .. }), "{benchmark}: {error}");
        let copy = root.join("data").join("test-00000-of-00001.parquet");
        fs::write(&copy, b"PAR1").unwrap();
        let strict = benchmark.read(&root, &options).unwrap_err();
        let lenient = benchmark.load(&root, &options).unwrap_err();
        for error in [strict, lenient] {
            let told = error.to_string();
            assert!(
                matches!(&error, EvalError::ParquetCopies { file, .. } if *file == copy),
                "{told}"
            );
            assert!(
                told.contains(&format!("diffprune unpack {} --from", benchmark.name())),
                "{told}"
            );
        }
    }
}

#[test]
fn textvqa_is_read_without_ocr_tokens_whatever_files_are_there() {
    let with = Benchmark::TextVqa.read(&stored(Benchmark::TextVqa), &ReadOptions::default());
    let without = ReadOptions::default().with_ocr(false);
    let without = Benchmark::TextVqa
        .read(&stored(Benchmark::TextVqa), &without)
        .unwrap();
    let mut with = with.unwrap();
    assert!(
        with.iter()
            .all(|question| question.text.contains("Reference OCR token:"))
    );
    assert!(without.iter().all(|question| !question.text.contains("OCR")));
    // The same questions; the file with OCR tokens has an order of its own.
    let ids = |questions: &[Question]| {
        let mut ids: Vec<String> = questions.iter().map(|question| question.id.clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&with), ids(&without));
    with.truncate(1);
    let same = without.iter().find(|question| question.id == with[0].id).unwrap();
    assert_eq!(
        (&same.reference, same.image_name()),
        (&with[0].reference, with[0].image_name())
    );
}

/// The lines of every answer file below a folder.
fn llava_answers(root: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    let mut folders = vec![root.join("answers")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "jsonl") {
                let text = fs::read_to_string(path).unwrap();
                lines.extend(
                    text.lines()
                        .map(|line| serde_json::from_str::<Value>(line).unwrap()),
                );
            }
        }
    }
    lines
}

#[test]
fn the_table_for_a_server_has_the_options_of_hidden_questions() {
    let copy = Copy::new(Benchmark::MmBench);
    let data = tempfile::tempdir().unwrap();
    let root = data.path().join("mmbench");
    copy_tree(copy.folder.path(), &root);
    fs::rename(
        root.join("mmbench_dev_20230712.tsv"),
        root.join("mmbench_test_20230712.tsv"),
    )
    .unwrap();
    let options = ReadOptions::default().with_split(Split::Upload);
    let questions = Benchmark::MmBench.read(&root, &options).unwrap();
    assert!(
        questions
            .iter()
            .all(|question| question.reference == Reference::Hidden)
    );
    let answers = [((Benchmark::MmBench, questions[0].id.as_str()), "B")].into();
    let files = answer_files(data.path(), &questions, "m", &answers).unwrap();
    let (_, table) = files
        .iter()
        .find(|(name, _)| name.ends_with("upload.tsv"))
        .unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(
        rows[0].join(" "),
        "index question A B C D prediction answer split"
    );
    assert_eq!((rows.len(), rows[1][6]), (2, "B"));
    assert!(!rows[1][2].is_empty() && !rows[1][3].is_empty());
}

#[test]
fn answers_stand_in_the_files_of_official_programs() {
    for benchmark in Benchmark::ALL {
        let copy = Copy::new(benchmark);
        // The files look for the benchmark in a folder of its name.
        let data = tempfile::tempdir().unwrap();
        copy_tree(copy.folder.path(), &data.path().join(benchmark.name()));
        let questions = copy.read().unwrap();
        let said: Vec<String> = (0..questions.len()).map(|n| format!("Answer {n}")).collect();
        let keys = questions.iter().map(|question| (benchmark, question.id.as_str()));
        let answers = keys.zip(said.iter().map(String::as_str)).collect();
        let files = answer_files(data.path(), &questions, "m", &answers).unwrap();
        let file = |name: &str| {
            let path = format!("{benchmark}/{name}");
            let found = files.iter().find(|(file, _)| *file == path);
            found
                .unwrap_or_else(|| panic!("{path} is not among them"))
                .1
                .as_str()
        };
        let lines: Vec<Value> = file("answers.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), questions.len());
        // Ids as LLaVA's answer files have them.
        let ids: HashSet<String> = llava_answers(copy.folder.path())
            .iter()
            .map(|line| line["question_id"].to_string())
            .collect();
        let known = lines
            .iter()
            .filter(|line| ids.contains(&line["question_id"].to_string()));
        assert!(
            2 * known.count() > lines.len(),
            "{benchmark}: {} and {ids:?}",
            lines[0]["question_id"]
        );
        for (n, (line, question)) in lines.iter().zip(&questions).enumerate() {
            assert_eq!(
                (&line["text"], &line["prompt"]),
                (&said[n].clone().into(), &question.text.clone().into())
            );
        }
        match benchmark {
            Benchmark::Gqa => assert!(file("testdev_balanced_predictions.json").contains("\"answer 0\"")),
            Benchmark::VqaV2 | Benchmark::VizWiz => {
                let rows: Vec<Value> = serde_json::from_str(file("upload.json")).unwrap();
                assert_eq!(rows.len(), questions.len());
                assert_eq!(rows[0]["answer"], "answer 0");
            }
            Benchmark::SeedBench => assert_eq!(file("upload.jsonl").lines().count(), questions.len()),
            Benchmark::MmBench | Benchmark::MmBenchCn => {
                let rows: Vec<Vec<&str>> = file("upload.tsv")
                    .lines()
                    .map(|line| line.split('\t').collect())
                    .collect();
                assert_eq!(rows.len(), questions.len() + 1);
                assert!(rows.iter().all(|row| row.len() == 9));
                assert_eq!((rows[0][6], rows[1][0]), ("prediction", questions[0].id.as_str()));
                assert_eq!(rows[1][6], "Answer 0");
                assert!(
                    rows[1..]
                        .iter()
                        .all(|row| row[2..4].iter().all(|option| !option.is_empty()))
                );
                assert!(!rows[1][1].contains("Answer with"), "the bare question");
            }
            Benchmark::Mme => {
                let rows: usize = files
                    .iter()
                    .filter(|(name, _)| name.ends_with(".txt"))
                    .map(|(_, text)| text.lines().count())
                    .sum();
                assert_eq!(rows, questions.len());
            }
            _ => assert_eq!(files.len(), 1),
        }
    }
}
