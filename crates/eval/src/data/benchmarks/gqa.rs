//! GQA testdev-balanced: one-word answers about scenes (Hudson and Manning 2019).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
#[cfg(feature = "parquet")]
use serde_json::json;

use crate::EvalError;
use crate::data::answer_files::{AnswerFile, AnsweredQuestions, json_list};
use crate::data::benchmark::{Benchmark, score};
use crate::data::json::{Element, TextFile};
use crate::data::problems::Problems;
use crate::data::question::{Protocol, Question, ReadOptions, Reference};
use crate::data::readers::{Ids, LlavaRow, image_folder, llava_file, picture, require};
use crate::data::spec::{BenchmarkFiles, BenchmarkSpec, Splits};
use crate::data::template::SHORT_ANSWER;

/// Path of questions and annotations in the official archive.
const OFFICIAL: &str = "data/questions1.2/testdev_balanced_questions.json";

/// GQA.
pub(crate) struct Gqa;

impl BenchmarkSpec for Gqa {
    fn name(&self) -> &'static str {
        "gqa"
    }

    fn metric(&self) -> &'static str {
        "gqa accuracy"
    }

    fn splits(&self) -> Splits {
        Splits::same("testdev-balanced", 12_578)
    }

    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
        read(files.root, files.options, files.problems)
    }

    fn score(&self, answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
        match reference {
            Reference::Exact(wanted) => f64::from(gqa_correct(answer, wanted, protocol)),
            _ => score(answer, reference, protocol),
        }
    }

    fn llava_id(&self, question: &Question) -> Value {
        question.id.as_str().into()
    }

    fn answer_files(&self, answered: &AnsweredQuestions<'_>) -> Result<Vec<AnswerFile>, EvalError> {
        let predictions = gqa_predictions(answered.by_id());
        Ok(vec![("testdev_balanced_predictions.json".into(), predictions)])
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        Some(ParquetCopy::new("testdev", unpack).with_pictures_apart())
    }
}
#[cfg(feature = "parquet")]
use crate::data::parquet_rows::ParquetRow;
#[cfg(feature = "parquet")]
use crate::data::unpack::{OfficialFiles, ParquetCopy};

/// One entry of `testdev_balanced_questions.json`.
#[derive(Deserialize)]
struct Entry {
    question: String,
    #[serde(rename = "imageId")]
    image_id: String,
    answer: String,
    #[serde(rename = "isBalanced", default = "balanced")]
    is_balanced: bool,
    #[serde(default)]
    types: Types,
}

/// GQA's classes of a question.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Types {
    structural: Option<String>,
    detailed: Option<String>,
}

fn balanced() -> bool {
    true
}

/// The file of questions and their annotations below `root`.
pub(super) fn gqa_annotations(root: &Path) -> Result<PathBuf, EvalError> {
    const PLACES: [&str; 3] = [
        OFFICIAL,
        "questions1.2/testdev_balanced_questions.json",
        "testdev_balanced_questions.json",
    ];
    require(root, &PLACES)
}

/// Questions of `llava_gqa_testdev_balanced.jsonl` joined by id with `questions1.2/testdev_balanced_questions.json`, or
/// of the latter alone; questions that are not balanced are left out.
fn read(root: &Path, options: &ReadOptions, problems: &mut Problems) -> Result<Vec<Question>, EvalError> {
    let annotations = TextFile::read(&gqa_annotations(root)?)?;
    let images = image_folder(root, options, &["data/images", "images"]);
    let mut ids = Ids::default();
    let mut entries = Vec::new();
    for element in annotations.elements()? {
        let mut entry = || {
            ids.add(&annotations.path, element.line, &element.key)?;
            annotations.parse::<Entry>(&element)
        };
        if let Some(entry) = problems.keep(entry())? {
            entries.push((element.key.clone(), element.line, entry));
        }
    }
    match llava_file(root, options, "llava_gqa_testdev_balanced.jsonl") {
        Some(path) => of_llava(&path, &annotations.path, entries, &images, problems),
        None => of_entries(&annotations.path, entries, &images, problems),
    }
}

type Entries = Vec<(String, usize, Entry)>;

fn of_llava(
    path: &Path,
    annotations: &Path,
    entries: Entries,
    images: &Path,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let by_id: HashMap<String, Entry> = entries.into_iter().map(|(id, _, entry)| (id, entry)).collect();
    let file = TextFile::read(path)?;
    let mut ids = Ids::default();
    let mut one = |element: &Element<'_>| {
        let row: LlavaRow = file.parse(element)?;
        let id = row.id();
        ids.add(path, element.line, &id)?;
        let entry = by_id.get(&id).ok_or_else(|| EvalError::Unmatched {
            path: path.into(),
            line: element.line,
            id: id.clone(),
            other: annotations.into(),
        })?;
        if !entry.is_balanced {
            return Ok(None);
        }
        let image = picture(path, element.line, images, &row.image)?;
        Ok(Some(question(id, entry, image, row.text)))
    };
    let mut questions = Vec::new();
    for element in file.rows()? {
        questions.extend(problems.keep(one(&element))?.flatten());
    }
    Ok(questions)
}

fn of_entries(
    path: &Path,
    entries: Entries,
    images: &Path,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let mut questions = Vec::new();
    for (id, line, entry) in entries.into_iter().filter(|(_, _, entry)| entry.is_balanced) {
        let image = picture(path, line, images, &format!("{}.jpg", entry.image_id));
        let text = format!("{}{SHORT_ANSWER}", entry.question);
        questions.extend(
            problems
                .keep(image)?
                .map(|image| question(id, &entry, image, text)),
        );
    }
    Ok(questions)
}

fn question(id: String, entry: &Entry, image: PathBuf, text: String) -> Question {
    let subset = entry.types.structural.clone().unwrap_or_else(|| "default".into());
    Question {
        id,
        benchmark: Benchmark::Gqa,
        kind: entry.types.detailed.clone().unwrap_or_else(|| subset.clone()),
        subset,
        group: None,
        image,
        inline: None,
        text,
        reference: Reference::Exact(entry.answer.clone()),
    }
}

/// The form that LLaVA's converter gives an answer: no trailing periods, lower case, nothing else.
pub fn gqa_prediction(answer: &str) -> String {
    answer.trim_end_matches('.').to_lowercase()
}

/// True when an answer is right.
pub fn gqa_correct(answer: &str, reference: &str, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Llava => gqa_prediction(answer) == reference,
        Protocol::LmmsEval => bare(answer) == bare(reference),
    }
}

/// Lower case without ASCII punctuation.
fn bare(text: &str) -> String {
    text.to_lowercase()
        .chars()
        .filter(|letter| !letter.is_ascii_punctuation())
        .collect()
}

/// The scorer's input file, `testdev_balanced_predictions.json`, from pairs of question id and answer.
pub fn gqa_predictions<'a>(answers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    /// One row of the file.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Row<'a> {
        question_id: &'a str,
        prediction: String,
    }
    let row = |(question_id, answer)| Row {
        question_id,
        prediction: gqa_prediction(answer),
    };
    json_list(answers.into_iter().map(row))
}

/// Pictures and questions are rows of different files.
#[cfg(feature = "parquet")]
fn unpack(row: ParquetRow<'_>, official: &mut OfficialFiles<'_>) -> Result<(), EvalError> {
    if !row.fields().contains_key("question") {
        return official.picture(
            &format!("data/images/{}.jpg", row.text("id")?),
            Some(row.picture()?),
        );
    }
    official.next_question();
    let types = row
        .fields()
        .get("types")
        .filter(|types| types.is_object())
        .cloned();
    let balanced = row
        .fields()
        .get("isbalanced")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    let mut entry = json!({"question": row.text("question")?, "imageId": row.text("imageid")?,
        "answer": row.text("answer")?, "isBalanced": balanced, "types": types.unwrap_or_else(|| json!({}))});
    // GQA's tables of details are made from these.
    for name in ["groups", "semantic"] {
        if let Some(value) = row.fields().get(name).filter(|value| !value.is_null()) {
            entry[name] = value.clone();
        }
    }
    official.entry(OFFICIAL, &row.text("id")?, &entry);
    Ok(())
}
