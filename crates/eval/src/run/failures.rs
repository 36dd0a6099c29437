//! Samples that could not be answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use diffprune_vlm_adapters::write_atomic;
use serde::Serialize;

use super::record::Key;
use crate::EvalError;

/// A question without an answer, and the reason.
pub(crate) struct Failure {
    pub(crate) key: Key,
    pub(crate) image: String,
    pub(crate) error: EvalError,
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
    matches!(error, EvalError::Model(_) | EvalError::Setup { .. })
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
pub(crate) fn list_of(records: &Path) -> PathBuf {
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
    Ok(write_atomic(&path, &bytes)?)
}
