//! Samples that could not be answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use diffprune_files::write_whole;
use serde::{Deserialize, Serialize};

use super::record::Key;
use crate::EvalError;

/// A question without an answer, and the reason.
pub(crate) struct Failure {
    pub(crate) key: Key,
    pub(crate) image: String,
    pub(crate) error: EvalError,
}

/// An answer that a run could not give, as the list beside its records has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unanswered {
    /// The arm.
    pub arm: String,
    /// The budget.
    pub budget: String,
    /// The arm's seed.
    pub seed: u64,
    /// The benchmark.
    pub benchmark: crate::data::Benchmark,
    /// Id of the question.
    pub question: String,
    /// Name of the picture.
    pub image: String,
    /// The reason.
    pub error: String,
}

/// The answers that are missing beside a record file, in the order of the list; none without a list.
///
/// # Errors
/// When the list cannot be read.
pub fn failures_of(records: &Path) -> Result<Vec<Unanswered>, EvalError> {
    let path = list_of(records);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EvalError::io(&path, "read", error)),
    };
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| EvalError::line(&path, i + 1, error.to_string(), "a failure of a run"))
    };
    text.lines().enumerate().map(parse).collect()
}

/// One line of the list of failures.
#[derive(Serialize)]
struct Line<'a> {
    arm: &'a str,
    budget: &'a str,
    seed: u64,
    benchmark: crate::data::Benchmark,
    question: &'a str,
    image: &'a str,
    error: String,
}

/// True when only the sample is to blame: the run can go on without it. A disk that refuses is no sample's fault.
pub(crate) fn is_of_a_sample(error: &EvalError) -> bool {
    matches!(
        error,
        EvalError::Model(_) | EvalError::Image(_) | EvalError::Setup { .. }
    )
}

/// Runs `work`; a panic in it becomes an error.
pub(crate) fn guarded(work: impl FnOnce() -> Result<(), EvalError>) -> Result<(), EvalError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(EvalError::Setup {
            subject: "sample".into(),
            found: format!("a panic ({})", text.unwrap_or("without words")),
            wanted: "an answer or an error".into(),
        })
    })
}

/// The list of the failures of a record file: `records.jsonl` has `records.failed.jsonl`.
pub fn list_of(records: &Path) -> PathBuf {
    records.with_extension("failed.jsonl")
}

/// Lists the failures, sorted; without any, the list of an earlier call goes.
pub(crate) fn write(records: &Path, failures: &mut [Failure]) -> Result<(), EvalError> {
    let path = list_of(records);
    if failures.is_empty() {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(EvalError::io(&path, "remove", error))
            }
            _ => Ok(()),
        };
    }
    failures.sort_by(|a, b| a.key.cmp(&b.key));
    let mut bytes = Vec::new();
    for Failure { key, image, error } in failures.iter() {
        let line = Line {
            arm: &key.0,
            budget: &key.1,
            seed: key.2,
            benchmark: key.3,
            question: &key.4,
            image,
            error: error.to_string(),
        };
        serde_json::to_writer(&mut bytes, &line)
            .map_err(|error| EvalError::io(&path, "encode a failure", error.into()))?;
        bytes.push(b'\n');
    }
    Ok(write_whole(&path, &bytes)?)
}
