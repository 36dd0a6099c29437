//! MME: two yes/no questions about each picture, in 14 subtasks (Fu et al. 2023).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::EvalError;
use crate::answer::{Aggregate, is_space};
use crate::data::answer_files::{AnswerFile, AnsweredQuestions};
use crate::data::benchmark::Benchmark;
use crate::data::json::{Element, TextFile};
use crate::data::picture::find_picture;
use crate::data::problems::Problems;
use crate::data::question::{Protocol, Question, ReadOptions, Reference};
use crate::data::readers::{LlavaRow, file_stem, first_existing, llava_file, picture};

/// The subtasks of perception, in the order of MME's program.
pub const MME_PERCEPTION: [&str; 10] = [
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
];
/// The subtasks of cognition.
pub const MME_COGNITION: [&str; 4] = [
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
];
/// The end of the questions in MME's files; prompts replace it by [`SHORT_ANSWER`].
const YES_OR_NO: &str = "Please answer yes or no.";

/// MME.
pub(crate) struct Mme;

impl BenchmarkSpec for Mme {
    fn name(&self) -> &'static str {
        "mme"
    }

    fn metric(&self) -> &'static str {
        "mme points"
    }

    fn aggregate(&self) -> Aggregate {
        Aggregate::AccuracyPlus
    }

    fn splits(&self) -> Splits {
        Splits::same("all 14 subtasks", 2_374)
    }

    /// 14 parts, each 50 for single answers and 25 for both answers about a picture.
    fn chance(&self) -> f64 {
        1050.0
    }

    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
        read(files.root, files.options, files.problems)
    }

    fn yes_or_no(&self, answer: &str, protocol: Protocol) -> Option<bool> {
        match protocol {
            Protocol::Llava => mme_label(answer),
            Protocol::LmmsEval => mme_label_lmms(answer),
        }
    }

    fn answers_offered(&self) -> Option<usize> {
        Some(2)
    }

    fn names_pictures_by_folder(&self) -> bool {
        true
    }

    fn secondary(&self) -> &'static [SecondaryNumber] {
        const PARTS: [SecondaryNumber; 2] = [
            SecondaryNumber::of_parts(
                "perception points",
                |subtask| MME_PERCEPTION.contains(&subtask),
                |parts| Aggregate::AccuracyPlus.value(parts),
            ),
            SecondaryNumber::of_parts(
                "cognition points",
                |subtask| MME_COGNITION.contains(&subtask),
                |parts| Aggregate::AccuracyPlus.value(parts),
            ),
        ];
        &PARTS
    }

    fn llava_id(&self, question: &Question) -> Value {
        json!(question.id.split('#').next())
    }

    /// Its program reads whole subtasks only: no file unless every question has an answer.
    fn answer_files(&self, answered: &AnsweredQuestions<'_>) -> Result<Vec<AnswerFile>, EvalError> {
        let all = answered
            .by_id()
            .map(|(id, answer)| (id.to_string(), answer.to_string()))
            .collect();
        let texts = mme_results(answered.root(), &all).unwrap_or_default();
        let file = |(subtask, text)| (format!("{subtask}.txt"), text);
        Ok(texts.into_iter().map(file).collect())
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        Some(ParquetCopy::new("test", unpack))
    }
}

/// MME's text from a question of its files: the request for yes or no gives way to the suffix.
///
/// LLaVA's file has no space before the suffix; lmms-eval removes one space only, and some questions have two.
pub fn mme_text(question: &str, protocol: Protocol) -> String {
    let bare = match protocol {
        Protocol::Llava => question.trim().replace(YES_OR_NO, "").trim().to_string(),
        Protocol::LmmsEval => question.trim().replace(&format!(" {YES_OR_NO}"), ""),
    };
    bare + SHORT_ANSWER
}
#[cfg(feature = "parquet")]
use crate::data::parquet_rows::ParquetRow;
use crate::data::spec::{BenchmarkFiles, BenchmarkSpec, SecondaryNumber, Splits};
use crate::data::template::SHORT_ANSWER;
#[cfg(feature = "parquet")]
use crate::data::unpack::{OfficialFiles, ParquetCopy};

/// Folders that may hold the subtasks' folders.
const PLACES: [&str; 3] = ["MME_Benchmark_release_version", "MME_Benchmark", "."];

/// One line of a subtask's text file.
struct Entry {
    path: PathBuf,
    line: usize,
    subtask: &'static str,
    stem: String,
    /// Number of the line about the picture, from 1.
    nth: usize,
    question: String,
    answer: bool,
}

impl Entry {
    /// `<subtask>/<picture>`, without ending.
    fn group(&self) -> String {
        format!("{}/{}", self.subtask, self.stem)
    }
}

/// Questions of `llava_mme.jsonl` joined with the subtasks' text files, or of the latter alone.
fn read(root: &Path, options: &ReadOptions, problems: &mut Problems) -> Result<Vec<Question>, EvalError> {
    let (base, entries) = entries(root, problems)?;
    let images = options.images.clone().unwrap_or(base);
    let questions = match llava_file(root, options, "llava_mme.jsonl") {
        Some(path) => of_llava(&path, &entries, &images, problems)?,
        None => of_entries(&entries, &images, options.prompts, problems)?,
    };
    pairs_only(root, questions, problems)
}

/// The folder of the subtasks, and every line of their text files.
fn entries(root: &Path, problems: &mut Problems) -> Result<(PathBuf, Vec<Entry>), EvalError> {
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
    Ok((base, entries))
}

/// The files that MME's own program reads, by subtask: for each question the text file's name, the question, the truth
/// and the answer, with tabs between. `answers` are by the ids of the questions. Tabs and newlines in answers, which
/// would break the files, become spaces.
///
/// # Errors
/// When MME's files below `root` are damaged or an answer is missing.
pub fn mme_results(
    root: &Path,
    answers: &HashMap<String, String>,
) -> Result<BTreeMap<&'static str, String>, EvalError> {
    let mut problems = Problems::new(true);
    let (base, entries) = entries(root, &mut problems)?;
    let questions = of_entries(&entries, &base, Protocol::Llava, &mut problems)?;
    let mut files: BTreeMap<&'static str, String> = BTreeMap::new();
    for (entry, question) in entries.iter().zip(questions) {
        let answer = answers.get(&question.id).ok_or_else(|| EvalError::Setup {
            subject: "answers to MME".into(),
            found: format!("none to `{}`", question.id),
            wanted: "one to every question".into(),
        })?;
        let truth = if entry.answer { "Yes" } else { "No" };
        let answer = answer.replace(['\t', '\n', '\r'], " ");
        let row = format!("{}.txt\t{}\t{truth}\t{answer}\n", entry.stem, entry.question);
        files.entry(entry.subtask).or_default().push_str(&row);
    }
    Ok(files)
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
        let stem = file_stem(&path);
        let Some(file) = problems.keep_member(&format!("{subtask}/{stem}"), TextFile::read(&path))? else {
            continue;
        };
        for (place, row) in file.lines().iter().enumerate() {
            let entry = entry(&path, row, subtask, &stem, place + 1);
            entries.extend(problems.keep_member(&format!("{subtask}/{stem}"), entry)?);
        }
    }
    Ok(entries)
}

fn entry(
    path: &Path,
    row: &Element<'_>,
    subtask: &'static str,
    stem: &str,
    nth: usize,
) -> Result<Entry, EvalError> {
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
        nth,
        question: question.into(),
        answer,
    })
}

fn of_llava(
    path: &Path,
    entries: &[Entry],
    images: &Path,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let mut by_text: HashMap<(String, String), Vec<&Entry>> = HashMap::new();
    for entry in entries.iter().rev() {
        let key = (entry.group(), mme_text(&entry.question, Protocol::Llava));
        by_text.entry(key).or_default().push(entry);
    }
    let file = TextFile::read(path)?;
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
            let entry = by_text
                .get_mut(&(group.clone(), row.text.clone()))
                .and_then(Vec::pop)
                .ok_or_else(|| EvalError::Unmatched {
                    path: path.into(),
                    line: element.line,
                    id: id.clone(),
                    other: images.join(subtask).join(format!("{stem}.txt")),
                })?;
            let image = picture(path, element.line, images, &row.image)?;
            Ok(question(entry, image, row.text.clone()))
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
    entries: &[Entry],
    images: &Path,
    prompts: Protocol,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let mut questions = Vec::new();
    for entry in entries {
        let folder = images.join(entry.subtask);
        let name = format!("{}.jpg", entry.stem);
        let found = find_picture(&folder.join("images"), &name).or_else(|| find_picture(&folder, &name));
        let image = found.ok_or_else(|| EvalError::MissingImage {
            path: entry.path.clone(),
            line: entry.line,
            image: folder.join(&name),
        });
        let text = mme_text(&entry.question, prompts);
        questions.extend(
            problems
                .keep_member(&entry.group(), image)?
                .map(|image| question(entry, image, text)),
        );
    }
    Ok(questions)
}

/// The id is `<subtask>/<picture>#<line>`.
fn question(entry: &Entry, image: PathBuf, text: String) -> Question {
    let file = image.file_name().unwrap_or_default().to_string_lossy();
    Question {
        id: format!("{}/{file}#{}", entry.subtask, entry.nth),
        benchmark: Benchmark::Mme,
        subset: entry.subtask.into(),
        kind: entry.subtask.into(),
        group: Some(entry.group()),
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

/// MME's label of an answer: exactly `yes` or `no` in any case, else what the first four characters contain, `yes`
/// before `no`; `None` is "other", which is wrong.
pub fn mme_label(answer: &str) -> Option<bool> {
    label(&answer.to_lowercase())
}

/// lmms-eval's label: the same after trimming and without periods; the single letters `y` and `n` count too.
pub fn mme_label_lmms(answer: &str) -> Option<bool> {
    match answer
        .to_lowercase()
        .trim_matches(is_space)
        .replace('.', "")
        .as_str()
    {
        "y" => Some(true),
        "n" => Some(false),
        bare => label(bare),
    }
}

fn label(lower: &str) -> Option<bool> {
    let start: String = lower.chars().take(4).collect();
    if start.contains("yes") {
        Some(true)
    } else if start.contains("no") {
        Some(false)
    } else {
        None
    }
}

#[cfg(feature = "parquet")]
fn unpack(row: ParquetRow<'_>, official: &mut OfficialFiles<'_>) -> Result<(), EvalError> {
    official.next_question();
    let id = row.text("question_id")?;
    let name = last_part(&id);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let folder = format!("{}/{}", PLACES[0], row.text("category")?);
    let line = format!("{}\t{}", row.text("question")?, row.text("answer")?);
    official.picture(&format!("{folder}/{name}"), Some(row.picture()?))?;
    official.line(&format!("{folder}/{stem}.txt"), &line);
    Ok(())
}
