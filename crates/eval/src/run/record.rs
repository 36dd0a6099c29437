//! One line per answer, appended as answers come.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::EvalError;
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
    /// What the model said, trimmed.
    pub answer: String,
    /// Its score, 0 to 1.
    pub score: f64,
    /// The truth of a yes/no question; the answer said the same when the score is 1 and the opposite otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<bool>,
}

/// What makes a record unique.
pub(crate) type Key = (String, String, u64, Benchmark, String);

impl Record {
    /// What makes the record unique: arm, budget, seed, benchmark, question.
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

/// First line of a record file.
#[derive(Serialize, Deserialize)]
struct Header {
    run: String,
}

/// A file of records that only grows. A line that a crash cut short is dropped when the file is opened again.
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
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        let records = parse(path, &bytes[..whole], fingerprint)?;
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

    /// Reads the records of a finished or running file without changing it.
    ///
    /// # Errors
    /// As [`Self::open`]; the fingerprint is not checked.
    pub fn read(path: &Path) -> Result<Vec<Record>, EvalError> {
        let bytes = std::fs::read(path).map_err(|source| EvalError::io(path, "read", source))?;
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        let header = bytes[..whole]
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        let header: Header = serde_json::from_slice(header).map_err(|error| unfit(path, 1, &error))?;
        parse(path, &bytes[..whole], &header.run)
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
        let mut bytes = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut bytes, row)
                .map_err(|error| EvalError::io(&self.path, "encode a record", error.into()))?;
            bytes.push(b'\n');
        }
        let before = self.file.metadata().map(|metadata| metadata.len());
        if let Err(source) = self.file.write_all(&bytes).and_then(|()| self.file.flush()) {
            // Half a line in the middle of the file would be damage; at worst it stays at the end, where it is dropped.
            let _ = before.and_then(|length| self.file.set_len(length));
            return Err(EvalError::io(&self.path, "append", source));
        }
        Ok(bytes)
    }
}

fn unfit(path: &Path, line: usize, error: &serde_json::Error) -> EvalError {
    EvalError::line(path, line, format!("no record ({error})"), "one JSON record")
}

fn parse(path: &Path, bytes: &[u8], fingerprint: &str) -> Result<Vec<Record>, EvalError> {
    let mut lines = bytes
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty());
    let Some((_, header)) = lines.next() else {
        return Ok(Vec::new());
    };
    let header: Header = serde_json::from_slice(header).map_err(|error| unfit(path, 1, &error))?;
    if header.run != fingerprint {
        return Err(EvalError::OtherRun {
            path: path.into(),
            found: header.run,
            wanted: fingerprint.into(),
        });
    }
    let mut seen = HashSet::new();
    let mut records = Vec::new();
    for (number, line) in lines {
        let record: Record = serde_json::from_slice(line).map_err(|error| unfit(path, number + 1, &error))?;
        if seen.insert(record.key()) {
            records.push(record);
        }
    }
    Ok(records)
}
