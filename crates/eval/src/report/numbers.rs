//! Numbers of the matrix: from column sums to what tables print.

use std::collections::{BTreeMap, BTreeSet};

use super::matrix::Matrix;
use crate::answer::{Aggregate, Tally};
use crate::data::Benchmark;
use crate::stats::{ChanceLevels, chance_corrected_retention, mean, retention};

impl Matrix {
    /// The benchmarks that occur.
    pub(crate) fn benchmarks(&self) -> Vec<Benchmark> {
        self.parts_of.keys().copied().collect()
    }

    /// The kinds of questions that occur, with their parts.
    pub(crate) fn kinds(&self) -> BTreeMap<(Benchmark, String), Vec<usize>> {
        let mut kinds: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (place, part) in self.parts.iter().enumerate() {
            kinds
                .entry((part.benchmark, part.kind.clone()))
                .or_default()
                .push(place);
        }
        kinds
    }

    /// The parts of a benchmark.
    pub(crate) fn parts(&self, benchmark: Benchmark) -> &[usize] {
        self.parts_of
            .get(&benchmark)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Number of questions in the benchmarks of a cell.
    pub(crate) fn own_questions(&self, cell: usize, totals: &[f64]) -> usize {
        let count = |&benchmark: &Benchmark| self.count(self.parts(benchmark), totals);
        self.has[cell].iter().map(count).sum::<f64>() as usize
    }

    /// Column sums of the data themselves.
    pub(crate) fn totals(&self) -> Vec<f64> {
        let mut totals = vec![0.0; self.width()];
        for stratum in &self.strata {
            for row in stratum.sums.chunks_exact(stratum.columns.len()) {
                totals[stratum.columns.clone()]
                    .iter_mut()
                    .zip(row)
                    .for_each(|(total, value)| *total += value);
            }
        }
        totals
    }

    /// True when some cell lacks a benchmark.
    pub(crate) fn is_ragged(&self) -> bool {
        self.common.len() < self.parts_of.len()
    }

    /// Mean score of a cell over these parts of one benchmark, percent; NaN without questions.
    pub(crate) fn accuracy(&self, cell: usize, parts: &[usize], totals: &[f64]) -> f64 {
        let held = |part: &usize| self.has[cell].contains(&self.parts[*part].benchmark);
        if !parts.iter().all(held) {
            return f64::NAN;
        }
        let score = |&part: &usize| self.tally(cell, part, totals).score;
        100.0 * parts.iter().map(score).sum::<f64>() / self.count(parts, totals)
    }

    /// The number that tables print for a benchmark, by its own metric. NaN when the cell does not have the benchmark.
    pub(crate) fn headline(&self, cell: usize, benchmark: Benchmark, totals: &[f64]) -> f64 {
        benchmark
            .aggregate()
            .value(&self.tallies(cell, benchmark, &|_| true, totals))
    }

    /// The tallies of the subsets of a benchmark whose name fits; none when the cell does not have the benchmark.
    pub(crate) fn tallies(
        &self,
        cell: usize,
        benchmark: Benchmark,
        fits: &dyn Fn(&str) -> bool,
        totals: &[f64],
    ) -> Vec<Tally> {
        let has = self.has[cell].contains(&benchmark);
        let subsets = self.subsets_of.get(&benchmark).filter(|_| has);
        let tally = |parts: &Vec<usize>| {
            let mut sum = Tally::default();
            parts
                .iter()
                .for_each(|&part| sum += self.tally(cell, part, totals));
            sum
        };
        let named = |parts: &&Vec<usize>| fits(&self.parts[parts[0]].subset);
        subsets.into_iter().flatten().filter(named).map(tally).collect()
    }

    /// The headline number in percent of the most that can be had, so that points and percents can be averaged.
    pub(crate) fn percent(&self, cell: usize, benchmark: Benchmark, totals: &[f64]) -> f64 {
        let most = match benchmark.aggregate() {
            Aggregate::AccuracyPlus => 2.0 * self.subsets_of.get(&benchmark).map_or(0, Vec::len) as f64,
            _ => 1.0,
        };
        self.headline(cell, benchmark, totals) / most
    }

    /// Mean over the benchmarks that count of their numbers in percent of the most; NaN when there is none.
    pub(crate) fn average(&self, cell: usize, totals: &[f64]) -> f64 {
        self.average_over(self.counted.iter().copied(), cell, totals)
    }

    /// The same mean over these benchmarks.
    pub(crate) fn average_over(
        &self,
        benchmarks: impl Iterator<Item = Benchmark>,
        cell: usize,
        totals: &[f64],
    ) -> f64 {
        mean(benchmarks.map(|benchmark| self.percent(cell, benchmark, totals)))
    }

    /// The same mean over the benchmarks that the cell has.
    pub(crate) fn ragged_average(&self, cell: usize, totals: &[f64]) -> f64 {
        mean(
            self.has[cell]
                .iter()
                .map(|&benchmark| self.percent(cell, benchmark, totals)),
        )
    }

    /// Share of the unpruned cell's numbers that is left over the benchmarks that count, percent.
    pub(crate) fn retention(&self, cell: usize, full: usize, totals: &[f64]) -> f64 {
        retention(self.pairs(&self.counted, cell, full, totals))
    }

    /// Share of the unpruned cell's numbers that is left over these benchmarks, percent.
    pub(crate) fn retention_over(
        &self,
        benchmarks: &[Benchmark],
        cell: usize,
        full: usize,
        totals: &[f64],
    ) -> f64 {
        let benchmarks = benchmarks.iter().copied().collect();
        retention(self.pairs(&benchmarks, cell, full, totals))
    }

    /// Share of the unpruned cell's numbers that is left over the benchmarks that the cell has, percent.
    pub(crate) fn ragged_retention(&self, cell: usize, full: usize, totals: &[f64]) -> f64 {
        retention(self.pairs(&self.has[cell], cell, full, totals))
    }

    /// Share of the unpruned cell's lead over guessing that is left over the benchmarks that every cell has, percent.
    pub(crate) fn corrected(&self, cell: usize, full: usize, chance: &ChanceLevels, totals: &[f64]) -> f64 {
        let levels = self
            .common
            .iter()
            .map(|&benchmark| self.chance(benchmark, chance));
        let pairs = self.pairs(&self.common, cell, full, totals).zip(levels);
        chance_corrected_retention(pairs.map(|((pruned, unpruned), chance)| (pruned, unpruned, chance)))
    }

    /// The number that guessing earns on a benchmark: the one that was set, or is known of the questions, or is published.
    pub(crate) fn chance(&self, benchmark: Benchmark, levels: &ChanceLevels) -> f64 {
        let name = benchmark.name();
        let set = levels.replaced(name);
        set.or_else(|| self.guessed.get(&benchmark).copied())
            .unwrap_or_else(|| levels.of(name))
    }

    fn pairs<'s>(
        &'s self,
        benchmarks: &'s BTreeSet<Benchmark>,
        cell: usize,
        full: usize,
        totals: &'s [f64],
    ) -> impl Iterator<Item = (f64, f64)> + 's {
        benchmarks.iter().map(move |&benchmark| {
            let of = |cell| self.headline(cell, benchmark, totals);
            (of(cell), of(full))
        })
    }
}
