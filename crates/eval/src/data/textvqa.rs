//! TextVQA 0.5.1 val: questions about text in pictures (Singh et al. 2019).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json::{Element, TextFile};
use super::problems::Problems;
use super::prompt::textvqa_text;
use super::question::{Benchmark, Question, ReadOptions, Reference};
use super::table::{Ids, LlavaRow, id_text, image_folder, llava_file, picture, require, ten_answers};
use crate::EvalError;

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
    reference: Reference,
}

/// Questions of `llava_textvqa_val_v051_ocr.jsonl` joined by picture and question with the annotations, or of the
/// annotations (and OCR tokens) alone. Ids are those of the annotations.
pub(crate) fn read(
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let path = require(root, &["TextVQA_0.5.1_val.json"])?;
    let annotations = annotations(&path, problems)?;
    let images = image_folder(root, options, &["train_images", "train_val_images/train_images"]);
    // Its prompts hold OCR tokens.
    let llava = llava_file(root, options, "llava_textvqa_val_v051_ocr.jsonl");
    match llava.filter(|_| options.ocr) {
        Some(llava) => of_llava(&llava, &path, annotations, &images, problems),
        None => of_annotations(root, &path, annotations, &images, options.ocr, problems),
    }
}

/// The usable elements of a document's `data` list.
fn data_rows<T>(
    path: &Path,
    problems: &mut Problems,
    mut each: impl FnMut(&TextFile, &Element<'_>) -> Result<T, EvalError>,
) -> Result<Vec<T>, EvalError> {
    let file = TextFile::read(path)?;
    let mut rows = Vec::new();
    for element in file.elements_below("data")? {
        rows.extend(problems.keep(each(&file, &element))?);
    }
    Ok(rows)
}

fn annotations(path: &Path, problems: &mut Problems) -> Result<Vec<Annotation>, EvalError> {
    let mut ids = Ids::default();
    data_rows(path, problems, |file, element| {
        let mut entry: Entry = file.parse(element)?;
        let id = id_text(&entry.question_id);
        ids.add(path, element.line, &id)?;
        let answers = std::mem::take(&mut entry.answers);
        Ok(Annotation {
            line: element.line,
            reference: ten_answers(path, element.line, &id, answers)?,
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
    problems: &mut Problems,
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
    let mut one = |element: &Element<'_>| {
        let row: LlavaRow = file.parse(element)?;
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
        Ok(question(annotation, image, row.text))
    };
    let mut questions = Vec::new();
    for element in file.rows()? {
        questions.extend(problems.keep(one(&element))?);
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
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let tokens = if ocr {
        Some(ocr_tokens(root, problems)?)
    } else {
        None
    };
    let mut questions = Vec::new();
    for annotation in annotations {
        let entry = &annotation.entry;
        let none = Vec::new();
        let of_image = tokens
            .as_ref()
            .map(|tokens| tokens.get(&entry.image_id).unwrap_or(&none).as_slice());
        let text = textvqa_text(&entry.question, of_image);
        let image = picture(path, annotation.line, images, &format!("{}.jpg", entry.image_id));
        questions.extend(
            problems
                .keep(image)?
                .map(|image| question(annotation, image, text)),
        );
    }
    Ok(questions)
}

fn ocr_tokens(root: &Path, problems: &mut Problems) -> Result<HashMap<String, Vec<String>>, EvalError> {
    let path = require(root, &["TextVQA_Rosetta_OCR_v0.2_val.json"])?;
    let rows = data_rows(&path, problems, |file, element| file.parse::<Ocr>(element))?;
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
        group: None,
        image,
        inline: None,
        text,
        reference: annotation.reference,
    }
}
