//! MME: two yes/no questions about each picture, in 14 subtasks (Fu et al. 2023).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::json::{Element, TextFile};
use super::picture::find_picture;
use super::problems::Problems;
use super::prompt::mme_text;
use super::question::{Benchmark, Protocol, Question, ReadOptions, Reference};
use super::table::{LlavaRow, first_existing, llava_file, picture};
use crate::EvalError;
use crate::answer::{MME_COGNITION, MME_PERCEPTION};

/// Where the subtasks' folders are.
const PLACES: [&str; 3] = ["MME_Benchmark_release_version", "MME_Benchmark", "."];

/// One line of a subtask's text file.
struct Entry {
    path: PathBuf,
    line: usize,
    subtask: &'static str,
    stem: String,
    question: String,
    answer: bool,
}

/// Questions of `llava_mme.jsonl` joined with the subtasks' text files, or of the latter alone.
pub(crate) fn read(
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let subtasks = || MME_PERCEPTION.iter().chain(&MME_COGNITION);
    let base = PLACES
        .iter()
        .map(|place| root.join(place))
        .find(|base| subtasks().any(|subtask| base.join(subtask).is_dir()))
        .ok_or_else(|| EvalError::NoFiles {
            root: root.into(),
            wanted: format!("{}/<subtask>", PLACES[0]),
        })?;
    let mut entries = Vec::new();
    for subtask in subtasks() {
        entries.extend(of_subtask(&base, subtask, problems)?);
    }
    let images = options.images.clone().unwrap_or(base);
    let questions = match llava_file(root, options, "llava_mme.jsonl") {
        Some(path) => of_llava(&path, entries, &images, problems)?,
        None => of_entries(entries, &images, options.prompts, problems)?,
    };
    pairs_only(root, questions, problems)
}

/// The lines of a subtask's text files, in the order of file names.
fn of_subtask(base: &Path, subtask: &'static str, problems: &mut Problems) -> Result<Vec<Entry>, EvalError> {
    let Some(folder) = first_existing(base, &[&format!("{subtask}/questions_answers_YN"), subtask]) else {
        return Ok(Vec::new());
    };
    let listed = std::fs::read_dir(&folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| EvalError::io(&folder, "list", source))?;
    let mut files: Vec<PathBuf> = listed.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    let mut entries = Vec::new();
    for path in files {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(file) = problems.keep_member(&format!("{subtask}/{stem}"), TextFile::read(&path))? else {
            continue;
        };
        for row in file.lines() {
            let entry = entry(&path, &row, subtask, &stem);
            entries.extend(problems.keep_member(&format!("{subtask}/{stem}"), entry)?);
        }
    }
    Ok(entries)
}

fn entry(path: &Path, row: &Element<'_>, subtask: &'static str, stem: &str) -> Result<Entry, EvalError> {
    let unfit = || {
        let found = format!("`{}`", row.text);
        EvalError::line(path, row.line, found, "a question, a tab, and Yes or No")
    };
    let (question, answer) = row.text.split_once('\t').ok_or_else(unfit)?;
    let answer = match answer.trim().to_lowercase().as_str() {
        "yes" => true,
        "no" => false,
        _ => return Err(unfit()),
    };
    Ok(Entry {
        path: path.into(),
        line: row.line,
        subtask,
        stem: stem.into(),
        question: question.into(),
        answer,
    })
}

/// Gives the questions about one picture the ids `<subtask>/<picture>#1` and `#2`, in the order of the file.
#[derive(Default)]
struct Numbers(HashMap<String, usize>);

impl Numbers {
    fn next(&mut self, picture: &str) -> String {
        let count = self.0.entry(picture.into()).or_default();
        *count += 1;
        format!("{picture}#{count}")
    }
}

fn of_llava(
    path: &Path,
    entries: Vec<Entry>,
    images: &Path,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let key =
        |subtask: &str, stem: &str, text: &str| (subtask.to_string(), stem.to_string(), text.to_string());
    let answers: HashMap<_, &Entry> = entries
        .iter()
        .map(|entry| {
            let text = mme_text(&entry.question, Protocol::Llava);
            (key(entry.subtask, &entry.stem, &text), entry)
        })
        .collect();
    let file = TextFile::read(path)?;
    let mut numbers = Numbers::default();
    let mut questions = Vec::new();
    for element in file.rows()? {
        let Some(row) = problems.keep(file.parse::<LlavaRow>(&element))? else {
            continue;
        };
        let id = row.id();
        let (subtask, name) = (first_part(&id), last_part(&id));
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let group = format!("{subtask}/{stem}");
        let mut one = || {
            let entry = answers
                .get(&key(subtask, stem, &row.text))
                .ok_or_else(|| EvalError::Unmatched {
                    path: path.into(),
                    line: element.line,
                    id: id.clone(),
                    other: images.join(subtask).join(format!("{stem}.txt")),
                })?;
            let image = picture(path, element.line, images, &row.image)?;
            let id = numbers.next(&format!("{subtask}/{name}"));
            Ok(question(entry, id, &group, image, row.text.clone()))
        };
        questions.extend(problems.keep_member(&group, one())?);
    }
    Ok(questions)
}

fn first_part(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

fn last_part(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

fn of_entries(
    entries: Vec<Entry>,
    images: &Path,
    prompts: Protocol,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let mut numbers = Numbers::default();
    let mut questions = Vec::new();
    for entry in &entries {
        let group = format!("{}/{}", entry.subtask, entry.stem);
        let folder = images.join(entry.subtask);
        let name = format!("{}.jpg", entry.stem);
        let found = find_picture(&folder.join("images"), &name).or_else(|| find_picture(&folder, &name));
        let image = found.ok_or_else(|| EvalError::MissingImage {
            path: entry.path.clone(),
            line: entry.line,
            image: folder.join(&name),
        });
        questions.extend(problems.keep_member(&group, image)?.map(|image| {
            let file = image.file_name().unwrap_or_default().to_string_lossy();
            let id = numbers.next(&format!("{}/{file}", entry.subtask));
            let text = mme_text(&entry.question, prompts);
            question(entry, id, &group, image, text)
        }));
    }
    Ok(questions)
}

fn question(entry: &Entry, id: String, group: &str, image: PathBuf, text: String) -> Question {
    Question {
        id,
        benchmark: Benchmark::Mme,
        subset: entry.subtask.into(),
        kind: entry.subtask.into(),
        group: Some(group.into()),
        image,
        inline: None,
        text,
        reference: Reference::YesNo(entry.answer),
    }
}

/// Accuracy+ is defined for pairs: pictures with another number of questions are left out.
fn pairs_only(
    root: &Path,
    questions: Vec<Question>,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for group in questions.iter().filter_map(|question| question.group.as_deref()) {
        *counts.entry(group).or_default() += 1;
    }
    let mut odd: Vec<(&str, usize)> = counts.into_iter().filter(|&(_, count)| count != 2).collect();
    odd.sort_unstable();
    for (group, count) in odd {
        let error = EvalError::Setup {
            subject: format!("{}: questions about {group}", root.display()),
            found: count.to_string(),
            wanted: "two; complete the file".into(),
        };
        problems.keep_member::<()>(group, Err(error))?;
    }
    Ok(questions)
}
