//! Measurements of a run as JSON lines.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use diffprune_files::{faults, write_whole};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::TrainingError;

/// A file with one JSON object per line, each with the field `step`.
///
/// Opening it for a resumed run drops what lies beyond the resumed step, so that the file of an interrupted run ends
/// up equal to the file of an uninterrupted one (when nothing that depends on time is logged).
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens `path` and keeps the lines whose step is at most `step`; 0 empties the file.
    ///
    /// `step` counts finished steps. Torn or foreign lines are dropped too.
    ///
    /// # Errors
    /// When the file cannot be read or replaced.
    pub fn open(path: impl AsRef<Path>, step: usize) -> Result<Self, TrainingError> {
        let path = path.as_ref().to_path_buf();
        let old = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(TrainingError::io("read", &path)(cause)),
        };
        let kept: String = old
            .split_inclusive('\n')
            .filter(|line| {
                step > 0 && line.ends_with('\n') && step_of(line).is_some_and(|found| found <= step)
            })
            .collect();
        replace(&path, kept.as_bytes())?;
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(TrainingError::io("open", &path))?;
        Ok(Self { path, file })
    }

    /// Appends one line: `step`, then the fields of `values`.
    ///
    /// # Errors
    /// When `values` is no struct or map, or the file cannot be written.
    pub fn log(&mut self, step: usize, values: &impl Serialize) -> Result<(), TrainingError> {
        let mut line = Map::from_iter([("step".to_string(), Value::from(step))]);
        match serde_json::to_value(values) {
            Ok(Value::Object(fields)) => line.extend(fields),
            Ok(other) => {
                return Err(TrainingError::corrupt(
                    &self.path,
                    other,
                    "a measurement with named fields",
                ));
            }
            Err(cause) => {
                return Err(TrainingError::corrupt(
                    &self.path,
                    cause,
                    "a measurement JSON can express",
                ));
            }
        }
        let text = format!("{}\n", Value::Object(line));
        faults::write_all(&mut self.file, &self.path, text.as_bytes())
            .map_err(TrainingError::io("write", &self.path))
    }
}

fn step_of(line: &str) -> Option<usize> {
    let value: Value = serde_json::from_str(line).ok()?;
    value.get("step")?.as_u64().map(|step| step as usize)
}

/// Writes a whole file, and its folder if need be.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrainingError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(TrainingError::io("create", folder))?;
    }
    write_whole(path, bytes).map_err(|error| TrainingError::io("write", path)(error.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Serialize)]
    struct Row {
        loss: f64,
    }

    #[test]
    fn a_resumed_log_equals_an_uninterrupted_one() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, torn) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
        let write = |log: &mut MetricsLog, steps: std::ops::RangeInclusive<usize>| {
            steps.for_each(|step| {
                log.log(
                    step,
                    &Row {
                        loss: 1.0 / step as f64,
                    },
                )
                .unwrap()
            });
        };
        write(&mut MetricsLog::open(&whole, 0).unwrap(), 1..=6);
        write(&mut MetricsLog::open(&torn, 0).unwrap(), 1..=5);
        OpenOptions::new()
            .append(true)
            .open(&torn)
            .unwrap()
            .write_all(b"{\"step\":2,\"lo")
            .unwrap();
        write(&mut MetricsLog::open(&torn, 3).unwrap(), 4..=6);
        assert_eq!(fs::read(whole).unwrap(), fs::read(torn).unwrap());
    }

    #[test]
    fn an_unwritable_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = MetricsLog::open(file.join("metrics.jsonl"), 0).unwrap_err();
        assert!(
            error.to_string().contains("metrics.jsonl") || error.to_string().contains("file"),
            "{error}"
        );
    }
}
