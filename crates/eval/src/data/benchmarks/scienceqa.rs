//! ScienceQA: multiple choice from school books (Lu et al. 2022).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::EvalError;
use crate::answer::is_space;
use crate::data::benchmark::{Benchmark, score};
use crate::data::json::{Element, TextFile};
use crate::data::problems::Problems;
use crate::data::question::{Protocol, Question, ReadOptions, Reference};
use crate::data::readers::{Ids, id_text, image_folder, llava_file, picture, require};
use crate::data::template::{OPTION_LETTER, Template, lettered};

/// ScienceQA.
pub(crate) struct ScienceQa;

impl BenchmarkSpec for ScienceQa {
    fn name(&self) -> &'static str {
        "scienceqa"
    }

    fn metric(&self) -> &'static str {
        "scienceqa accuracy"
    }

    fn splits(&self) -> Splits {
        Splits::same("test, questions with a picture", 2_017)
    }

    /// Mean over the image questions of one over the number of choices, as the data set's paper prints it.
    fn chance(&self) -> f64 {
        40.08
    }

    fn template(&self, _: Protocol) -> Template {
        Template {
            hint: ("Context: ", "\n"),
            ..Template::LETTER
        }
    }

    fn max_new_tokens(&self, protocol: Protocol) -> usize {
        match protocol {
            Protocol::Llava => 1024,
            Protocol::LmmsEval => 16,
        }
    }

    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
        read(files.root, files.options, files.problems)
    }

    fn score(&self, answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
        let Reference::Letter { letter, options } = reference else {
            return score(answer, reference, protocol);
        };
        let offered = |found: &char| options.iter().any(|(letter, _)| letter == found);
        f64::from(match protocol {
            Protocol::Llava => scienceqa_letter(answer).filter(offered) == Some(*letter),
            Protocol::LmmsEval => scienceqa_correct_lmms(answer, *letter),
        })
    }

    fn names_pictures_by_folder(&self) -> bool {
        true
    }

    fn llava_id(&self, question: &Question) -> Value {
        question.id.as_str().into()
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        Some(ParquetCopy::new("test", unpack))
    }
}
#[cfg(feature = "parquet")]
use crate::data::parquet_rows::ParquetRow;
use crate::data::spec::{BenchmarkFiles, BenchmarkSpec, Splits};
#[cfg(feature = "parquet")]
use crate::data::unpack::{JsonList, OfficialFiles, ParquetCopy};

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
    id: Value,
    #[serde(default)]
    image: Option<String>,
    conversations: Vec<ConversationTurn>,
}

#[derive(Deserialize)]
struct ConversationTurn {
    value: String,
}

type Entries = HashMap<String, (usize, Entry)>;

/// Questions of `llava_test_CQM-A.json` joined by id with `problems.json`, or those that `pid_splits.json` calls `test`.
fn read(root: &Path, options: &ReadOptions, problems: &mut Problems) -> Result<Vec<Question>, EvalError> {
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
        let first = row.conversations.first().ok_or_else(|| {
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
        let text = first.value.replace(IMAGE_TAG, "").trim().to_string() + OPTION_LETTER;
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

/// LLaVA's reading of a ScienceQA answer: the whole text is a letter from A to E; or a letter, `. ` and anything; or
/// exactly one "The answer is X" with a character after it. Case and spaces count; `None` when none of these fits.
pub fn scienceqa_letter(answer: &str) -> Option<char> {
    const PHRASE: &str = "The answer is ";
    let mut letters = answer.chars();
    if let Some(first @ 'A'..='E') = letters.next() {
        let rest = letters.as_str();
        if rest.is_empty() || rest.starts_with(". ") {
            return Some(first);
        }
    }
    let mut found = Vec::new();
    let mut rest = answer;
    while let Some(place) = rest.find(PHRASE) {
        let after = &rest[place + PHRASE.len()..];
        let mut letters = after.chars();
        match (letters.next(), letters.next()) {
            (Some(letter @ 'A'..='Z'), Some(next)) if next != '\n' => {
                found.push(letter);
                rest = letters.as_str();
            }
            _ => rest = after,
        }
    }
    match found.as_slice() {
        [letter] => Some(*letter),
        _ => None,
    }
}

/// lmms-eval's rule for ScienceQA: the trimmed answer is the letter in any case, or starts with it and a period.
pub fn scienceqa_correct_lmms(answer: &str, letter: char) -> bool {
    let answer = answer.trim_matches(is_space);
    let named = letter.to_string();
    answer.eq_ignore_ascii_case(&named) || answer.starts_with(&format!("{letter}."))
}

/// The copy has no ids: they become row numbers.
#[cfg(feature = "parquet")]
fn unpack(mut row: ParquetRow<'_>, official: &mut OfficialFiles<'_>) -> Result<(), EvalError> {
    let id = official.next_question().to_string();
    if row.has_picture() {
        row.fields_mut().insert("image".into(), "image.png".into());
    }
    if row.has_picture() {
        official.picture(&format!("images/test/{id}/image.png"), Some(row.picture()?))?;
    }
    official.entry("problems.json", &id, &row.fields().clone().into());
    official.element("pid_splits.json", JsonList::Below("test"), &id.into());
    Ok(())
}
