//! The numbers that claims compare: one for each arm, budget and seed.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::Benchmark;
use crate::evidence::Number;
use crate::report::answered::Answered;
use crate::report::matrix::Matrix;
use crate::report::options::ReportOptions;
use crate::run::Record;
use crate::stats::{Contrast, Replicated, Statistic, TwoLevel, mean};

/// Ends an arm's name before its seed.
const SEED: char = '\u{1f}';

/// A number of an arm at a budget: its mean over seeds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Measure {
    pub(crate) arm: String,
    pub(crate) budget: String,
    pub(crate) is_average: bool,
    pub(crate) columns: Vec<Benchmark>,
}

impl Measure {
    pub(crate) fn new(arm: &str, budget: &str, number: Number, columns: &[Benchmark]) -> Self {
        Self {
            arm: arm.into(),
            budget: budget.into(),
            is_average: number == Number::Average,
            columns: columns.to_vec(),
        }
    }
}

/// Every number and every comparison that some claim asks for.
#[derive(Default)]
pub(crate) struct Measures {
    measures: Vec<Measure>,
    contrasts: Vec<Contrast>,
}

impl Measures {
    /// Asks for a weighted sum of numbers; gives its place.
    pub(crate) fn contrast(&mut self, terms: &[(f64, Measure)]) -> usize {
        let term = |(weight, measure): &(f64, Measure)| {
            let known = self.measures.iter().position(|other| other == measure);
            let place = known.unwrap_or_else(|| {
                self.measures.push(measure.clone());
                self.measures.len() - 1
            });
            (place, *weight)
        };
        let contrast = terms.iter().map(term).collect();
        self.contrasts.push(contrast);
        self.contrasts.len() - 1
    }

    /// All of them, over new trainings and new pictures.
    pub(crate) fn compute(
        &self,
        answered: &Answered<'_>,
        options: &ReportOptions,
        is_trained: &dyn Fn(&str) -> bool,
    ) -> TwoLevel {
        if self.contrasts.is_empty() {
            return TwoLevel::default();
        }
        let wanted: BTreeSet<(&str, &str)> = self
            .measures
            .iter()
            .map(|m| (m.arm.as_str(), m.budget.as_str()))
            .collect();
        let is_wanted = |record: &&&Record| {
            record.arm == options.full || wanted.contains(&(record.arm.as_str(), record.budget.as_str()))
        };
        // Each seed is an arm of its own here.
        let apart = |record: &&Record| Record {
            arm: format!("{}{SEED}{}", record.arm, record.seed),
            seed: 0,
            ..(*record).clone()
        };
        let records: Vec<Record> = answered.records.iter().filter(is_wanted).map(apart).collect();
        let answered = Answered {
            records: records.iter().collect(),
            n_left_out: 0,
        };
        let matrix = Matrix::new(&answered, &[]);
        let mut places: BTreeMap<(&str, &str), Vec<(u64, usize)>> = BTreeMap::new();
        for (place, cell) in matrix.cells.iter().enumerate() {
            if let Some((arm, Ok(seed))) = cell.arm.split_once(SEED).map(|(arm, seed)| (arm, seed.parse())) {
                places.entry((arm, &cell.budget)).or_default().push((seed, place));
            }
        }
        let full = matrix.cells.iter().position(|cell| {
            cell.arm
                .split_once(SEED)
                .is_some_and(|(arm, _)| arm == options.full)
        });
        let replicated = |measure: &Measure| {
            let matrix = &matrix;
            let replica = |&(seed, cell): &(u64, usize)| {
                let columns = measure.columns.clone();
                let statistic: Statistic<'_> = match (measure.is_average, full) {
                    (true, _) => Box::new(move |totals: &[f64]| {
                        mean(
                            columns
                                .iter()
                                .map(|&benchmark| matrix.percent(cell, benchmark, totals)),
                        )
                    }),
                    (false, Some(full)) => {
                        Box::new(move |totals: &[f64]| matrix.retention_over(&columns, cell, full, totals))
                    }
                    (false, None) => Box::new(|_| f64::NAN),
                };
                (seed, statistic)
            };
            let own = places.get(&(measure.arm.as_str(), measure.budget.as_str()));
            Replicated {
                stream: if is_trained(&measure.arm) {
                    String::new()
                } else {
                    measure.arm.clone()
                },
                replicas: own.into_iter().flatten().map(replica).collect(),
            }
        };
        let arms: Vec<Replicated<'_>> = self.measures.iter().map(replicated).collect();
        options
            .bootstrap
            .two_level(&matrix.strata, &arms, &self.contrasts)
    }
}
