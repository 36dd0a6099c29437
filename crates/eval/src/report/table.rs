//! Tables of numbers with their intervals.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::metric::Metric;
use super::table_id::TableId;
use crate::stats::{McNemar, Verdict};

/// One number with its interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The arm (in tables of differences "a - b").
    pub arm: String,
    /// The budget.
    pub budget: String,
    /// The quantity.
    #[serde(serialize_with = "as_text")]
    pub metric: Metric,
    /// The value, in table units (percent, points, tokens).
    pub value: f64,
    /// Lower end of the interval.
    pub lo: f64,
    /// Upper end of the interval.
    pub hi: f64,
    /// Questions behind the number.
    pub n: usize,
    /// Seeds of the trainings behind the number; empty for arms that are not trained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub train_seeds: Vec<u64>,
    /// Verdict about "above zero", in tables of differences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Test of right and wrong answers, in tables of differences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PairedTest>,
}

fn as_text<S: Serializer>(metric: &Metric, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(metric)
}

/// A paired test and its correction for the others beside it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// The test alone.
    #[serde(flatten)]
    pub mcnemar: McNemar,
    /// The p value after Holm's correction over the methods of its table.
    pub p_holm: f64,
}

impl PairedTest {
    /// A test that nothing stands beside.
    pub fn alone(mcnemar: McNemar) -> Self {
        Self {
            p_holm: mcnemar.p,
            mcnemar,
        }
    }
}

/// Rows that belong together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Name.
    pub id: TableId,
    /// The rows.
    pub rows: Vec<Row>,
    /// Heading.
    pub title: String,
}

impl Table {
    /// A table of these rows.
    pub(crate) fn new(id: TableId, title: impl Into<String>, rows: Vec<Row>) -> Self {
        Self {
            id,
            rows,
            title: title.into(),
        }
    }

    /// One number of the table.
    pub fn row(&self, arm: &str, budget: &str, metric: &Metric) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.arm == arm && row.budget == budget && row.metric == *metric)
    }

    /// The quantities of the table, in the order of first mention.
    pub fn metrics(&self) -> Vec<&Metric> {
        distinct(self.rows.iter().map(|row| &row.metric))
    }

    /// The arms with their budgets, in the order of first mention.
    pub(crate) fn arms(&self) -> Vec<(&str, &str)> {
        distinct(
            self.rows
                .iter()
                .map(|row| (row.arm.as_str(), row.budget.as_str())),
        )
    }
}

impl<'de> Deserialize<'de> for Table {
    /// The text of a number may mean different things in different tables, so rows are read with their table.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct TableText {
            id: TableId,
            rows: Vec<RowText>,
            #[serde(default)]
            title: String,
        }
        #[derive(Deserialize)]
        struct RowText {
            arm: String,
            budget: String,
            metric: String,
            value: f64,
            lo: f64,
            hi: f64,
            n: usize,
            #[serde(default)]
            train_seeds: Vec<u64>,
            #[serde(default)]
            verdict: Option<Verdict>,
            #[serde(default)]
            test: Option<PairedTest>,
        }
        let TableText { id, rows, title } = TableText::deserialize(deserializer)?;
        let row = |row: RowText| {
            Ok(Row {
                metric: Metric::of_text(id, &row.metric).map_err(serde::de::Error::custom)?,
                arm: row.arm,
                budget: row.budget,
                value: row.value,
                lo: row.lo,
                hi: row.hi,
                n: row.n,
                train_seeds: row.train_seeds,
                verdict: row.verdict,
                test: row.test,
            })
        };
        let rows = rows.into_iter().map(row).collect::<Result<_, D::Error>>()?;
        Ok(Self { id, rows, title })
    }
}

/// Different items in the order of first mention.
pub(crate) fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}
