//! Tables of answers beside other answers: agreement, easy and hard questions, calibration.

use super::cell::{Cell, RowHead};
use super::matrix::Matrix;
use super::options::ReportOptions;
use super::paired::{Measure, Paired, Sums};
use super::table::Row;
use crate::stats::Bootstrap;

/// Rows with intervals from measures and their sums.
pub(crate) fn measured(
    cell: &Cell,
    budget: &str,
    (sums, measures): (Sums, Vec<Measure>),
    bootstrap: &Bootstrap,
) -> Vec<Row> {
    let at_budget = Cell {
        arm: cell.arm.clone(),
        budget: budget.into(),
    };
    let (heads, statistics): (Vec<_>, Vec<_>) = measures
        .into_iter()
        .map(|measure| {
            (
                RowHead::new(&at_budget, measure.metric, measure.n),
                measure.statistic,
            )
        })
        .unzip();
    let estimates = bootstrap.intervals(&sums.strata(), &statistics);
    heads
        .into_iter()
        .zip(estimates)
        .filter(|(_, estimate)| estimate.value.is_finite())
        .map(|(head, estimate)| head.number(&estimate))
        .collect()
}

/// Every other cell beside the unpruned one.
pub(crate) fn agreement(matrix: &Matrix, paired: &Paired<'_>, options: &ReportOptions) -> Vec<Row> {
    let Some(full) = matrix.cells.iter().position(|cell| cell.arm == options.full) else {
        return Vec::new();
    };
    let others = matrix.cells.iter().enumerate().filter(|&(c, _)| c != full);
    others
        .flat_map(|(c, cell)| measured(cell, &cell.budget, paired.agreement(c, full), &options.bootstrap))
        .collect()
}

/// Every other cell at the budget of a downsampled cell, and those that have none.
pub(crate) fn easy_and_hard(matrix: &Matrix, paired: &Paired<'_>, options: &ReportOptions) -> Vec<Row> {
    let cells = || matrix.cells.iter().enumerate();
    let mut rows = Vec::new();
    for (d, judge) in cells().filter(|(_, cell)| cell.arm == options.downsampled) {
        let fits = |cell: &Cell| cell.budget == judge.budget || cell.budget == "all";
        for (c, cell) in cells().filter(|(_, cell)| cell.arm != options.downsampled && fits(cell)) {
            let sums = paired.split(c, d);
            rows.extend(measured(cell, &judge.budget, sums, &options.bootstrap));
        }
    }
    rows
}

/// Every cell with confidences, a benchmark after the other.
pub(crate) fn calibration(matrix: &Matrix, paired: &Paired<'_>, options: &ReportOptions) -> Vec<Row> {
    let mut rows = Vec::new();
    for benchmark in paired.confident() {
        for (c, cell) in matrix.cells.iter().enumerate() {
            let sums = paired.calibration(c, benchmark);
            rows.extend(measured(cell, &cell.budget, sums, &options.bootstrap));
        }
    }
    rows
}
