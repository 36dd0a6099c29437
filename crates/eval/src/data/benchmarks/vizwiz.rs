//! VizWiz: questions by blind people about their own pictures (Gurari et al. 2018).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
#[cfg(feature = "parquet")]
use serde_json::json;

use crate::EvalError;
use crate::answer::evalai_normalise;
use crate::data::answer_files::{AnswerFile, AnsweredQuestions, json_list};
use crate::data::benchmark::Benchmark;
use crate::data::json::{Element, TextFile};
use crate::data::problems::Problems;
use crate::data::question::{Protocol, Question, ReadOptions, Reference, Split};
use crate::data::readers::{
    Annotated, Ids, LlavaRow, free_answer_tokens, image_folder, llava_file, picture, require, ten_answers,
};
use crate::data::template::Template;

/// VizWiz.
pub(crate) struct VizWiz;

impl BenchmarkSpec for VizWiz {
    fn name(&self) -> &'static str {
        "vizwiz"
    }

    fn metric(&self) -> &'static str {
        "vizwiz accuracy"
    }

    fn splits(&self) -> Splits {
        Splits::same("val", 4_319)
    }

    fn template(&self, _: Protocol) -> Template {
        Template {
            capitalise: true,
            suffix: "\nWhen the provided information is insufficient, respond with 'Unanswerable'.\
                     \nAnswer the question using a single word or phrase.",
            ..Template::SHORT
        }
    }

    fn max_new_tokens(&self, protocol: Protocol) -> usize {
        free_answer_tokens(protocol)
    }

    fn protocol_of_the_papers(&self) -> Protocol {
        Protocol::LmmsEval
    }

    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
        read(files.root, files.options, files.problems)
    }

    fn has_upload_split(&self) -> bool {
        true
    }

    /// The id; in the test split the file name of the picture.
    fn llava_id(&self, question: &Question) -> Value {
        match question.reference {
            Reference::Hidden => question.image_name().into(),
            _ => question.id.as_str().into(),
        }
    }

    fn answer_files(&self, answered: &AnsweredQuestions<'_>) -> Result<Vec<AnswerFile>, EvalError> {
        let pairs = answered.pairs().iter();
        let by_image: Vec<(String, &str)> = pairs
            .map(|(question, answer)| (question.image_name(), *answer))
            .collect();
        let by_image = by_image.iter().map(|(image, answer)| (image.as_str(), *answer));
        Ok(vec![("upload.json".into(), vizwiz_upload(by_image))])
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        Some(ParquetCopy::new("val", unpack))
    }
}
#[cfg(feature = "parquet")]
use crate::data::parquet_rows::ParquetRow;
use crate::data::spec::{BenchmarkFiles, BenchmarkSpec, Splits};
#[cfg(feature = "parquet")]
use crate::data::unpack::{JsonList, OfficialFiles, ParquetCopy};

/// One entry of `Annotations/<split>.json`.
#[derive(Deserialize)]
struct Entry {
    image: String,
    question: String,
    #[serde(default)]
    answers: Vec<Annotated>,
    #[serde(default)]
    answer_type: Option<String>,
}

/// val with its annotations, or test for the server. Ids are file names of pictures without ending.
fn read(root: &Path, options: &ReadOptions, problems: &mut Problems) -> Result<Vec<Question>, EvalError> {
    let split = match options.split {
        Split::Scored => "val",
        Split::Upload => "test",
    };
    let images = image_folder(root, options, &[split]);
    if options.split == Split::Upload
        && let Some(path) = llava_file(root, options, "llava_test.jsonl")
    {
        return of_llava(&path, &images, problems);
    }
    let path = require(
        root,
        &[&format!("Annotations/{split}.json"), &format!("{split}.json")],
    )?;
    let file = TextFile::read(&path)?;
    let template = Template::of(Benchmark::VizWiz, options.prompts);
    let mut ids = Ids::default();
    let mut one = |element: &Element<'_>| {
        let entry: Entry = file.parse(element)?;
        ids.add(&path, element.line, &entry.image)?;
        let image = picture(&path, element.line, &images, &entry.image)?;
        let answers = entry.answers.into_iter().map(|answer| answer.answer).collect();
        let reference = match options.split {
            Split::Scored => ten_answers(&path, element.line, &entry.image, answers)?,
            Split::Upload => Reference::Hidden,
        };
        let text = template.render(None, &entry.question, None, &[]);
        let kind = entry.answer_type.unwrap_or_else(|| split.into());
        Ok(question(&entry.image, split, kind, image, text, reference))
    };
    let mut questions = Vec::new();
    for element in file.elements()? {
        questions.extend(problems.keep(one(&element))?);
    }
    Ok(questions)
}

/// LLaVA's file of the test split; its ids are opaque, the pictures are unique.
fn of_llava(path: &Path, images: &Path, problems: &mut Problems) -> Result<Vec<Question>, EvalError> {
    let file = TextFile::read(path)?;
    let mut ids = Ids::default();
    let mut one = |element: &Element<'_>| {
        let row: LlavaRow = file.parse(element)?;
        ids.add(path, element.line, &row.image)?;
        let image = picture(path, element.line, images, &row.image)?;
        let kind = "test".to_string();
        Ok(question(
            &row.image,
            "test",
            kind,
            image,
            row.text,
            Reference::Hidden,
        ))
    };
    let mut questions = Vec::new();
    for element in file.rows()? {
        questions.extend(problems.keep(one(&element))?);
    }
    Ok(questions)
}

fn question(
    name: &str,
    split: &str,
    kind: String,
    image: PathBuf,
    text: String,
    reference: Reference,
) -> Question {
    Question {
        id: name.rsplit_once('.').map_or(name, |(stem, _)| stem).into(),
        benchmark: Benchmark::VizWiz,
        subset: split.into(),
        kind,
        group: None,
        image,
        inline: None,
        text,
        reference,
    }
}

/// VizWiz's upload: a list of `image` and `answer`, the answer in EvalAI's normal form. `answers` pairs file names of
/// pictures with answers.
pub fn vizwiz_upload<'a>(answers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    /// One row of the file.
    #[derive(Serialize)]
    struct Row<'a> {
        image: &'a str,
        answer: String,
    }
    let row = |(image, answer)| Row {
        image,
        answer: evalai_normalise(answer),
    };
    json_list(answers.into_iter().map(row))
}

#[cfg(feature = "parquet")]
fn unpack(row: ParquetRow<'_>, official: &mut OfficialFiles<'_>) -> Result<(), EvalError> {
    official.next_question();
    let image = format!("{}.jpg", row.text("question_id")?);
    let answers = row.fields().get("answers").and_then(Value::as_array);
    let answers: Vec<Value> = answers
        .into_iter()
        .flatten()
        .map(|answer| json!({"answer": answer}))
        .collect();
    let entry = json!({"image": image, "question": row.text("question")?, "answers": answers,
        "answer_type": row.fields().get("category")});
    official.picture(&format!("val/{image}"), Some(row.picture()?))?;
    official.element("Annotations/val.json", JsonList::Array, &entry);
    Ok(())
}
