//! TextVQA 0.5.1 val: questions about text in pictures (Singh et al. 2019).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json::{Element, TextFile};
use super::prompt::textvqa_text;
use super::question::{Benchmark, Question, ReadOptions, Reference};
use super::table::{Ids, LlavaRow, first_existing, id_text, picture, require};
use crate::EvalError;

/// The only number of annotators that the score is defined for.
const N_ANNOTATORS: usize = 10;

/// One entry of `TextVQA_0.5.1_val.json`.
#[derive(Deserialize)]
struct Entry {
    question: String,
    image_id: String,
    question_id: serde_json::Value,
    answers: Vec<String>,
    #[serde(default)]
    set_name: Option<String>,
}

/// One entry of `TextVQA_Rosetta_OCR_v0.2_val.json`.
#[derive(Deserialize)]
struct Ocr {
    image_id: String,
    ocr_tokens: Vec<String>,
}

/// An annotation with its line and its id as text.
struct Annotation {
    line: usize,
    id: String,
    entry: Entry,
}

/// Questions of `llava_textvqa_val_v051_ocr.jsonl` joined by picture and question with the annotations, or of the
/// annotations (and OCR tokens) alone. Ids are those of the annotations.
pub(crate) fn read(root: &Path, options: &ReadOptions) -> Result<Vec<Question>, EvalError> {
    let path = require(root, &["TextVQA_0.5.1_val.json"])?;
    let annotations = annotations(&path)?;
    let images = match &options.images {
        Some(images) => images.clone(),
        None => first_existing(root, &["train_images", "train_val_images/train_images"])
            .unwrap_or_else(|| root.join("train_images")),
    };
    match first_existing(root, &["llava_textvqa_val_v051_ocr.jsonl"]) {
        Some(llava) => of_llava(&llava, &path, annotations, &images),
        None => of_annotations(root, &path, annotations, &images, options.ocr),
    }
}

/// The elements of a document's `data` list, with the file.
fn data_rows<T>(
    path: &Path,
    mut each: impl FnMut(&TextFile, &Element<'_>) -> Result<T, EvalError>,
) -> Result<Vec<T>, EvalError> {
    let file = TextFile::read(path)?;
    let top = file.elements()?;
    let data = top
        .iter()
        .find(|element| element.key == "data")
        .ok_or_else(|| EvalError::line(path, 1, "no `data` list", "an object with a `data` list"))?;
    file.elements_of(data)?
        .iter()
        .map(|element| each(&file, element))
        .collect()
}

fn annotations(path: &Path) -> Result<Vec<Annotation>, EvalError> {
    let mut ids = Ids::default();
    data_rows(path, |file, element| {
        let entry: Entry = file.parse(element)?;
        let id = id_text(&entry.question_id);
        ids.add(path, element.line, &id)?;
        if entry.answers.len() != N_ANNOTATORS {
            let found = format!("{} answers to question `{id}`", entry.answers.len());
            return Err(EvalError::line(path, element.line, found, "exactly ten"));
        }
        Ok(Annotation {
            line: element.line,
            id,
            entry,
        })
    })
}

fn of_llava(
    path: &Path,
    annotations_path: &Path,
    annotations: Vec<Annotation>,
    images: &Path,
) -> Result<Vec<Question>, EvalError> {
    let key = |annotation: &Annotation| {
        (
            annotation.entry.image_id.clone(),
            annotation.entry.question.to_lowercase(),
        )
    };
    let mut by_question: HashMap<(String, String), Vec<Annotation>> = HashMap::new();
    for annotation in annotations.into_iter().rev() {
        by_question.entry(key(&annotation)).or_default().push(annotation);
    }
    let file = TextFile::read(path)?;
    let mut questions = Vec::new();
    for element in file.rows()? {
        let row: LlavaRow = file.parse(&element)?;
        let text = asked(&row.text).ok_or_else(|| {
            EvalError::line(
                path,
                element.line,
                "a text without question line",
                "two or three lines",
            )
        })?;
        let annotation = by_question
            .get_mut(&(row.id(), text.to_lowercase()))
            .and_then(Vec::pop)
            .ok_or_else(|| EvalError::Unmatched {
                path: path.into(),
                line: element.line,
                id: row.id(),
                other: annotations_path.into(),
            })?;
        let image = picture(path, element.line, images, &row.image)?;
        questions.push(question(annotation, image, row.text));
    }
    Ok(questions)
}

/// The question in a prompt: the first of two or three lines, or the second when the OCR line is first.
fn asked(text: &str) -> Option<&str> {
    let lines: Vec<&str> = text.split('\n').collect();
    match lines.as_slice() {
        [first, second, _] if first.starts_with("Reference OCR token:") => Some(second),
        [first, _, _] | [first, _] => Some(first),
        _ => None,
    }
}

fn of_annotations(
    root: &Path,
    path: &Path,
    annotations: Vec<Annotation>,
    images: &Path,
    ocr: bool,
) -> Result<Vec<Question>, EvalError> {
    let tokens = if ocr { Some(ocr_tokens(root)?) } else { None };
    let mut questions = Vec::new();
    for annotation in annotations {
        let entry = &annotation.entry;
        let none = Vec::new();
        let of_image = tokens
            .as_ref()
            .map(|tokens| tokens.get(&entry.image_id).unwrap_or(&none).as_slice());
        let text = textvqa_text(&entry.question, of_image);
        let image = picture(path, annotation.line, images, &format!("{}.jpg", entry.image_id))?;
        questions.push(question(annotation, image, text));
    }
    Ok(questions)
}

fn ocr_tokens(root: &Path) -> Result<HashMap<String, Vec<String>>, EvalError> {
    let path = require(root, &["TextVQA_Rosetta_OCR_v0.2_val.json"])?;
    let rows = data_rows(&path, |file, element| file.parse::<Ocr>(element))?;
    Ok(rows
        .into_iter()
        .map(|row| (row.image_id, row.ocr_tokens))
        .collect())
}

fn question(annotation: Annotation, image: PathBuf, text: String) -> Question {
    let subset = annotation.entry.set_name.unwrap_or_else(|| "val".into());
    Question {
        id: annotation.id,
        benchmark: Benchmark::TextVqa,
        kind: subset.clone(),
        subset,
        image,
        text,
        reference: Reference::TenAnswers(annotation.entry.answers),
    }
}
