//! One line per answer, appended as answers come.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use diffprune_files::{faults, write_whole};
use serde::{Deserialize, Serialize};

use super::columns;
use crate::EvalError;
use crate::answer::{Scored, YesNoAnswer};
use crate::data::Benchmark;

/// One answer of one arm to one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The arm.
    pub arm: String,
    /// The budget, as [`diffprune_pruner::Budget`] writes it.
    pub budget: String,
    /// The arm's seed.
    pub seed: u64,
    /// The question's id.
    pub question: String,
    /// The question's benchmark.
    pub benchmark: Benchmark,
    /// The benchmark's part.
    pub subset: String,
    /// The question's class.
    pub kind: String,
    /// The questions that count together, as the question says; `None` when it counts alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// File name of the picture.
    pub image: String,
    /// Visual tokens that the language model got.
    pub kept: usize,
    /// Visual tokens of the picture.
    pub total: usize,
    /// The model's answer, trimmed.
    pub answer: String,
    /// Its score, 0 to 1.
    pub score: f64,
    /// The truth of a yes/no question whose answers are counted as such (POPE).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<bool>,
    /// The answer to a yes/no question as the rule that scored it reads it; in records of earlier versions unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<YesNoAnswer>,
    /// Answers that the question offers: its options, two for yes or no; `None` for open questions, and in records of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<usize>,
    /// The score of VQAv2's answers by lmms-eval's program, which the benchmark's own stands beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lmms: Option<f64>,
    /// Runs of layers and the visual tokens that entered each of them, of methods inside the language model;
    /// [`Self::kept`] is the rounded mean over layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<(usize, usize)>>,
    /// Probability that the model gave to what it said, among yes and no as the first word of its answer: of yes/no
    /// questions whose answer counts as one of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
}

/// The key that makes a record unique.
pub(crate) type Key = (String, String, u64, Benchmark, String);

impl Record {
    /// The answer as a metric sees it.
    pub(crate) fn scored(&self) -> Scored<'_> {
        Scored {
            subset: &self.subset,
            group: self.group.as_deref(),
            score: self.score,
            label: self.label,
            said: self.said,
        }
    }

    /// The key that makes the record unique: arm, budget, seed, benchmark, question.
    pub(crate) fn key(&self) -> Key {
        (
            self.arm.clone(),
            self.budget.clone(),
            self.seed,
            self.benchmark,
            self.question.clone(),
        )
    }
}

/// The beginning of every record file.
const HEADER: &[u8] = b"{\"run\":";

/// First line of a record file.
#[derive(Serialize, Deserialize)]
struct Header {
    run: String,
}

/// A file of records that only grows; at the end of a run it is put in order. A last line that a crash has cut short or
/// damaged is dropped when the file is opened again: its question is asked again.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    file: File,
}

impl RecordFile {
    /// Opens (or starts) the file of the run with this fingerprint, and gives the records that it holds, each once.
    ///
    /// # Errors
    /// [`EvalError::OtherRun`] when the file belongs to another run, [`EvalError::Line`] when a line that is not the
    /// last one is damaged, [`EvalError::Io`] when the file cannot be read or written.
    pub fn open(path: &Path, fingerprint: &str) -> Result<(Self, Vec<Record>), EvalError> {
        let io = |action| move |source| EvalError::io(path, action, source);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io("create the folder"))?;
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io("read")(error)),
        };
        let (records, whole) = parse(path, &bytes, Some(fingerprint))?;
        if whole == 0 && !bytes.starts_with(&HEADER[..HEADER.len().min(bytes.len())]) {
            let found = "a file without records";
            return Err(EvalError::line(
                path,
                1,
                found,
                "records or nothing; choose another file",
            ));
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(io("open"))?;
        file.set_len(whole as u64).map_err(io("truncate"))?;
        let mut records_file = Self {
            path: path.into(),
            file,
        };
        if whole == 0 {
            records_file.write(&[Header {
                run: fingerprint.into(),
            }])?;
        }
        Ok((records_file, records))
    }

    /// Reads the records of a finished or running file without changing it. Where the file is not there, its small copy of the
    /// same name and `.columns.gz`, as [`compress`](Self::compress) writes it, takes its place.
    ///
    /// # Errors
    /// As [`Self::open`]; the fingerprint is not checked.
    pub fn read(path: &Path) -> Result<Vec<Record>, EvalError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(_) if columns::packed(path).is_file() => return columns::read(&columns::packed(path)),
            Err(source) => return Err(EvalError::io(path, "read", source)),
        };
        if whole_lines(&bytes) == 0 {
            return Err(EvalError::line(path, 1, "no record", "a header and records"));
        }
        Ok(parse(path, &bytes, None)?.0)
    }

    /// Writes a small copy of the records of `path` beside where `target` would be: `target` and `.columns.gz`, one JSON array
    /// for each field, compressed; whole or not at all. The same records give the same bytes.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or the disk refuses.
    pub fn compress(path: &Path, target: &Path) -> Result<(), EvalError> {
        columns::write(&Self::read(path)?, &columns::packed(target))
    }

    /// Replaces the file by one with these records in this order, unless it is that already.
    ///
    /// # Errors
    /// When the disk refuses; the file is then as it was.
    pub(crate) fn put<'r>(
        path: &Path,
        fingerprint: &str,
        records: impl Iterator<Item = &'r Record>,
    ) -> Result<(), EvalError> {
        let header = Header {
            run: fingerprint.into(),
        };
        let mut bytes = lines(path, std::iter::once(&header))?;
        bytes.extend(lines(path, records)?);
        let found = std::fs::read(path).map_err(|source| EvalError::io(path, "read", source))?;
        if found == bytes {
            return Ok(());
        }
        Ok(write_whole(path, &bytes)?)
    }

    /// Appends records in one write, and gives them as the file will give them back: a run that reads its own records
    /// and one that wrote them a moment ago compute with the same bits.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append(&mut self, records: &[Record]) -> Result<Vec<Record>, EvalError> {
        let bytes = self.write(records)?;
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let read = |line| serde_json::from_slice(line).map_err(|error| unfit(&self.path, 0, &error));
        lines.map(read).collect()
    }

    fn write<T: Serialize>(&mut self, rows: &[T]) -> Result<Vec<u8>, EvalError> {
        let bytes = lines(&self.path, rows.iter())?;
        let before = self.file.metadata().map(|metadata| metadata.len());
        if let Err(source) =
            faults::write_all(&mut self.file, &self.path, &bytes).and_then(|()| self.file.flush())
        {
            // Half a line in the middle of the file would be damage; at worst it stays at the end, where it is dropped.
            let _ = before.and_then(|length| self.file.set_len(length));
            return Err(EvalError::io(&self.path, "append", source));
        }
        Ok(bytes)
    }
}

/// One line of JSON per row.
fn lines<'r, T: Serialize + 'r>(
    path: &Path,
    rows: impl Iterator<Item = &'r T>,
) -> Result<Vec<u8>, EvalError> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row)
            .map_err(|error| EvalError::io(path, "encode a record", error.into()))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn unfit(path: &Path, line: usize, error: &serde_json::Error) -> EvalError {
    EvalError::line(path, line, format!("no record ({error})"), "one JSON record")
}

/// Length of the lines that are complete.
fn whole_lines(bytes: &[u8]) -> usize {
    let end = bytes.iter().rposition(|&byte| byte == b'\n');
    end.map_or(0, |end| end + 1)
}

/// The records, each once, and the number of bytes that hold them. The fingerprint is checked when one is given.
fn parse(path: &Path, bytes: &[u8], fingerprint: Option<&str>) -> Result<(Vec<Record>, usize), EvalError> {
    let bytes = &bytes[..whole_lines(bytes)];
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n').enumerate();
    let Some((_, header)) = lines.next() else {
        return Ok((Vec::new(), 0));
    };
    let mut whole = header.len();
    let header: Header =
        serde_json::from_slice(header.trim_ascii()).map_err(|error| unfit(path, 1, &error))?;
    if let Some(wanted) = fingerprint.filter(|&wanted| wanted != header.run) {
        return Err(EvalError::OtherRun {
            path: path.into(),
            found: header.run,
            wanted: wanted.into(),
        });
    }
    let mut seen = HashSet::new();
    let mut records = Vec::new();
    for (number, line) in lines {
        match serde_json::from_slice::<Record>(line.trim_ascii()) {
            Ok(record) => {
                if seen.insert(record.key()) {
                    records.push(record);
                }
            }
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) if bytes[whole + line.len()..].trim_ascii().is_empty() => break,
            Err(error) => return Err(unfit(path, number + 1, &error)),
        }
        whole += line.len();
    }
    Ok((records, whole))
}
