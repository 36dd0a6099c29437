//! Readers on damaged files: typed errors that name file and line, and runs that go on without the bad sample.

use std::fs;
use std::path::{Path, PathBuf};

use diffprune_eval::{
    Benchmark, EvalError, ImageNet, LoadedQuestions, Question, ReadOptions, Split, read_captions,
};
use diffprune_test_support::{copy_tree, fixtures};
use serde_json::Value;

mod fuzz;
mod named;
mod others;

/// The stored data set of a benchmark.
fn stored(benchmark: Benchmark) -> PathBuf {
    let folder = match benchmark {
        Benchmark::Mme => "MME",
        other => other.name(),
    };
    fixtures().join("eval/datasets").join(folder)
}

/// A benchmark copied to a folder of its own.
struct Copy {
    benchmark: Benchmark,
    folder: tempfile::TempDir,
}

impl Copy {
    fn new(benchmark: Benchmark) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&stored(benchmark), folder.path());
        Self { benchmark, folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn change(&self, file: &str, change: impl Fn(String) -> String) {
        let path = self.path(file);
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    }

    fn read(&self) -> Result<Vec<Question>, EvalError> {
        self.benchmark.read(self.folder.path(), &ReadOptions::default())
    }

    fn load(&self) -> LoadedQuestions {
        self.benchmark
            .load(self.folder.path(), &ReadOptions::default())
            .unwrap()
    }

    /// The strict reader gives an error that names this; the other leaves `n_lost` questions out and says the same.
    fn loses(&self, n_lost: usize, named: &[&str]) -> EvalError {
        let whole = self
            .benchmark
            .read(&stored(self.benchmark), &ReadOptions::default())
            .unwrap();
        let error = self.read().unwrap_err();
        let text = error.to_string();
        let LoadedQuestions { questions, problems } = self.load();
        assert_eq!(
            questions.len() + n_lost,
            whole.len(),
            "{}: {text}: {problems:?}",
            self.benchmark
        );
        assert!(
            questions
                .iter()
                .all(|question| whole.iter().any(|other| other.id == question.id))
        );
        assert_eq!(problems[0].to_string(), text);
        for name in named {
            assert!(text.contains(name), "`{text}` does not name `{name}`");
        }
        error
    }
}

/// The text files that each reader reads.
const FILES: [(Benchmark, &[&str]); 10] = [
    (
        Benchmark::Gqa,
        &[
            "llava_gqa_testdev_balanced.jsonl",
            "data/questions1.2/testdev_balanced_questions.json",
        ],
    ),
    (
        Benchmark::Pope,
        &["llava_pope_test.jsonl", "coco/coco_pope_popular.json"],
    ),
    (
        Benchmark::TextVqa,
        &["llava_textvqa_val_v051_ocr.jsonl", "TextVQA_0.5.1_val.json"],
    ),
    (Benchmark::MmBench, &["mmbench_dev_20230712.tsv"]),
    (Benchmark::MmBenchCn, &["mmbench_dev_cn_20231003.tsv"]),
    (
        Benchmark::Mme,
        &["llava_mme.jsonl", "MME_Benchmark_release_version/count/0100.txt"],
    ),
    (Benchmark::ScienceQa, &["llava_test_CQM-A.json", "problems.json"]),
    (
        Benchmark::VqaV2,
        &[
            "v2_OpenEnded_mscoco_val2014_questions.json",
            "v2_mscoco_val2014_annotations.json",
        ],
    ),
    (
        Benchmark::SeedBench,
        &["llava-seed-bench.jsonl", "SEED-Bench.json"],
    ),
    (Benchmark::VizWiz, &["Annotations/val.json"]),
];

fn texts(questions: &[Question]) -> Vec<String> {
    questions
        .iter()
        .map(|question| format!("{} {} {:?}", question.id, question.text, question.reference))
        .collect()
}

#[test]
fn byte_order_marks_and_carriage_returns_change_nothing() {
    for (benchmark, files) in FILES {
        let copy = Copy::new(benchmark);
        let before = texts(&copy.read().unwrap());
        for file in files {
            copy.change(file, |text| format!("\u{feff}{}", text.replace('\n', "\r\n")));
        }
        let after: Vec<String> = texts(&copy.read().unwrap())
            .iter()
            .map(|text| text.replace('\r', "").replace("\\r", ""))
            .collect();
        assert_eq!(after, before, "{benchmark}");
    }
}

#[test]
fn files_cut_anywhere_are_typed_errors_and_never_wrong_questions() {
    for (benchmark, files) in FILES {
        let whole = Copy::new(benchmark).read().unwrap();
        for file in files {
            for part in 0..12 {
                let copy = Copy::new(benchmark);
                let whole_text = fs::read_to_string(copy.path(file)).unwrap();
                let n = whole_text.chars().count() * part / 12;
                let cut: String = whole_text.chars().take(n).collect();
                let at_line_end =
                    cut.is_empty() || cut.ends_with('\n') || whole_text[cut.len()..].starts_with('\n');
                copy.change(file, |_| cut.clone());
                let name = Path::new(file).file_name().unwrap().to_str().unwrap();
                match copy.benchmark.load(copy.folder.path(), &ReadOptions::default()) {
                    Err(error) => {
                        let text = error.to_string();
                        let named = text.contains(name)
                            || matches!(error, EvalError::Unmatched { .. } | EvalError::Setup { .. });
                        assert!(named, "{file} {part}/12: {text}");
                    }
                    Ok(LoadedQuestions { questions, problems }) => {
                        for question in &questions {
                            let same = |other: &&Question| other.id == question.id;
                            let other = whole.iter().find(same).unwrap();
                            assert_eq!(
                                (&question.text, &question.reference, question.image_name()),
                                (&other.text, &other.reference, other.image_name())
                            );
                        }
                        // Lines have no end mark, and the last cell of a table may be cut anywhere.
                        let lines = file.ends_with(".jsonl") || file.contains("coco");
                        let cells = file.ends_with(".tsv") || file.ends_with(".txt");
                        assert!(
                            !problems.is_empty() || cells || (lines && at_line_end),
                            "{file} {part}/12 gave {} questions",
                            questions.len()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn missing_files_are_named() {
    let empty = tempfile::tempdir().unwrap();
    for benchmark in Benchmark::ALL {
        for split in [Split::Scored, Split::Upload] {
            let options = ReadOptions::default().with_split(split);
            let error = benchmark.read(empty.path(), &options).unwrap_err();
            assert!(matches!(error, EvalError::NoFiles { .. }), "{error}");
        }
    }
    assert!(matches!(
        ImageNet::read(empty.path(), true),
        Err(EvalError::NoFiles { .. })
    ));
    assert!(matches!(
        read_captions(empty.path(), true),
        Err(EvalError::NoFiles { .. })
    ));
}

#[test]
fn a_missing_picture_costs_its_questions() {
    for (benchmark, picture, n_lost) in [
        (Benchmark::Gqa, "data/images/n100002.jpg", 2),
        (Benchmark::Mme, "MME_Benchmark_release_version/count/0100.jpg", 2),
        (Benchmark::ScienceQa, "images/test/33/image.png", 1),
        (Benchmark::VqaV2, "val2014/COCO_val2014_000000262001.jpg", 2),
        (Benchmark::SeedBench, "SEED-Bench-image/2500_22", 2),
        (Benchmark::SeedBench, "SEED-Bench-video-image/10_v18.png", 1),
        (Benchmark::VizWiz, "val/VizWiz_val_00000002.jpg", 1),
    ] {
        let copy = Copy::new(benchmark);
        fs::remove_file(copy.path(picture)).unwrap();
        let name = Path::new(picture).file_name().unwrap().to_str().unwrap();
        let error = copy.loses(n_lost, &[name]);
        assert!(
            matches!(error, EvalError::MissingImage { line: 1.., .. }),
            "{error}"
        );
    }
}

/// Changes a field of the row that holds `row`, in a table whose fields hold no quotes of their own.
fn with_field(text: &str, row: &str, place: usize, value: &str) -> String {
    let change = |line: &str| {
        let mut fields: Vec<&str> = line.split('\t').collect();
        if fields[0] == row {
            fields[place] = value;
        }
        fields.join("\t")
    };
    text.split('\n').map(change).collect::<Vec<_>>().join("\n")
}

/// Tables write "None" for no value, but as the text of an option it is an option.
#[test]
fn an_option_that_reads_as_missing_can_be_the_right_one() {
    let copy = Copy::new(Benchmark::MmBench);
    let whole = copy.read().unwrap();
    copy.change("mmbench_dev_20230712.tsv", |text| {
        let mut lines: Vec<String> = text.split('\n').map(String::from).collect();
        let columns: Vec<&str> = lines[0].split('\t').collect();
        let of = |name: &str| columns.iter().position(|column| *column == name).unwrap();
        let (answer, first) = (of("answer"), of("A"));
        let mut fields: Vec<String> = lines[1].split('\t').map(String::from).collect();
        let right = fields[answer].bytes().next().unwrap() - b'A';
        fields[first + usize::from(right)] = "None".into();
        lines[1] = fields.join("\t");
        lines.join("\n")
    });
    let LoadedQuestions { questions, problems } = copy.load();
    assert!(problems.is_empty(), "{problems:?}");
    let ids = |questions: &[Question]| {
        questions
            .iter()
            .map(|question| question.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&questions), ids(&whole));
}

#[test]
fn mmbench_rows_that_are_damaged_cost_their_group() {
    const FILE: &str = "mmbench_dev_20230712.tsv";
    let image = 9;
    for (row, place, value, named) in [
        ("2000263", image, "not*base64", "broken base64"),
        ("1000263", image, "aGVsbG8gd29ybGQ=", "no picture"),
        ("1000263", image, "999999", "base64"),
        ("263", image, "", "no picture"),
        ("263", 7, "E", "answer `E`"),
        ("263", 7, "", "one of the letters A, B, C"),
    ] {
        let copy = Copy::new(Benchmark::MmBench);
        copy.change(FILE, |text| with_field(&text, row, place, value));
        copy.loses(3, &[FILE, named]);
    }
    let copy = Copy::new(Benchmark::MmBench);
    copy.change(FILE, |text| with_field(&text, "1000263", 0, "many"));
    copy.loses(3, &[FILE, "no number in column index"]);
    let copy = Copy::new(Benchmark::MmBench);
    copy.change(FILE, |text| with_field(&text, "1000263", 0, "263"));
    let error = copy.loses(3, &[FILE, "`263`"]);
    assert!(matches!(error, EvalError::DuplicateId { .. }), "{error}");
    let copy = Copy::new(Benchmark::MmBench);
    copy.change(FILE, |text| text.replacen("\t/9j/", "\tx\t/9j/", 2));
    copy.loses(4, &[&format!("{FILE}:2:"), "15 fields", "14 fields"]);
}

#[test]
fn wrong_columns_are_named() {
    for column in ["index", "question", "image", "A"] {
        let copy = Copy::new(Benchmark::MmBenchCn);
        copy.change("mmbench_dev_cn_20231003.tsv", |text| {
            let (header, rest) = text.split_once('\n').unwrap();
            let renamed: Vec<&str> = header
                .split('\t')
                .map(|name| if name == column { "other" } else { name })
                .collect();
            format!("{}\n{rest}", renamed.join("\t"))
        });
        let error = copy.read().unwrap_err().to_string();
        assert!(
            error.contains(&format!("tsv:1: found no column {column}")),
            "{error}"
        );
    }
}

/// Changes a JSON document.
fn edit(copy: &Copy, file: &str, change: impl Fn(&mut Value)) {
    copy.change(file, |text| {
        let mut document: Value = serde_json::from_str(&text).unwrap();
        change(&mut document);
        serde_json::to_string_pretty(&document).unwrap()
    });
}

#[test]
fn one_bad_sample_costs_one_question() {
    let copy = Copy::new(Benchmark::VizWiz);
    edit(&copy, "Annotations/val.json", |document| {
        document[1]["answers"].as_array_mut().unwrap().pop();
    });
    copy.loses(1, &["val.json", "9 answers", "exactly ten"]);
    let copy = Copy::new(Benchmark::VizWiz);
    edit(&copy, "Annotations/val.json", |document| {
        document[2]["question"] = 7.into()
    });
    copy.loses(1, &["val.json", "unfit JSON"]);
    let copy = Copy::new(Benchmark::VqaV2);
    edit(&copy, "v2_mscoco_val2014_annotations.json", |document| {
        document["annotations"][0]["question_id"] = document["annotations"][1]["question_id"].clone();
    });
    let error = copy.loses(1, &["262001001"]);
    assert!(matches!(error, EvalError::DuplicateId { .. }), "{error}");
    let copy = Copy::new(Benchmark::SeedBench);
    edit(&copy, "SEED-Bench.json", |document| {
        document["questions"][0]["answer"] = "E".into();
    });
    copy.loses(1, &["SEED-Bench.json", "answer `E`"]);
    let copy = Copy::new(Benchmark::ScienceQa);
    edit(&copy, "problems.json", |document| {
        document["5"]["answer"] = 2.into()
    });
    copy.loses(1, &["problems.json", "answer 2 of 2 choices"]);
    let copy = Copy::new(Benchmark::Mme);
    copy.change("MME_Benchmark_release_version/count/0101.txt", |text| {
        text.replace("\tYes", "\tPerhaps")
    });
    copy.loses(2, &["0101.txt:1:", "Yes or No"]);
    let copy = Copy::new(Benchmark::Mme);
    copy.change("llava_mme.jsonl", |text| text.split_once('\n').unwrap().1.into());
    let error = copy.loses(2, &["existence/0000", "two"]);
    assert!(matches!(error, EvalError::Setup { .. }), "{error}");
}

#[test]
fn a_bad_line_does_not_shift_what_is_matched_by_order() {
    for file in ["llava_pope_test.jsonl", "coco/coco_pope_random.json"] {
        let copy = Copy::new(Benchmark::Pope);
        copy.change(file, |text| {
            let mut lines: Vec<&str> = text.split('\n').collect();
            lines[1] = "{\"question_id\": 13, \"image\":";
            lines.join("\n")
        });
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        copy.loses(1, &[&format!("{name}:2:"), "unfit JSON"]);
    }
}

#[test]
fn bytes_that_are_not_text_are_named() {
    for (benchmark, files) in FILES {
        let copy = Copy::new(benchmark);
        let mut bytes = fs::read(copy.path(files[0])).unwrap();
        let end = bytes.len() - 2;
        bytes[end] = 0xff;
        fs::write(copy.path(files[0]), bytes).unwrap();
        let error = copy.read().unwrap_err().to_string();
        assert!(error.contains("not UTF-8"), "{error}");
    }
}

#[test]
fn names_of_pictures_tell_them_apart() {
    for benchmark in Benchmark::ALL {
        let questions = benchmark
            .read(&stored(benchmark), &ReadOptions::default())
            .unwrap();
        let pictures: Vec<_> = questions
            .iter()
            .map(|question| question.load_image().unwrap_or_else(|error| panic!("{error}")))
            .collect();
        for (question, picture) in questions.iter().zip(&pictures) {
            let name = question.image_name();
            assert!(!name.is_empty());
            for (other, other_picture) in questions.iter().zip(&pictures) {
                let same = name == other.image_name();
                assert!(!same || picture == other_picture, "{benchmark}: {name}");
                let together = question.group.is_some() && question.group == other.group;
                assert!(same || !together, "{benchmark}: {name}");
            }
        }
    }
}
