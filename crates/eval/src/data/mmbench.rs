//! MMBench and MMBench-CN: options in all rotations (Liu et al. 2023).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::picture::InlineImage;
use super::problems::Problems;
use super::prompt::Template;
use super::question::{Benchmark, Question, ReadOptions, Reference, Split};
use super::table::{Ids, require};
use super::tsv::{Row, Table};
use crate::EvalError;

/// Rotations of a question have ids that differ by this.
pub(crate) const ROTATION: u64 = 1_000_000;
/// An image field of at most this many letters is the index of the row that has the picture.
const MAX_POINTER: usize = 64;
/// The columns of options.
const OPTIONS: [char; 4] = ['A', 'B', 'C', 'D'];
/// The files that will do, LLaVA's first.
const EN_DEV: [&str; 3] = [
    "mmbench_dev_20230712.tsv",
    "mmbench_dev_en_20231003.tsv",
    "MMBench_DEV_EN.tsv",
];
const EN_TEST: [&str; 3] = [
    "mmbench_test_20230712.tsv",
    "mmbench_test_en_20231003.tsv",
    "MMBench_TEST_EN.tsv",
];
const CN_DEV: [&str; 2] = ["mmbench_dev_cn_20231003.tsv", "MMBench_DEV_CN.tsv"];
const CN_TEST: [&str; 2] = ["mmbench_test_cn_20231003.tsv", "MMBench_TEST_CN.tsv"];

/// The table of a language and split.
fn table_path(benchmark: Benchmark, root: &Path, split: Split) -> Result<PathBuf, EvalError> {
    let names: &[&str] = match (benchmark, split) {
        (Benchmark::MmBenchCn, Split::Scored) => &CN_DEV,
        (Benchmark::MmBenchCn, Split::Upload) => &CN_TEST,
        (_, Split::Scored) => &EN_DEV,
        (_, Split::Upload) => &EN_TEST,
    };
    require(root, names)
}

/// The English rows.
pub(crate) fn read_en(
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    read(Benchmark::MmBench, root, options, problems)
}

/// The Chinese rows.
pub(crate) fn read_cn(
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    read(Benchmark::MmBenchCn, root, options, problems)
}

/// The table that MMBench's server takes, with tabs between columns: of the published one the columns `index`, `question`, `A`
/// to `D`, `answer` and `split`, as far as it has them, and `prediction` as the seventh. `answers` are by index; rows without one
/// are left out. Tabs and newlines become spaces.
///
/// # Errors
/// When the table is missing or a row of it is damaged.
pub(crate) fn mmbench_upload(
    benchmark: Benchmark,
    root: &Path,
    split: Split,
    answers: &HashMap<&str, &str>,
) -> Result<String, EvalError> {
    let mut table = Table::read(&table_path(benchmark, root, split)?, &["index"])?;
    let mut text = String::from("index\tquestion\tA\tB\tC\tD\tprediction\tanswer\tsplit\n");
    for row in std::mem::take(&mut table.rows) {
        let row = row?;
        let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
        let cell = |column: &str| table.get(&row, column).map(plain).unwrap_or_default();
        let index = cell("index");
        if let Some(answer) = answers.get(index.trim()) {
            let asked = ["question", "A", "B", "C", "D"].map(cell).join("\t");
            text += &format!(
                "{index}\t{asked}\t{}\t{}\t{}\n",
                plain(answer),
                cell("answer"),
                cell("split")
            );
        }
    }
    Ok(text)
}

/// One row before its picture is known.
struct Entry {
    line: usize,
    index: u64,
    image: Option<String>,
    question: Question,
}

fn read(
    benchmark: Benchmark,
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let path = &table_path(benchmark, root, options.split)?;
    let mut table = Table::read(path, &["index", "question", "A", "B", "image"])?;
    let mut ids = Ids::default();
    let mut entries = Vec::new();
    for row in std::mem::take(&mut table.rows) {
        let Some(row) = problems.keep(row)? else { continue };
        let index = table
            .get(&row, "index")
            .and_then(|text| text.trim().parse::<u64>().ok());
        let group = index.map_or_else(String::new, |index| (index % ROTATION).to_string());
        let entry = index
            .ok_or_else(|| EvalError::line(path, row.line, "no number in column index", "a whole number"))
            .and_then(|index| {
                ids.add(path, row.line, &index.to_string())?;
                entry(benchmark, path, &table, &row, index, options)
            });
        entries.extend(problems.keep_member(&group, entry)?);
    }
    with_pictures(path, entries, problems)
}

fn entry(
    benchmark: Benchmark,
    path: &Path,
    table: &Table,
    row: &Row,
    index: u64,
    options: &ReadOptions,
) -> Result<Entry, EvalError> {
    let texts: Vec<(char, String)> = OPTIONS
        .iter()
        .filter_map(|&letter| {
            Some((
                letter,
                table.get(row, letter.encode_utf8(&mut [0; 4]))?.to_string(),
            ))
        })
        .collect();
    // The prompt stops at the first missing option, the matchers do not.
    let asked: Vec<(char, String)> = OPTIONS
        .iter()
        .zip(&texts)
        .take_while(|(letter, (found, _))| *letter == found)
        .map(|(_, option)| option.clone())
        .collect();
    let text = |column: &str| table.get(row, column).map(str::to_string);
    let category = text("category").unwrap_or_else(|| "default".into());
    let template = Template::of(benchmark, options.prompts);
    let reference = match (options.split, text("answer")) {
        (Split::Upload, _) => Reference::Hidden,
        (Split::Scored, answer) => {
            // An option whose text reads as a missing value ("None") is there all the same: the official script counts its row.
            let written = |letter: &char| table.has_text(row, letter.encode_utf8(&mut [0; 4]));
            let written: Vec<char> = OPTIONS.into_iter().filter(written).collect();
            letter_reference(path, row.line, answer, &written, texts)?
        }
    };
    let question = text("question").unwrap_or_default();
    let hint = text("hint");
    Ok(Entry {
        line: row.line,
        index,
        image: text("image"),
        question: Question {
            id: index.to_string(),
            benchmark,
            subset: text("l2-category").unwrap_or_else(|| category.clone()),
            kind: category,
            group: Some((index % ROTATION).to_string()),
            image: path.into(),
            inline: None,
            text: template.render(hint.as_deref(), &question, None, &asked),
            reference,
        },
    })
}

/// The right letter, which must be that of an option.
fn letter_reference(
    path: &Path,
    line: usize,
    answer: Option<String>,
    written: &[char],
    options: Vec<(char, String)>,
) -> Result<Reference, EvalError> {
    let answer = answer.unwrap_or_default();
    let named = |letter: &&char| answer.trim() == letter.to_string();
    match written.iter().find(named) {
        Some(&letter) => Ok(Reference::Letter { letter, options }),
        None => {
            let found = format!("answer `{answer}`");
            let letters: Vec<String> = written.iter().map(char::to_string).collect();
            Err(EvalError::line(
                path,
                line,
                found,
                format!("one of the letters {}", letters.join(", ")),
            ))
        }
    }
}

/// Decodes each picture once and gives it to all rows that have the same text or point to it.
fn with_pictures(
    path: &Path,
    mut entries: Vec<Entry>,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    if !problems.is_empty() {
        leave_out_incomplete(&entries, problems);
    }
    let texts: Vec<String> = entries
        .iter_mut()
        .map(|entry| entry.image.take().unwrap_or_default())
        .collect();
    let owners: HashMap<u64, &str> = entries
        .iter()
        .zip(&texts)
        .filter(|(_, text)| text.len() > MAX_POINTER)
        .map(|(entry, text)| (entry.index, text.as_str()))
        .collect();
    let mut decoded: HashMap<&str, Result<InlineImage, String>> = HashMap::new();
    let mut questions = Vec::new();
    for (entry, own) in entries.into_iter().zip(&texts) {
        let owner = own
            .trim()
            .parse::<u64>()
            .ok()
            .filter(|_| own.len() <= MAX_POINTER)
            .and_then(|index| owners.get(&index));
        let text = owner.copied().unwrap_or(own);
        let image = decoded
            .entry(text)
            .or_insert_with(|| InlineImage::from_base64(text))
            .clone();
        let image = image.map_err(|found| {
            let wanted = "base64 of a picture, or the index of the row that has it";
            EvalError::line(path, entry.line, format!("column image with {found}"), wanted)
        });
        let group = entry.question.group.clone().unwrap_or_default();
        questions.extend(problems.keep_member(&group, image)?.map(|image| Question {
            image: path.join(image.name()),
            inline: Some(image),
            ..entry.question
        }));
    }
    Ok(questions)
}

/// A row that could not even be read may have been a rotation of any question: those with too few are left out.
fn leave_out_incomplete(entries: &[Entry], problems: &mut Problems) {
    let mut missing: HashMap<&str, i64> = HashMap::new();
    for Entry { question, .. } in entries {
        let Some(group) = question.group.as_deref() else {
            continue;
        };
        let n_options = match &question.reference {
            Reference::Letter { options, .. } => options.len() as i64,
            _ => 0,
        };
        *missing.entry(group).or_insert(n_options) -= 1;
    }
    let incomplete = missing.iter().filter(|&(_, &missing)| missing > 0);
    incomplete.for_each(|(group, _)| problems.leave_out(group));
}
