//! VQAv2: open questions about COCO pictures (Goyal et al. 2017).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::answer::{evalai_normalise, lmms_vqav2_accuracy, vqa_official_accuracy};
use crate::data::answer_files::{AnswerFile, AnsweredQuestions, json_list};
use crate::data::benchmark::{Benchmark, score};
use crate::data::json::{Element, TextFile};
use crate::data::problems::Problems;
use crate::data::question::{Protocol, Question, ReadOptions, Reference, Split};
use crate::data::readers::{
    Annotated, Ids, LlavaRow, first_existing, id_text, image_folder, llava_file, picture, require,
    ten_answers,
};
use crate::data::template::Template;

/// The official files of val2014.
const QUESTIONS: &str = "v2_OpenEnded_mscoco_val2014_questions.json";
const ANNOTATIONS: &str = "v2_mscoco_val2014_annotations.json";

/// VQAv2.
pub(crate) struct VqaV2;

impl BenchmarkSpec for VqaV2 {
    fn name(&self) -> &'static str {
        "vqav2"
    }

    fn metric(&self) -> &'static str {
        "vqav2 accuracy"
    }

    fn splits(&self) -> Splits {
        Splits {
            paper: "test-dev (server)",
            here: "val2014",
            n_questions: 214_354,
        }
    }

    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
        read(files.root, files.options, files.problems)
    }

    fn score(&self, answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
        match (reference, protocol) {
            // LLaVA uploads normalised answers, which the official program then scores.
            (Reference::TenAnswers(answers), Protocol::Llava) => {
                vqa_official_accuracy(&evalai_normalise(answer), answers)
            }
            (Reference::TenAnswers(answers), Protocol::LmmsEval) => lmms_vqav2_accuracy(answer, answers),
            _ => score(answer, reference, protocol),
        }
    }

    fn scored_by_both_protocols(&self) -> bool {
        true
    }

    fn has_upload_split(&self) -> bool {
        true
    }

    fn secondary(&self) -> &'static [SecondaryNumber] {
        const BY_LMMS: [SecondaryNumber; 1] = [SecondaryNumber {
            name: "accuracy by lmms-eval",
            value: SecondaryValue::OtherProtocol,
        }];
        &BY_LMMS
    }

    fn answer_files(&self, answered: &AnsweredQuestions<'_>) -> Result<Vec<AnswerFile>, EvalError> {
        let ids = if answered.is_hidden() {
            // The server wants every question of test2015, asked or not.
            vqav2_upload_ids(answered.root())?
        } else {
            answered.by_id().map(|(id, _)| id.to_string()).collect()
        };
        Ok(vec![("upload.json".into(), vqav2_upload(&ids, answered.by_id()))])
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        Some(ParquetCopy::new("validation", unpack))
    }
}
#[cfg(feature = "parquet")]
use crate::data::parquet_rows::ParquetRow;
use crate::data::spec::{BenchmarkFiles, BenchmarkSpec, SecondaryNumber, SecondaryValue, Splits};
#[cfg(feature = "parquet")]
use crate::data::unpack::{JsonList, OfficialFiles, ParquetCopy};

/// One entry of `v2_OpenEnded_mscoco_<split>_questions.json`.
#[derive(Deserialize)]
struct QuestionEntry {
    image_id: u64,
    question: String,
    question_id: serde_json::Value,
}

/// One entry of `v2_mscoco_val2014_annotations.json`.
#[derive(Deserialize)]
struct Annotation {
    question_id: serde_json::Value,
    #[serde(default)]
    question_type: Option<String>,
    #[serde(default)]
    answer_type: Option<String>,
    answers: Vec<Annotated>,
}

/// The annotations of a question.
struct Truth {
    question_type: String,
    answer_type: String,
    reference: Reference,
}

/// val2014 with its annotations, or test-dev for the server.
fn read(root: &Path, options: &ReadOptions, problems: &mut Problems) -> Result<Vec<Question>, EvalError> {
    if options.split == Split::Upload {
        return read_upload(root, options, problems);
    }
    let annotations = require(root, &[ANNOTATIONS])?;
    let truths = truths(&annotations, problems)?;
    let path = require(root, &[QUESTIONS])?;
    let images = image_folder(root, options, &["val2014"]);
    let truth = |id: &str, line: usize| {
        truths.get(id).ok_or_else(|| EvalError::Unmatched {
            path: path.clone(),
            line,
            id: id.into(),
            other: annotations.clone(),
        })
    };
    official_questions(&path, "val2014", &images, options, problems, |id, line| {
        let truth = truth(id, line)?;
        Ok((
            truth.answer_type.clone(),
            truth.question_type.clone(),
            truth.reference.clone(),
        ))
    })
}

fn truths(path: &Path, problems: &mut Problems) -> Result<HashMap<String, Truth>, EvalError> {
    let file = TextFile::read(path)?;
    let mut ids = Ids::default();
    let mut truths = HashMap::new();
    for element in file.elements_below("annotations")? {
        let mut one = || {
            let entry: Annotation = file.parse(&element)?;
            let id = id_text(&entry.question_id);
            ids.add(path, element.line, &id)?;
            let answers = entry.answers.into_iter().map(|answer| answer.answer).collect();
            let truth = Truth {
                question_type: entry.question_type.unwrap_or_else(|| "val2014".into()),
                answer_type: entry.answer_type.unwrap_or_else(|| "val2014".into()),
                reference: ten_answers(path, element.line, &id, answers)?,
            };
            Ok((id, truth))
        };
        truths.extend(problems.keep(one())?);
    }
    Ok(truths)
}

/// The questions of an official question file; `truth` gives subset, kind and reference of an id.
fn official_questions(
    path: &Path,
    split: &str,
    images: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
    truth: impl Fn(&str, usize) -> Result<(String, String, Reference), EvalError>,
) -> Result<Vec<Question>, EvalError> {
    let file = TextFile::read(path)?;
    let template = Template::of(Benchmark::VqaV2, options.prompts);
    let mut ids = Ids::default();
    let mut one = |element: &Element<'_>| {
        let entry: QuestionEntry = file.parse(element)?;
        let id = id_text(&entry.question_id);
        ids.add(path, element.line, &id)?;
        let (subset, kind, reference) = truth(&id, element.line)?;
        let name = format!("COCO_{split}_{:012}.jpg", entry.image_id);
        let image = picture(path, element.line, images, &name)?;
        Ok(Question {
            text: template.render(None, &entry.question, None, &[]),
            kind,
            ..question(id, subset, image, reference)
        })
    };
    let mut questions = Vec::new();
    for element in file.elements_below("questions")? {
        questions.extend(problems.keep(one(&element))?);
    }
    Ok(questions)
}

fn question(id: String, subset: String, image: PathBuf, reference: Reference) -> Question {
    Question {
        id,
        benchmark: Benchmark::VqaV2,
        kind: subset.clone(),
        subset,
        group: None,
        image,
        inline: None,
        text: String::new(),
        reference,
    }
}

/// test-dev, from LLaVA's question file or the official one.
fn read_upload(
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let images = image_folder(root, options, &["test2015"]);
    let Some(path) = llava_file(root, options, "llava_vqav2_mscoco_test-dev2015.jsonl") else {
        let path = require(root, &["v2_OpenEnded_mscoco_test-dev2015_questions.json"])?;
        return official_questions(&path, "test2015", &images, options, problems, |_, _| {
            Ok(("test-dev".into(), "test-dev".into(), Reference::Hidden))
        });
    };
    let file = TextFile::read(&path)?;
    let mut ids = Ids::default();
    let mut one = |element: &Element<'_>| {
        let row: LlavaRow = file.parse(element)?;
        ids.add(&path, element.line, &row.id())?;
        let image = picture(&path, element.line, &images, &row.image)?;
        let id = row.id();
        Ok(Question {
            text: row.text,
            ..question(id, "test-dev".into(), image, Reference::Hidden)
        })
    };
    let mut questions = Vec::new();
    for element in file.rows()? {
        questions.extend(problems.keep(one(&element))?);
    }
    Ok(questions)
}

/// The ids of every question that an upload to the VQAv2 server must hold (all of test2015), in file order.
///
/// # Errors
/// When neither LLaVA's list nor the official question file of test2015 is below `root`, or it is damaged.
pub fn vqav2_upload_ids(root: &Path) -> Result<Vec<String>, EvalError> {
    /// The id alone.
    #[derive(Deserialize)]
    struct Row {
        question_id: serde_json::Value,
    }
    let names = [
        "llava_vqav2_mscoco_test2015.jsonl",
        "v2_OpenEnded_mscoco_test2015_questions.json",
    ];
    let path = require(root, &names)?;
    let file = TextFile::read(&path)?;
    let rows = match first_existing(root, &names[..1]) {
        Some(_) => file.rows()?,
        None => file.elements_below("questions")?,
    };
    let id = |element: &Element<'_>| Ok(id_text(&file.parse::<Row>(element)?.question_id));
    rows.iter().map(id).collect()
}

/// VQAv2's upload: a list of `question_id` and `answer` for all of `ids`, the answer in EvalAI's normal form and empty
/// where a question was not asked.
pub fn vqav2_upload<'a>(ids: &[String], answers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    /// One row of the file.
    #[derive(Serialize)]
    struct Row {
        question_id: serde_json::Value,
        answer: String,
    }
    let answers: HashMap<&str, &str> = answers.into_iter().collect();
    let row = |id: &String| Row {
        question_id: serde_json::from_str(id).unwrap_or_else(|_| id.as_str().into()),
        answer: answers
            .get(id.as_str())
            .map(|answer| evalai_normalise(answer))
            .unwrap_or_default(),
    };
    json_list(ids.iter().map(row))
}

#[cfg(feature = "parquet")]
fn unpack(mut row: ParquetRow<'_>, official: &mut OfficialFiles<'_>) -> Result<(), EvalError> {
    official.next_question();
    let number = row.number("image_id")?;
    official.picture(
        &format!("val2014/COCO_val2014_{number:012}.jpg"),
        Some(row.picture()?),
    )?;
    let question = serde_json::json!({"image_id": number, "question": row.text("question")?,
        "question_id": row.fields().get("question_id")});
    row.fields_mut().remove("image");
    row.fields_mut().remove("question");
    official.element(QUESTIONS, JsonList::Below("questions"), &question);
    official.element(
        ANNOTATIONS,
        JsonList::Below("annotations"),
        &row.fields().clone().into(),
    );
    Ok(())
}
