//! The times of a run: everything that depends on the clock, beside the report.

use std::path::{Path, PathBuf};

use diffprune_files::write_whole;
use serde::{Deserialize, Serialize};

use super::terminal::columns;
use crate::EvalError;
use crate::cost::TimingContext;
use crate::page::Sheet;
use crate::run::ArmTimes;

/// Times of a run. They stand in a file of their own, since a report is the same whenever and however often its run was
/// interrupted, and times are not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunTiming {
    /// Wall-clock time of the call, seconds.
    pub wall_s: f64,
    /// Number format, attention path, device, and the most prompts that are answered together.
    pub context: TimingContext,
    /// Workers at once; each has a share of the machine only, which its times feel.
    pub workers: usize,
    /// Medians of the arms that were asked something in this call.
    pub arms: Vec<ArmTimes>,
}

impl RunTiming {
    /// Name of the file beside the report.
    pub const FILE: &'static str = "timing.json";

    /// The times as a table for a terminal; empty when nothing was asked.
    pub fn to_text(&self) -> String {
        if self.arms.is_empty() {
            return String::new();
        }
        let optional = |ms: Option<f64>| ms.map_or("–".to_string(), |ms| format!("{ms:.2}"));
        let line = |times: &ArmTimes| {
            vec![
                times.arm.clone(),
                times.budget.clone(),
                optional(times.encode_ms),
                optional(times.select_ms),
                format!("{:.2}", times.prefill_ms),
                format!("{:.2}", times.decode_ms),
                times.batches.to_string(),
            ]
        };
        let header = [
            "arm", "budget", "encode", "select", "prefill", "decode", "batches",
        ];
        let table = Sheet::new(header).with(self.arms.iter().map(line));
        format!(
            "Times of this call, median milliseconds a picture (encode, select) or a prompt (prefill, decode); {}, {} \
             workers; {:.1} s in all\n{}",
            self.context,
            self.workers,
            self.wall_s,
            columns(&table)
        )
    }

    /// Writes `timing.json` into a folder; gives the path. A call that asked nothing leaves an earlier file as it is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, EvalError> {
        let path = folder.join(Self::FILE);
        if self.arms.is_empty() && path.is_file() {
            return Ok(path);
        }
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| EvalError::io(&path, "encode the times", error.into()))?;
        bytes.push(b'\n');
        write_whole(&path, &bytes)?;
        Ok(path)
    }
}
