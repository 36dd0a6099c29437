//! TextVQA 0.5.1 val: questions about text in pictures (Singh et al. 2019).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::EvalError;
use crate::answer::textvqa_accuracy;
use crate::data::benchmark::{Benchmark, score};
use crate::data::json::{Element, TextFile};
use crate::data::problems::Problems;
use crate::data::question::{Protocol, Question, ReadOptions, Reference};
use crate::data::readers::{
    Ids, LlavaRow, free_answer_tokens, id_text, image_folder, llava_file, picture, require, ten_answers,
};

/// The official files.
const ANNOTATIONS: &str = "TextVQA_0.5.1_val.json";
const OCR_TOKENS: &str = "TextVQA_Rosetta_OCR_v0.2_val.json";
/// Text before the OCR tokens of a prompt.
const OCR_LINE: &str = "Reference OCR token:";

/// TextVQA.
pub(crate) struct TextVqa;

impl BenchmarkSpec for TextVqa {
    fn name(&self) -> &'static str {
        "textvqa"
    }

    fn metric(&self) -> &'static str {
        "textvqa accuracy"
    }

    fn splits(&self) -> Splits {
        Splits::same("0.5.1 val, OCR tokens in the prompt", 5_000)
    }

    fn template(&self, _: Protocol) -> Template {
        Template {
            capitalise: true,
            ..Template::SHORT
        }
    }

    fn max_new_tokens(&self, protocol: Protocol) -> usize {
        free_answer_tokens(protocol)
    }

    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
        read(files.root, files.options, files.problems)
    }

    fn score(&self, answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
        match reference {
            Reference::TenAnswers(answers) => textvqa_accuracy(answer, answers),
            _ => score(answer, reference, protocol),
        }
    }

    fn data_here(&self, ocr: Option<bool>, _: &BTreeSet<&str>) -> &'static str {
        match ocr {
            Some(false) => "0.5.1 val, no OCR tokens in the prompt",
            _ => self.splits().here,
        }
    }

    /// The picture's id.
    fn llava_id(&self, question: &Question) -> Value {
        let image = question.image_name();
        image
            .rsplit_once('.')
            .map_or(image.as_str(), |(stem, _)| stem)
            .into()
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        Some(ParquetCopy::new("validation", unpack))
    }
}

/// True when the prompts of all of TextVQA's questions hold OCR tokens; `None` without such a question.
pub(crate) fn prompts_hold_ocr(questions: &[Question]) -> Option<bool> {
    let mut own = questions
        .iter()
        .filter(|question| question.benchmark == Benchmark::TextVqa)
        .peekable();
    own.peek()?;
    Some(own.all(|question| question.text.contains(OCR_LINE)))
}
#[cfg(feature = "parquet")]
use crate::data::parquet_rows::ParquetRow;
use crate::data::spec::{BenchmarkFiles, BenchmarkSpec, Splits};
use crate::data::template::Template;
#[cfg(feature = "parquet")]
use crate::data::unpack::{JsonList, OfficialFiles, ParquetCopy};

/// One entry of `TextVQA_0.5.1_val.json`.
#[derive(Deserialize)]
struct Entry {
    question: String,
    image_id: String,
    question_id: Value,
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
fn read(root: &Path, options: &ReadOptions, problems: &mut Problems) -> Result<Vec<Question>, EvalError> {
    let path = require(root, &[ANNOTATIONS])?;
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
        let text = question_line(&row.text).ok_or_else(|| {
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
fn question_line(text: &str) -> Option<&str> {
    let lines: Vec<&str> = text.split('\n').collect();
    match lines.as_slice() {
        [first, second, _] if first.starts_with(OCR_LINE) => Some(second),
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
    // Both protocols have the same texts.
    let template = Template::of(Benchmark::TextVqa, Protocol::Llava);
    let mut questions = Vec::new();
    for annotation in annotations {
        let entry = &annotation.entry;
        let none = Vec::new();
        let of_image = tokens
            .as_ref()
            .map(|tokens| tokens.get(&entry.image_id).unwrap_or(&none).as_slice());
        let text = template.render(None, &entry.question, of_image, &[]);
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
    let path = require(root, &[OCR_TOKENS])?;
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

#[cfg(feature = "parquet")]
fn unpack(mut row: ParquetRow<'_>, official: &mut OfficialFiles<'_>) -> Result<(), EvalError> {
    official.next_question();
    let id = row.text("image_id")?;
    let tokens = row
        .fields_mut()
        .remove("ocr_tokens")
        .unwrap_or_else(|| Value::Array(Vec::new()));
    row.fields_mut().remove("image");
    let picture = format!("train_images/{id}.jpg");
    if !official.has_picture(&picture) {
        let ocr = serde_json::json!({"image_id": id, "ocr_tokens": tokens});
        official.element(OCR_TOKENS, JsonList::Below("data"), &ocr);
    }
    official.picture(&picture, Some(row.picture()?))?;
    official.element(ANNOTATIONS, JsonList::Below("data"), &row.fields().clone().into());
    Ok(())
}
