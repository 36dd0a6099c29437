//! GQA testdev-balanced: one-word answers about scenes (Hudson and Manning 2019).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SHORT_ANSWER;
use super::json::{Element, TextFile};
use super::problems::Problems;
use super::question::{Benchmark, Question, ReadOptions, Reference};
use super::table::{Ids, LlavaRow, image_folder, llava_file, picture, require};
use crate::EvalError;

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
pub(crate) fn gqa_annotations(root: &Path) -> Result<PathBuf, EvalError> {
    const PLACES: [&str; 3] = [
        "data/questions1.2/testdev_balanced_questions.json",
        "questions1.2/testdev_balanced_questions.json",
        "testdev_balanced_questions.json",
    ];
    require(root, &PLACES)
}

/// Questions of `llava_gqa_testdev_balanced.jsonl` joined by id with `questions1.2/testdev_balanced_questions.json`, or
/// of the latter alone; questions that are not balanced are left out.
pub(crate) fn read(
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
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
