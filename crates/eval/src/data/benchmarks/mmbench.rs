//! MMBench and MMBench-CN: options in all rotations (Liu et al. 2023).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::EvalError;
use crate::answer::{Aggregate, extract_letter, mmbench_letter_lmms, mmbench_letter_vlmevalkit};
use crate::data::answer_files::{AnswerFile, AnsweredQuestions};
use crate::data::benchmark::{Benchmark, score};
#[cfg(feature = "parquet")]
use crate::data::parquet_rows::ParquetRow;
use crate::data::picture::InlineImage;
use crate::data::problems::Problems;
use crate::data::question::{Protocol, Question, ReadOptions, Reference, Split};
use crate::data::readers::{Ids, require};
use crate::data::spec::{BenchmarkFiles, BenchmarkSpec, SecondaryNumber, Splits};
use crate::data::template::{OPTION_LETTER, Template};
use crate::data::tsv::{Row, Table};
#[cfg(feature = "parquet")]
use crate::data::unpack::{AddRow, OfficialFiles, ParquetCopy};

/// Rotations of a question have ids that differ by this.
const ROTATION: u64 = 1_000_000;
/// An image field of at most this many letters is the index of the row that has the picture.
const MAX_POINTER: usize = 64;
/// The columns of options.
const OPTIONS: [char; 4] = ['A', 'B', 'C', 'D'];
/// The tables that parquet copies become.
const DEV_EN: &str = "MMBench_DEV_EN.tsv";
const DEV_CN: &str = "MMBench_DEV_CN.tsv";

/// MMBench in one of its languages.
pub(crate) struct MmBench {
    name: &'static str,
    metric: &'static str,
    /// Tables with answers that will do, LLaVA's first, the one that parquet copies become last.
    scored: &'static [&'static str],
    /// Tables without answers.
    hidden: &'static [&'static str],
    suffix_llava: &'static str,
    suffix_lmms: &'static str,
    max_new_tokens_lmms: usize,
    #[cfg(feature = "parquet")]
    unpack: AddRow,
}

impl MmBench {
    /// MMBench.
    pub(crate) const ENGLISH: Self = Self {
        name: "mmbench",
        metric: "mmbench circular accuracy",
        scored: &["mmbench_dev_20230712.tsv", "mmbench_dev_en_20231003.tsv", DEV_EN],
        hidden: &[
            "mmbench_test_20230712.tsv",
            "mmbench_test_en_20231003.tsv",
            "MMBench_TEST_EN.tsv",
        ],
        suffix_llava: OPTION_LETTER,
        suffix_lmms: "\n\nAnswer with the option's letter from the given choices directly.",
        max_new_tokens_lmms: 1024,
        #[cfg(feature = "parquet")]
        unpack: |row, official| unpack(DEV_EN, row, official),
    };
    /// MMBench-CN.
    pub(crate) const CHINESE: Self = Self {
        name: "mmbench_cn",
        metric: "mmbench_cn circular accuracy",
        scored: &["mmbench_dev_cn_20231003.tsv", DEV_CN],
        hidden: &["mmbench_test_cn_20231003.tsv", "MMBench_TEST_CN.tsv"],
        suffix_llava: "\n请直接回答选项字母。",
        suffix_lmms: "\n\n请直接使用所提供的选项字母作为答案回答。",
        max_new_tokens_lmms: 256,
        #[cfg(feature = "parquet")]
        unpack: |row, official| unpack(DEV_CN, row, official),
    };

    /// The table of a split.
    fn table(&self, root: &Path, split: Split) -> Result<PathBuf, EvalError> {
        require(
            root,
            match split {
                Split::Scored => self.scored,
                Split::Upload => self.hidden,
            },
        )
    }
}

impl BenchmarkSpec for MmBench {
    fn name(&self) -> &'static str {
        self.name
    }

    fn metric(&self) -> &'static str {
        self.metric
    }

    fn aggregate(&self) -> Aggregate {
        Aggregate::Groups
    }

    fn splits(&self) -> Splits {
        Splits::same("dev, 1164 questions in all rotations", 4_377)
    }

    /// A question counts when all rotations of its (mostly four) options are right: 4^-4.
    fn chance(&self) -> f64 {
        0.390_625
    }

    fn template(&self, protocol: Protocol) -> Template {
        match protocol {
            Protocol::Llava => Template {
                suffix: self.suffix_llava,
                ..Template::LETTER
            },
            Protocol::LmmsEval => Template {
                hint: ("", " "),
                lead: " There are several options:",
                suffix: self.suffix_lmms,
                ..Template::LETTER
            },
        }
    }

    fn max_new_tokens(&self, protocol: Protocol) -> usize {
        match protocol {
            Protocol::Llava => 1024,
            Protocol::LmmsEval => self.max_new_tokens_lmms,
        }
    }

    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
        let table = self.table(files.root, files.options.split)?;
        read(files.benchmark, &table, files.options, files.problems)
    }

    fn score(&self, answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
        let Reference::Letter { letter, options } = reference else {
            return score(answer, reference, protocol);
        };
        let found = match protocol {
            Protocol::Llava => mmbench_letter_vlmevalkit(answer, options),
            Protocol::LmmsEval => {
                let letters: Vec<char> = options.iter().map(|&(letter, _)| letter).collect();
                mmbench_letter_lmms(answer, options).or_else(|| extract_letter(answer, &letters))
            }
        };
        f64::from(found == Some(*letter))
    }

    fn has_upload_split(&self) -> bool {
        true
    }

    fn secondary(&self) -> &'static [SecondaryNumber] {
        const PLAIN: [SecondaryNumber; 1] = [SecondaryNumber::of_all("plain accuracy", |parts| {
            Aggregate::MeanScore.value(parts)
        })];
        &PLAIN
    }

    fn answer_files(&self, answered: &AnsweredQuestions<'_>) -> Result<Vec<AnswerFile>, EvalError> {
        let split = if answered.is_hidden() {
            Split::Upload
        } else {
            Split::Scored
        };
        let text = upload(self, answered.root(), split, &answered.by_id().collect())?;
        Ok(vec![("upload.tsv".into(), text)])
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        Some(ParquetCopy::new("dev", self.unpack))
    }
}

/// The table that MMBench's server takes, with tabs between columns: of the published one the columns `index`, `question`, `A`
/// to `D`, `answer` and `split`, as far as it has them, and `prediction` as the seventh. `answers` are by index; rows without one
/// are left out. Tabs and newlines become spaces.
///
/// # Errors
/// When the table is missing or a row of it is damaged.
fn upload(
    language: &MmBench,
    root: &Path,
    split: Split,
    answers: &HashMap<&str, &str>,
) -> Result<String, EvalError> {
    let mut table = Table::read(&language.table(root, split)?, &["index"])?;
    let mut text = String::from("index\tquestion\tA\tB\tC\tD\tprediction\tanswer\tsplit\n");
    for row in std::mem::take(&mut table.rows) {
        let row = row?;
        let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
        let cell = |column: &str| table.get(&row, column).map(plain).unwrap_or_default();
        let index = cell("index");
        if let Some(answer) = answers.get(index.trim()) {
            let question = ["question", "A", "B", "C", "D"].map(cell).join("\t");
            text += &format!(
                "{index}\t{question}\t{}\t{}\t{}\n",
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
    path: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
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
    let offered: Vec<(char, String)> = OPTIONS
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
            text: template.render(hint.as_deref(), &question, None, &offered),
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

/// The columns of MMBench's table.
#[cfg(feature = "parquet")]
const COLUMNS: [&str; 14] = [
    "index",
    "question",
    "hint",
    "A",
    "B",
    "C",
    "D",
    "answer",
    "category",
    "image",
    "source",
    "l2-category",
    "comment",
    "split",
];

/// Adds a row to the table `file`.
#[cfg(feature = "parquet")]
fn unpack(file: &str, row: ParquetRow<'_>, official: &mut OfficialFiles<'_>) -> Result<(), EvalError> {
    use base64::Engine;
    official.next_question();
    let image = base64::engine::general_purpose::STANDARD.encode(row.picture()?);
    let cell = |name: &&str| match *name {
        "image" => image.clone(),
        name => quoted(&row.text(&name.to_lowercase()).unwrap_or_default()),
    };
    let line = COLUMNS.iter().map(cell).collect::<Vec<_>>().join("\t");
    if !official.has_line(file) {
        official.line(file, &COLUMNS.join("\t"));
    }
    official.line(file, &line);
    Ok(())
}

/// A field of a table, in quotes where it needs them.
#[cfg(feature = "parquet")]
fn quoted(text: &str) -> String {
    if text.contains(['\t', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}
