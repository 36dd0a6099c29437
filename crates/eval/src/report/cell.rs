//! An arm at a budget, and numbers about it before and after they are computed.

use super::metric::Metric;
use super::table::{PairedTest, Row};
use crate::run::Record;
use crate::stats::{Estimate, Statistic, Verdict, holm};

/// One arm at one budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cell {
    pub(crate) arm: String,
    pub(crate) budget: String,
}

impl Cell {
    /// The cell of a record.
    pub(crate) fn of(record: &Record) -> Self {
        Self {
            arm: record.arm.clone(),
            budget: record.budget.clone(),
        }
    }
}

/// A statistic whose interval is not computed yet, with what becomes of it.
pub(crate) struct Unestimated<'a, T> {
    pub(crate) target: T,
    pub(crate) statistic: Statistic<'a>,
}

/// A row without its number.
pub(crate) struct RowHead {
    arm: String,
    budget: String,
    metric: Metric,
    n: usize,
}

impl RowHead {
    /// The head of a number of a cell over `n` questions.
    pub(crate) fn new(cell: &Cell, metric: Metric, n: usize) -> Self {
        Self {
            arm: cell.arm.clone(),
            budget: cell.budget.clone(),
            metric,
            n,
        }
    }

    /// The row with its number.
    pub(crate) fn number(self, estimate: &Estimate) -> Row {
        Row {
            arm: self.arm,
            budget: self.budget,
            metric: self.metric,
            value: estimate.value,
            lo: estimate.lo,
            hi: estimate.hi,
            n: self.n,
            train_seeds: Vec::new(),
            verdict: None,
            test: None,
        }
    }

    /// The row with its number, which is a difference: with a verdict about "above zero" and a test of its own.
    pub(crate) fn difference(self, estimate: &Estimate, test: Option<PairedTest>) -> Row {
        Row {
            train_seeds: Vec::new(),
            verdict: Some(Verdict::of(estimate.lo, estimate.hi)),
            test,
            ..self.number(estimate)
        }
    }
}

/// Holm's correction of the tests of rows within each family.
pub(crate) fn correct<K: PartialEq>(rows: &mut [Row], family: impl Fn(&Row) -> K) {
    let families: Vec<K> = rows.iter().map(&family).collect();
    for (place, own) in families.iter().enumerate() {
        if families[..place].contains(own) {
            continue;
        }
        let members: Vec<usize> = (place..rows.len()).filter(|&i| families[i] == *own).collect();
        let p = |&i: &usize| rows[i].test.map_or(f64::NAN, |test| test.mcnemar.p);
        let adjusted = holm(&members.iter().map(p).collect::<Vec<_>>());
        for (i, p_holm) in members.into_iter().zip(adjusted) {
            if let Some(test) = &mut rows[i].test {
                test.p_holm = p_holm;
            }
        }
    }
}
