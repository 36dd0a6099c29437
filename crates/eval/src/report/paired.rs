//! Answers of different arms to the same question, side by side.

use std::collections::{BTreeMap, BTreeSet};

use super::answered::{Answered, key};
use super::cell::Cell;
use super::metric::Metric;
use crate::answer::Aggregate;
use crate::data::Benchmark;
use crate::run::Record;
use crate::stats::{
    Agreement, ECE_BINS, McNemar, Statistic, Stratum, ece_bin, ece_of_sums, is_right, mcnemar, same_answer,
};

/// The records of a cell by question, seeds ascending.
type Answers<'a> = BTreeMap<(Benchmark, &'a str), Vec<&'a Record>>;

/// The answers of every cell.
pub(crate) struct Paired<'a> {
    by_cell: Vec<Answers<'a>>,
    /// Benchmarks whose scores are all 0 or 1.
    binary: BTreeSet<Benchmark>,
}

/// A number that a table shows, computed from sums over pictures.
pub(crate) struct Measure {
    pub(crate) metric: Metric,
    pub(crate) n: usize,
    pub(crate) statistic: Statistic<'static>,
}

/// Sums over clusters, from which a bootstrap computes measures.
#[derive(Default)]
pub(crate) struct Sums {
    rows: BTreeMap<(Benchmark, String), Vec<f64>>,
    width: usize,
}

impl Sums {
    fn new(width: usize) -> Self {
        Self {
            rows: BTreeMap::new(),
            width,
        }
    }

    fn add(&mut self, record: &Record, values: &[(usize, f64)]) {
        let key = (record.benchmark, record.image.clone());
        let row = self.rows.entry(key).or_insert_with(|| vec![0.0; self.width]);
        values.iter().for_each(|&(column, value)| row[column] += value);
    }

    fn total(&self, column: usize) -> f64 {
        self.rows.values().map(|row| row[column]).sum()
    }

    /// One stratum per benchmark, all with the same columns: benchmarks are pooled.
    pub(crate) fn strata(&self) -> Vec<Stratum> {
        let mut strata: BTreeMap<Benchmark, Vec<f64>> = BTreeMap::new();
        for ((benchmark, _), row) in &self.rows {
            strata.entry(*benchmark).or_default().extend(row);
        }
        let stratum = |sums| Stratum {
            columns: 0..self.width,
            sums,
        };
        strata.into_values().map(stratum).collect()
    }
}

impl<'a> Paired<'a> {
    pub(crate) fn new(answered: &Answered<'a>, cells: &[Cell]) -> Self {
        let place: BTreeMap<&Cell, usize> = cells.iter().enumerate().map(|(i, cell)| (cell, i)).collect();
        let mut by_cell: Vec<Answers<'a>> = vec![BTreeMap::new(); cells.len()];
        let mut binary: BTreeMap<Benchmark, bool> = BTreeMap::new();
        for &record in &answered.records {
            if let Some(&cell) = place.get(&Cell::of(record)) {
                by_cell[cell].entry(key(record)).or_default().push(record);
            }
            *binary.entry(record.benchmark).or_insert(true) &= record.score == 0.0 || record.score == 1.0;
        }
        let binary = binary.into_iter().filter(|entry| entry.1);
        Self {
            by_cell,
            binary: binary.map(|entry| entry.0).collect(),
        }
    }

    /// McNemar's test of two cells over the benchmarks that score right or wrong (or over one of them), each cell with its
    /// first seed; `None` when they share no such question. Where groups count as a whole, a group is one question.
    pub(crate) fn mcnemar(&self, a: usize, b: usize, only: Option<Benchmark>) -> Option<McNemar> {
        let counted = |benchmark: &Benchmark| {
            self.binary.contains(benchmark) && only.is_none_or(|only| only == *benchmark)
        };
        let mut outcomes: BTreeMap<_, (bool, bool)> = BTreeMap::new();
        for (key, of_a) in self.by_cell[a].iter().filter(|(key, _)| counted(&key.0)) {
            let Some(of_b) = self.by_cell[b].get(key) else {
                continue;
            };
            let whole = key.0.aggregate() == Aggregate::Groups;
            let group = of_a[0].group.as_deref().filter(|_| whole);
            let unit = (key.0, group.is_some(), group.unwrap_or(key.1));
            let outcome = outcomes.entry(unit).or_insert((true, true));
            outcome.0 &= is_right(of_a[0].score);
            outcome.1 &= is_right(of_b[0].score);
        }
        let count = |outcome| outcomes.values().filter(|&&found| found == outcome).count() as u64;
        (!outcomes.is_empty()).then(|| mcnemar(count((true, false)), count((false, true))))
    }

    /// Agreement of a cell's answers with those of the unpruned cell.
    pub(crate) fn agreement(&self, cell: usize, full: usize) -> (Sums, Vec<Measure>) {
        let mut sums = Sums::new(4);
        for (key, records) in &self.by_cell[cell] {
            let Some(before) = self.by_cell[full].get(key).map(|records| records[0]) else {
                continue;
            };
            let weight = 1.0 / records.len() as f64;
            for record in records {
                let question = (
                    same(before, record),
                    is_right(before.score),
                    is_right(record.score),
                );
                let counts = Agreement::count([question]);
                let values = [
                    counts.n,
                    counts.same,
                    counts.right_to_wrong,
                    counts.wrong_to_right,
                ];
                let values: Vec<(usize, f64)> = values
                    .map(|value| weight * value)
                    .into_iter()
                    .enumerate()
                    .collect();
                sums.add(record, &values);
            }
        }
        let n = sums.total(0).round() as usize;
        let measure = |metric: Metric, of: fn(&Agreement) -> f64| Measure {
            metric,
            n,
            statistic: Box::new(move |totals| {
                of(&Agreement {
                    n: totals[0],
                    same: totals[1],
                    right_to_wrong: totals[2],
                    wrong_to_right: totals[3],
                })
            }),
        };
        let measures = vec![
            measure(Metric::Loyalty, Agreement::loyalty),
            measure(Metric::RightToWrong, Agreement::lost),
            measure(Metric::WrongToRight, Agreement::gained),
        ];
        (sums, measures)
    }

    /// Mean scores of a cell on the questions that the downsampled cell has right, and on the others.
    pub(crate) fn split(&self, cell: usize, downsampled: usize) -> (Sums, Vec<Measure>) {
        let mut sums = Sums::new(4);
        for (key, records) in &self.by_cell[cell] {
            let Some(judges) = self.by_cell[downsampled].get(key) else {
                continue;
            };
            let right = judges.iter().filter(|record| is_right(record.score)).count();
            let easy = right as f64 / judges.len() as f64;
            let weight = 1.0 / records.len() as f64;
            for record in records {
                let (easy, hard) = (weight * easy, weight * (1.0 - easy));
                let score = record.score;
                sums.add(
                    record,
                    &[(0, easy), (1, easy * score), (2, hard), (3, hard * score)],
                );
            }
        }
        let measure = |metric: Metric, first: usize| Measure {
            metric,
            n: sums.total(first).round() as usize,
            statistic: Box::new(move |totals| 100.0 * totals[first + 1] / totals[first]),
        };
        let measures = vec![measure(Metric::Easy, 0), measure(Metric::Hard, 2)];
        (sums, measures)
    }

    /// Mean score of a cell over all its questions, percent.
    pub(crate) fn mean(&self, cell: usize) -> (Sums, Vec<Measure>) {
        let mut sums = Sums::new(2);
        for records in self.by_cell[cell].values() {
            let weight = 1.0 / records.len() as f64;
            for record in records {
                sums.add(record, &[(0, weight), (1, weight * record.score)]);
            }
        }
        let measure = Measure {
            metric: Metric::MeanScore,
            n: sums.total(0).round() as usize,
            statistic: Box::new(|totals| 100.0 * totals[1] / totals[0]),
        };
        (sums, vec![measure])
    }

    /// Benchmarks with confidences.
    pub(crate) fn confident(&self) -> BTreeSet<Benchmark> {
        let records = self.by_cell.iter().flat_map(BTreeMap::values).flatten();
        records
            .filter(|record| record.probability.is_some())
            .map(|record| record.benchmark)
            .collect()
    }

    /// Calibration of a cell's confidences in a benchmark, percent; no measure when it has none.
    pub(crate) fn calibration(&self, cell: usize, benchmark: Benchmark) -> (Sums, Vec<Measure>) {
        let mut sums = Sums::new(3 * ECE_BINS);
        let answers = self.by_cell[cell].iter().filter(|(key, _)| key.0 == benchmark);
        for (_, records) in answers {
            let weight = 1.0 / records.len() as f64;
            for record in records {
                let Some(confidence) = record.probability else {
                    continue;
                };
                let bin = 3 * ece_bin(confidence, ECE_BINS);
                let right = f64::from(is_right(record.score));
                let values = [(bin, 1.0), (bin + 1, confidence), (bin + 2, right)];
                sums.add(record, &values.map(|(column, value)| (column, weight * value)));
            }
        }
        let n: f64 = (0..ECE_BINS).map(|bin| sums.total(3 * bin)).sum();
        let measure = || Measure {
            metric: Metric::CalibrationError(benchmark),
            n: n.round() as usize,
            statistic: Box::new(|totals| 100.0 * ece_of_sums(totals)),
        };
        let measures = if n > 0.0 { vec![measure()] } else { Vec::new() };
        (sums, measures)
    }

    /// The records of a cell.
    pub(crate) fn records(&self, cell: usize) -> impl Iterator<Item = &'a Record> + '_ {
        self.by_cell[cell].values().flatten().copied()
    }
}

/// True when two answers to one question say the same; of a yes/no question the label counts.
fn same(a: &Record, b: &Record) -> bool {
    if a.label.is_some() && b.label.is_some() {
        return is_right(a.score) == is_right(b.score);
    }
    same_answer(&a.answer, &b.answer)
}
