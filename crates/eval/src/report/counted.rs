//! Which benchmarks enter averages.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::matrix::Matrix;
use super::options::ReportOptions;
use crate::data::Benchmark;

/// The rule by which benchmarks entered the averages of a report, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Points, of percent of the most, by which the unpruned model must be above its level without a picture.
    pub margin: f64,
    /// Benchmarks that entered.
    pub counted: Vec<Benchmark>,
    /// Benchmarks that did not, with the points by which the unpruned model is above its level without a picture.
    pub left_out: Vec<(Benchmark, f64)>,
}

impl Counted {
    /// One sentence for pages.
    pub fn sentence(&self) -> String {
        let left_out: Vec<String> = self
            .left_out
            .iter()
            .map(|(benchmark, above)| format!("{benchmark} ({above:.1})"))
            .collect();
        let rest = match left_out.as_slice() {
            [] => "none is left out".to_string(),
            list => format!("left out: {}", list.join(", ")),
        };
        format!(
            "Average and retention are over the {} benchmarks on which the unpruned model is at least {} points above its level \
             without a picture; {rest}.",
            self.counted.len(),
            self.margin
        )
    }
}

/// Applies the rule to the benchmarks that every cell has: those whose unpruned number is by the margin above that of the arm
/// without a picture stay in averages. `None`, and nothing changes, without a margin, without one of the two arms, or where no
/// benchmark would stay.
pub(crate) fn count(matrix: &mut Matrix, options: &ReportOptions) -> Option<Counted> {
    let margin = options.average_margin?;
    let place = |arm: &str| matrix.cells.iter().position(|cell| cell.arm == arm);
    let (full, blind) = (place(&options.full)?, place(&options.text_only)?);
    let totals = matrix.totals();
    let above = |benchmark: Benchmark| {
        matrix.percent(full, benchmark, &totals) - matrix.percent(blind, benchmark, &totals)
    };
    let (counted, left_out): (Vec<_>, Vec<_>) = matrix
        .common
        .iter()
        .map(|&benchmark| (benchmark, above(benchmark)))
        .partition(|(_, above)| *above >= margin);
    if counted.is_empty() {
        return None;
    }
    let counted: Vec<Benchmark> = counted.into_iter().map(|entry| entry.0).collect();
    matrix.counted = counted.iter().copied().collect::<BTreeSet<_>>();
    Some(Counted {
        margin,
        counted,
        left_out,
    })
}
