//! VizWiz: questions by blind people about their own pictures (Gurari et al. 2018).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json::{Element, TextFile};
use super::problems::Problems;
use super::prompt::Template;
use super::question::{Benchmark, Question, ReadOptions, Reference, Split};
use super::table::{Annotated, Ids, LlavaRow, image_folder, llava_file, picture, require, ten_answers};
use crate::EvalError;

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
pub(crate) fn read(
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
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
