//! The one result type, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counted::Counted;
use super::metric::Metric;
use super::options::ReportOptions;
use super::table::{Row, Table};
use super::table_id::TableId;
use crate::cost::Timing;
use crate::data::Benchmark;
use crate::evidence::{Claims, Ledger, Tier, TierVerdict};
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
    /// Notes that a reader needs before the numbers, a sentence each; printed once, above the tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A statement with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Stable id.
    pub id: String,
    /// The claim in words; it holds when the estimate is above zero, or lies within a bound.
    pub statement: String,
    /// Outcome at the tier of the report.
    pub verdict: Verdict,
    /// The number that the claim says is above zero; `None` where nothing was measured.
    pub estimate: Option<f64>,
    /// Lower end of its interval.
    pub lo: Option<f64>,
    /// Upper end of its interval.
    pub hi: Option<f64>,
    /// The verdict of each tier on a claim of the papers, or of ours; empty for checks of the instrument.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<Tier, TierVerdict>,
    /// Why there is no verdict, or what to know beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Claim {
    /// `estimate [lo, hi]`, or a dash where nothing was measured.
    pub fn number(&self) -> String {
        match (self.estimate, self.lo, self.hi) {
            (Some(value), Some(lo), Some(hi)) => super::text_table::interval(value, lo, hi),
            (Some(value), ..) => format!("{value:.1}"),
            _ => "–".into(),
        }
    }
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
    /// The rule by which benchmarks entered averages; `None` where all did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// Arms that could not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
    /// Groups of arms that chose the same tokens: their numbers are the same, and pages show one row for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equal: Vec<Vec<String>>,
    /// Times, each with its circumstances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timings: Vec<Timing>,
}

impl Report {
    /// The table of that name.
    pub fn table(&self, id: TableId) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// The claims of the papers and our own with what each tier says; empty where the report has no claims of theirs.
    pub fn ledger(&self) -> Ledger {
        if self.claims.iter().all(|claim| claim.tiers.is_empty()) {
            return Ledger::default();
        }
        let mut ledger = Claims::builtin().map_or_else(|_| Ledger::default(), |claims| Ledger::new(&claims));
        for claim in &self.claims {
            for (tier, verdict) in &claim.tiers {
                ledger.enter(&claim.id, *tier, verdict.clone());
            }
        }
        ledger
    }

    /// Whether an arm chose the same tokens as one before it.
    pub fn is_repeated(&self, arm: &str) -> bool {
        let is_behind = |group: &Vec<String>| group.iter().skip(1).any(|name| name == arm);
        self.equal.iter().any(is_behind)
    }

    /// The names of the arms that chose the same tokens as this one: `hired = fastervlm`; its own where it is alone.
    pub fn names(&self, arm: &str) -> String {
        let group = self.equal.iter().find(|group| group[..1] == [arm]);
        group.map_or_else(|| arm.to_string(), |group| group.join(" = "))
    }

    /// The settings that the report was computed with, as far as its configuration has them.
    pub(crate) fn options(&self) -> ReportOptions {
        let stored = self.meta.config.get("report").cloned();
        stored
            .and_then(|stored| serde_json::from_value(stored).ok())
            .unwrap_or_default()
    }

    /// One number of a table.
    pub fn row(&self, table: TableId, arm: &str, budget: &str, metric: &Metric) -> Option<&Row> {
        self.table(table)?.row(arm, budget, metric)
    }
}
