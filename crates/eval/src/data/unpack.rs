//! The parquet copies of the benchmarks, unpacked into the official layouts. Rows are streamed: only texts are held.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use diffprune_files::{FolderLock, Stop};
use serde_json::{Value, json};

use super::benchmark::Benchmark;
use super::parquet_rows::{ParquetRow, SplitFiles, place};
use crate::EvalError;

/// The layout of a benchmark's parquet copy.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ParquetCopy {
    /// The split that is unpacked: files are called `<split>-*.parquet`.
    pub split: &'static str,
    /// True when pictures and questions are in folders of their own.
    pub pictures_apart: bool,
    /// Adds a row to the official files; calls [`OfficialFiles::next_question`] for each question.
    pub add: AddRow,
}

/// Adds a row of a parquet copy to the official files.
pub type AddRow = fn(ParquetRow<'_>, &mut OfficialFiles<'_>) -> Result<(), EvalError>;

impl ParquetCopy {
    /// A copy whose pictures and questions are columns of the same files.
    pub const fn new(split: &'static str, add: AddRow) -> Self {
        Self {
            split,
            pictures_apart: false,
            add,
        }
    }

    /// The same with pictures and questions in folders of their own.
    pub const fn with_pictures_apart(self) -> Self {
        Self {
            pictures_apart: true,
            ..self
        }
    }
}

/// Writes the official files of a benchmark below `to` from the parquet files below `from`, so that
/// [`Benchmark::read`] reads them: every part of the default split. Gives the number of questions.
/// `progress` is called after each row with the rows done and the rows in all; `stop` ends the work between two rows.
///
/// ScienceQA has no ids there (they become row numbers), SEED-Bench no names of question types; of a video's frames
/// the first is written.
///
/// # Errors
/// When there is no parquet file of the split, one is damaged or lacks a column, the layout of the benchmark's copy is
/// not known, the work is stopped, another process works in `to`, or the disk refuses.
pub fn unpack_parquet(
    benchmark: Benchmark,
    from: &Path,
    to: &Path,
    stop: &Stop,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<usize, EvalError> {
    let copy = benchmark.spec().parquet().ok_or_else(|| EvalError::Setup {
        subject: format!("parquet copy of {benchmark}"),
        found: "no known layout".into(),
        wanted: "the official files; or give its `BenchmarkSpec` the layout".into(),
    })?;
    let files = SplitFiles::open(from, copy.split, copy.pictures_apart)?;
    let _lock = FolderLock::take(to)?;
    let n_rows = files.n_rows();
    let mut official = OfficialFiles::new(to);
    for (done, row) in files.rows().enumerate() {
        go_on(stop, to, done, n_rows)?;
        (copy.add)(row?, &mut official)?;
        progress(done + 1, n_rows);
    }
    official.write()
}

/// An error once the work is to stop.
pub(super) fn go_on(stop: &Stop, folder: &Path, done: usize, of: usize) -> Result<(), EvalError> {
    match stop.is_requested() {
        false => Ok(()),
        true => Err(EvalError::Unfinished {
            folder: folder.into(),
            done,
            of,
        }),
    }
}

/// The form of a JSON file that holds one element for each question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonList {
    /// An array.
    Array,
    /// An object with an array below this key.
    Below(&'static str),
}

impl JsonList {
    fn text(self, elements: &str) -> String {
        match self {
            Self::Array => format!("[\n{elements}\n]\n"),
            Self::Below(key) => format!("{{\"{key}\": [\n{elements}\n]}}\n"),
        }
    }
}

/// The official files in the making: pictures are written at once, texts at the end.
#[derive(Debug)]
pub struct OfficialFiles<'a> {
    to: &'a Path,
    n_questions: usize,
    /// Elements of JSON lists, by file.
    lists: BTreeMap<&'static str, (JsonList, Vec<String>)>,
    /// Entries of JSON objects, by file.
    objects: BTreeMap<&'static str, Vec<String>>,
    /// Text files.
    texts: BTreeMap<String, String>,
    written: HashSet<String>,
}

impl<'a> OfficialFiles<'a> {
    fn new(to: &'a Path) -> Self {
        Self {
            to,
            n_questions: 0,
            lists: BTreeMap::new(),
            objects: BTreeMap::new(),
            texts: BTreeMap::new(),
            written: HashSet::new(),
        }
    }

    /// Counts one more question; gives its number, counted from 1.
    pub fn next_question(&mut self) -> usize {
        self.n_questions += 1;
        self.n_questions
    }

    /// True when a picture of this name was written before.
    pub fn has_picture(&self, name: &str) -> bool {
        self.written.contains(name)
    }

    /// True when a text file has a line.
    pub fn has_line(&self, file: &str) -> bool {
        self.texts.contains_key(file)
    }

    /// Writes a picture that is not there yet; nothing when there is none.
    ///
    /// # Errors
    /// When the name leaves the folder or the disk refuses.
    pub fn picture(&mut self, name: &str, bytes: Option<&[u8]>) -> Result<(), EvalError> {
        match bytes.filter(|_| self.written.insert(name.into())) {
            Some(bytes) => place(self.to, name, bytes),
            None => Ok(()),
        }
    }

    /// Adds an element to a JSON list.
    pub fn element(&mut self, file: &'static str, form: JsonList, element: &Value) {
        let list = self.lists.entry(file).or_insert_with(|| (form, Vec::new()));
        list.1.push(element.to_string());
    }

    /// Adds an entry to a JSON object.
    pub fn entry(&mut self, file: &'static str, key: &str, value: &Value) {
        let entries = self.objects.entry(file).or_default();
        entries.push(format!("{}: {value}", json!(key)));
    }

    /// Adds a line to a text file.
    pub fn line(&mut self, file: &str, line: &str) {
        let text = self.texts.entry(file.into()).or_default();
        text.push_str(line);
        text.push('\n');
    }

    /// Writes the text files; gives the number of questions.
    fn write(mut self) -> Result<usize, EvalError> {
        let mut texts = std::mem::take(&mut self.texts);
        for (file, (form, elements)) in &self.lists {
            texts.insert((*file).into(), form.text(&elements.join(",\n")));
        }
        for (file, entries) in &self.objects {
            texts.insert((*file).into(), format!("{{\n{}\n}}\n", entries.join(",\n")));
        }
        for (file, text) in texts {
            self.picture(&file, Some(text.as_bytes()))?;
        }
        Ok(self.n_questions)
    }
}
