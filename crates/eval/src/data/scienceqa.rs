//! ScienceQA: multiple choice from school books (Lu et al. 2022).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::json::{Element, TextFile};
use super::problems::Problems;
use super::prompt::{OPTION_LETTER, Template, lettered};
use super::question::{Benchmark, Question, ReadOptions, Reference};
use super::table::{Ids, id_text, image_folder, llava_file, picture, require};
use crate::EvalError;

/// LLaVA's mark for the picture.
const IMAGE_TAG: &str = "<image>";

/// One entry of `problems.json`.
#[derive(Deserialize)]
struct Entry {
    question: String,
    choices: Vec<String>,
    answer: usize,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    subject: Option<String>,
}

/// One entry of `llava_test_CQM-A.json`.
#[derive(Deserialize)]
struct LlavaEntry {
    id: serde_json::Value,
    #[serde(default)]
    image: Option<String>,
    conversations: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    value: String,
}

type Entries = HashMap<String, (usize, Entry)>;

/// Questions of `llava_test_CQM-A.json` joined by id with `problems.json`, or those that `pid_splits.json` calls `test`.
pub(crate) fn read(
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let path = require(root, &["problems.json", "data/scienceqa/problems.json"])?;
    let images = image_folder(root, options, &["images/test", "test"]);
    let entries = entries(&path, problems)?;
    let questions = match llava_file(root, options, "llava_test_CQM-A.json") {
        Some(llava) => of_llava(&llava, &path, &entries, &images, problems)?,
        None => {
            let splits = require(root, &["pid_splits.json", "data/scienceqa/pid_splits.json"])?;
            of_split(&splits, &path, &entries, &images, options, problems)?
        }
    };
    let wanted = |question: &Question| options.text_only || question.has_image();
    Ok(questions.into_iter().filter(wanted).collect())
}

fn entries(path: &Path, problems: &mut Problems) -> Result<Entries, EvalError> {
    let file = TextFile::read(path)?;
    let mut ids = Ids::default();
    let mut entries = HashMap::new();
    for element in file.elements()? {
        let mut one = || {
            ids.add(path, element.line, &element.key)?;
            let entry: Entry = file.parse(&element)?;
            if entry.answer < entry.choices.len() {
                return Ok(entry);
            }
            let found = format!("answer {} of {} choices", entry.answer, entry.choices.len());
            Err(EvalError::line(
                path,
                element.line,
                found,
                "the place of a choice",
            ))
        };
        if let Some(entry) = problems.keep(one())? {
            entries.insert(element.key.clone(), (element.line, entry));
        }
    }
    Ok(entries)
}

fn of_llava(
    path: &Path,
    annotations: &Path,
    entries: &Entries,
    images: &Path,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let file = TextFile::read(path)?;
    let mut ids = Ids::default();
    let mut one = |element: &Element<'_>| {
        let row: LlavaEntry = file.parse(element)?;
        let id = id_text(&row.id);
        ids.add(path, element.line, &id)?;
        let (_, entry) = entries.get(&id).ok_or_else(|| EvalError::Unmatched {
            path: path.into(),
            line: element.line,
            id: id.clone(),
            other: annotations.into(),
        })?;
        let said = row.conversations.first().ok_or_else(|| {
            EvalError::line(
                path,
                element.line,
                "no conversation",
                "the question as first turn",
            )
        })?;
        let image = match &row.image {
            Some(name) => picture(path, element.line, images, name)?,
            None => PathBuf::new(),
        };
        let text = said.value.replace(IMAGE_TAG, "").trim().to_string() + OPTION_LETTER;
        Ok(question(id, entry, image, text))
    };
    let mut questions = Vec::new();
    for element in file.elements()? {
        questions.extend(problems.keep(one(&element))?);
    }
    Ok(questions)
}

fn of_split(
    splits: &Path,
    annotations: &Path,
    entries: &Entries,
    images: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let file = TextFile::read(splits)?;
    let template = Template::of(Benchmark::ScienceQa, options.prompts);
    let mut ids = Ids::default();
    let mut one = |element: &Element<'_>| {
        let id = id_text(&file.parse(element)?);
        ids.add(splits, element.line, &id)?;
        let (line, entry) = entries.get(&id).ok_or_else(|| EvalError::Unmatched {
            path: splits.into(),
            line: element.line,
            id: id.clone(),
            other: annotations.into(),
        })?;
        let image = match &entry.image {
            Some(name) => picture(annotations, *line, images, &format!("{id}/{name}"))?,
            None => PathBuf::new(),
        };
        let options = lettered(entry.choices.iter().cloned());
        let text = template.render(entry.hint.as_deref(), &entry.question, None, &options);
        Ok(question(id, entry, image, text))
    };
    let mut questions = Vec::new();
    for element in file.elements_below("test")? {
        questions.extend(problems.keep(one(&element))?);
    }
    Ok(questions)
}

fn question(id: String, entry: &Entry, image: PathBuf, text: String) -> Question {
    let has_image = !image.as_os_str().is_empty();
    let subset = if has_image { "image" } else { "text" };
    let options = lettered(entry.choices.iter().cloned());
    Question {
        id,
        benchmark: Benchmark::ScienceQa,
        subset: subset.into(),
        kind: entry.subject.clone().unwrap_or_else(|| subset.into()),
        group: None,
        image,
        inline: None,
        text,
        reference: options
            .get(entry.answer)
            .map_or(Reference::Hidden, |&(letter, _)| Reference::Letter {
                letter,
                options: options.clone(),
            }),
    }
}
