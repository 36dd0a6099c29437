//! `report.json`.

use std::path::Path;

use super::result::Report;
use crate::EvalError;

/// The report as indented JSON with a final newline.
pub(crate) fn text(report: &Report) -> Result<String, EvalError> {
    let text = serde_json::to_string_pretty(report).map_err(|error| EvalError::Setup {
        subject: "report.json".into(),
        found: error.to_string(),
        wanted: "numbers that JSON can hold".into(),
    })?;
    Ok(text + "\n")
}

/// Reads a report back.
pub(crate) fn read(path: &Path) -> Result<Report, EvalError> {
    let bytes = std::fs::read(path).map_err(|source| EvalError::io(path, "read", source))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        EvalError::line(
            path,
            error.line(),
            format!("no report ({error})"),
            "a report.json of this program",
        )
    })
}
