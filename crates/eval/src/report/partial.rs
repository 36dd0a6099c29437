//! Arms that answer some of the questions only.

use std::collections::BTreeSet;

use super::answered::{Answered, key};
use super::cell::Cell;
use super::diagnostics::measured;
use super::matrix::Matrix;
use super::options::ReportOptions;
use super::paired::Paired;
use super::table::Table;
use super::table_id::TableId;
use crate::run::Record;

/// The records of arms that answer some questions only, and those of the others; where nobody answers all, all are the
/// others.
pub(crate) fn partial<'a>(
    records: &'a [Record],
    options: &ReportOptions,
) -> (Vec<&'a Record>, Vec<&'a Record>) {
    let is_partial = |record: &&Record| options.partial.contains(&record.arm);
    let (partial, whole): (Vec<_>, Vec<_>) = records.iter().partition(is_partial);
    if whole.is_empty() {
        return (whole, partial);
    }
    (partial, whole)
}

/// Every arm on the questions that the partial arms have answered.
pub(crate) fn beside_partial(
    records: &[Record],
    partial: &[&Record],
    options: &ReportOptions,
) -> Option<Table> {
    let questions: BTreeSet<_> = partial.iter().map(|record| key(record)).collect();
    let shared = records.iter().filter(|record| questions.contains(&key(record)));
    // Without a question that all have answered there is nothing to compare.
    let answered = Answered::new(shared).ok()?;
    let matrix = Matrix::new(&answered, &options.order);
    let paired = Paired::new(&answered, &matrix.cells);
    let rows = |(c, cell): (usize, &Cell)| measured(cell, &cell.budget, paired.mean(c), &options.bootstrap);
    Some(Table::new(
        TableId::Partial,
        "Mean score on the questions of the leave-one-out oracle, percent",
        matrix.cells.iter().enumerate().flat_map(rows).collect(),
    ))
}
