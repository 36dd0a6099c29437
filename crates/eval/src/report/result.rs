//! The one result type, as data.

use serde::{Deserialize, Serialize};

use super::metric::Metric;
use super::table::{Row, Table};
use super::table_id::TableId;
use crate::cost::Timing;
use crate::data::Benchmark;
use crate::stats::Verdict;

/// The circumstances under which a report was made. Nothing here depends on the clock: a run that was interrupted ends with the
/// same report. Times stand beside it, see [`RunTiming`](crate::RunTiming).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Revision of the code.
    pub revision: String,
    /// Device that ran the model.
    pub device: String,
    /// Seed of the run.
    pub seed: u64,
    /// `full`, `shape` or `mini`.
    pub tier: String,
    /// The resolved configuration.
    pub config: serde_json::Value,
    /// Headline of the pages.
    #[serde(default)]
    pub title: String,
    /// Model, position rule and data, in one sentence; printed under every table.
    #[serde(default)]
    pub note: String,
}

/// A statement with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Stable id.
    pub id: String,
    /// The claim in words; it holds when the estimate is above zero.
    pub statement: String,
    /// Outcome.
    pub verdict: Verdict,
    /// The number that the claim says is above zero.
    pub estimate: f64,
    /// Lower end of its interval.
    pub lo: f64,
    /// Upper end of its interval.
    pub hi: f64,
}

/// An arm that has no number at a budget, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// The arm.
    pub arm: String,
    /// The budget.
    pub budget: String,
    /// The reason why it does not run.
    pub reason: String,
}

/// The data that the numbers of a benchmark were computed from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The run, in reports about several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The benchmark.
    pub benchmark: Benchmark,
    /// The data behind the number in the papers' tables.
    pub paper: String,
    /// The data here.
    pub here: String,
    /// Questions that count here.
    pub questions: usize,
    /// Questions of the complete data set.
    pub published: usize,
    /// Pictures that they are about.
    pub pictures: usize,
    /// The number that guessing earns on them, in the units of the benchmark's number.
    pub chance: f64,
}

/// Everything that a run has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Circumstances.
    pub meta: Meta,
    /// Numbers.
    pub tables: Vec<Table>,
    /// Verdicts.
    pub claims: Vec<Claim>,
    /// The data behind the numbers of each benchmark.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Source>,
    /// Arms that could not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
    /// Times, each with its circumstances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timings: Vec<Timing>,
}

impl Report {
    /// The table of that name.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// One number of a table.
    pub fn row(&self, table: TableId, arm: &str, budget: &str, metric: &Metric) -> Option<&Row> {
        self.table(table)?.row(arm, budget, metric)
    }
}
