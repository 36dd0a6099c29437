//! Numbers beside the one that a benchmark is known by.

use super::build::blank;
use super::layout::{Cell, Layout};
use super::result::{Report, Row};
use crate::data::{Benchmark, SecondaryNumber, SecondaryValue};
use crate::stats::Statistic;

impl Report {
    /// Name of the papers' ablation number among the metrics of the table `secondary`: the mean that its unablated row is.
    pub const ABLATION: &'static str = "retention of MMB, MME, POPE";
}

/// The benchmarks of the papers' ablation: those that its unablated row is the mean of, and those that it names.
const ABLATION: [(&str, &[Benchmark]); 2] = [
    (
        Report::ABLATION,
        &[Benchmark::MmBench, Benchmark::Mme, Benchmark::Pope],
    ),
    (
        "retention of GQA, MMB, MME, POPE",
        &[
            Benchmark::Gqa,
            Benchmark::MmBench,
            Benchmark::Mme,
            Benchmark::Pope,
        ],
    ),
];

/// Every secondary number of a cell, without the number. `full` is the unpruned cell.
pub(crate) fn numbers<'a>(
    layout: &'a Layout,
    cell: usize,
    full: Option<usize>,
    data: &[f64],
) -> Vec<(Row, Statistic<'a>)> {
    let own = &layout.cells[cell];
    let mut numbers = Numbers {
        layout,
        cell,
        own,
        data,
        rows: Vec::new(),
    };
    for benchmark in layout.benchmarks() {
        for number in benchmark.spec().secondary() {
            numbers.add(benchmark, number);
        }
    }
    if let Some(full) = full {
        numbers.ablation(full);
    }
    numbers.rows
}

struct Numbers<'a, 'd> {
    layout: &'a Layout,
    cell: usize,
    own: &'a Cell,
    data: &'d [f64],
    rows: Vec<(Row, Statistic<'a>)>,
}

impl<'a> Numbers<'a, '_> {
    fn add(&mut self, benchmark: Benchmark, number: &SecondaryNumber) {
        let (layout, cell) = (self.layout, self.cell);
        let name = format!("{benchmark} {}", number.name);
        let (n, statistic): (f64, Statistic<'a>) = match number.value {
            SecondaryValue::OfParts { belongs, value } => {
                let tallies = move |totals: &[f64]| layout.tallies(cell, benchmark, &belongs, totals);
                let n = tallies(self.data).iter().map(|tally| tally.questions).sum();
                (n, Box::new(move |totals| value(&tallies(totals))))
            }
            SecondaryValue::OtherProtocol => (
                layout.count(layout.parts(benchmark), self.data),
                Box::new(move |totals| layout.by_other_protocol(cell, benchmark, totals)),
            ),
        };
        self.rows.push((blank(self.own, &name, n as usize), statistic));
    }

    /// Retention over the benchmarks of the papers' ablation, where every cell has them all.
    fn ablation(&mut self, full: usize) {
        let (layout, cell) = (self.layout, self.cell);
        for (name, benchmarks) in ABLATION {
            if !benchmarks
                .iter()
                .all(|benchmark| layout.common.contains(benchmark))
            {
                continue;
            }
            let count = |&benchmark: &Benchmark| layout.count(layout.parts(benchmark), self.data);
            let n = benchmarks.iter().map(count).sum::<f64>() as usize;
            let statistic = move |totals: &[f64]| layout.retention_over(benchmarks, cell, full, totals);
            self.rows.push((blank(self.own, name, n), Box::new(statistic)));
        }
    }
}
