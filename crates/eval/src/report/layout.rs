//! Records as a matrix: a row for each picture, a block of columns for each part of a benchmark.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::answered::Answered;
use crate::answer::Confusion;
use crate::data::Benchmark;
use crate::run::Record;
use crate::stats::{ChanceLevels, Stratum, chance_corrected_retention, mean, retention};

/// One arm at one budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cell {
    pub(crate) arm: String,
    pub(crate) budget: String,
}

/// Questions of one class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Part {
    pub(crate) benchmark: Benchmark,
    pub(crate) subset: String,
    pub(crate) kind: String,
}

/// Numbers of a cell in a part: summed score, answers "yes", right answers "yes".
const PER_CELL: usize = 3;
/// Numbers of a part itself: questions, questions whose answer is yes.
const SHARED: usize = 2;
/// A benchmark with more kinds than this is shown by its subsets.
const MOST_KINDS: usize = 24;

/// The matrix and what its columns mean.
pub(crate) struct Layout {
    pub(crate) cells: Vec<Cell>,
    pub(crate) parts: Vec<Part>,
    pub(crate) strata: Vec<Stratum>,
    /// Kept tokens of each cell: mean, least, most.
    pub(crate) kept: Vec<(f64, f64, f64)>,
    /// Questions of the benchmarks that every cell has.
    pub(crate) n_questions: usize,
    parts_of: BTreeMap<Benchmark, Vec<usize>>,
    /// Benchmarks of each cell.
    has: Vec<BTreeSet<Benchmark>>,
    /// Benchmarks of every cell.
    pub(crate) common: BTreeSet<Benchmark>,
}

impl Layout {
    /// Sorts records into columns; `order` gives the order of arms.
    pub(crate) fn new(answered: &Answered<'_>, order: &[String]) -> Self {
        let records = answered.records.as_slice();
        let cells = cells(records, order);
        let many = many_kinds(records);
        let part = |record: &Record| Part {
            benchmark: record.benchmark,
            subset: record.subset.clone(),
            kind: if many.contains(&record.benchmark) {
                record.subset.clone()
            } else {
                record.kind.clone()
            },
        };
        let parts: Vec<Part> = records
            .iter()
            .map(|r| part(r))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut parts_of: BTreeMap<Benchmark, Vec<usize>> = BTreeMap::new();
        parts
            .iter()
            .enumerate()
            .for_each(|(i, part)| parts_of.entry(part.benchmark).or_default().push(i));
        let mut holders: BTreeMap<Benchmark, BTreeSet<Cell>> = BTreeMap::new();
        for record in records {
            holders
                .entry(record.benchmark)
                .or_default()
                .insert(cell_of(record));
        }
        let has = |cell: &Cell| {
            let held = holders.iter().filter(|(_, cells)| cells.contains(cell));
            held.map(|(&benchmark, _)| benchmark).collect()
        };
        let has: Vec<BTreeSet<Benchmark>> = cells.iter().map(has).collect();
        let common: BTreeSet<Benchmark> = holders
            .iter()
            .filter(|(_, holders)| holders.len() == cells.len())
            .map(|(&benchmark, _)| benchmark)
            .collect();
        let mut layout = Self {
            kept: kept(records, &cells),
            strata: Vec::new(),
            cells,
            parts,
            n_questions: 0,
            parts_of,
            has,
            common,
        };
        layout.strata = layout.fill(records, part);
        let data = layout.totals();
        let counts = layout
            .common
            .iter()
            .map(|&benchmark| layout.count(layout.parts(benchmark), &data));
        layout.n_questions = counts.sum::<f64>() as usize;
        layout
    }

    fn block(&self) -> usize {
        SHARED + PER_CELL * self.cells.len()
    }

    /// One stratum per benchmark, one row per picture.
    fn fill(&self, records: &[&Record], part: impl Fn(&Record) -> Part) -> Vec<Stratum> {
        let part_index: HashMap<&Part, usize> =
            self.parts.iter().enumerate().map(|(i, part)| (part, i)).collect();
        let cell_index: HashMap<&Cell, usize> =
            self.cells.iter().enumerate().map(|(i, cell)| (cell, i)).collect();
        let seeds = seeds(records);
        let stratum = |(&benchmark, parts): (&Benchmark, &Vec<usize>)| {
            let columns = parts[0] * self.block()..(parts[parts.len() - 1] + 1) * self.block();
            let of_benchmark = || records.iter().filter(move |record| record.benchmark == benchmark);
            let images: BTreeSet<&str> = of_benchmark().map(|record| record.image.as_str()).collect();
            let rows: HashMap<&str, usize> = images
                .iter()
                .enumerate()
                .map(|(row, &image)| (image, row))
                .collect();
            let mut sums = vec![0.0; rows.len() * columns.len()];
            let mut counted = BTreeSet::new();
            for record in of_benchmark() {
                let cell = cell_of(record);
                let weight = 1.0 / seeds[&(benchmark, cell.clone())].len() as f64;
                let first = part_index[&part(record)] * self.block() - columns.start;
                let row =
                    &mut sums[rows[record.image.as_str()] * columns.len()..][first..first + self.block()];
                if counted.insert(&record.question) {
                    row[0] += 1.0;
                    row[1] += f64::from(record.label == Some(true));
                }
                let own = &mut row[SHARED + PER_CELL * cell_index[&cell]..][..PER_CELL];
                own[0] += weight * record.score;
                if let Some(label) = record.label {
                    let right = record.score > 0.5;
                    own[1] += weight * f64::from(right == label);
                    own[2] += weight * f64::from(right && label);
                }
            }
            Stratum { columns, sums }
        };
        self.parts_of.iter().map(stratum).collect()
    }

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

    /// Number of questions in these parts.
    pub(crate) fn count(&self, parts: &[usize], totals: &[f64]) -> f64 {
        parts.iter().map(|part| totals[part * self.block()]).sum()
    }

    /// Number of questions in the benchmarks of a cell.
    pub(crate) fn own_questions(&self, cell: usize, totals: &[f64]) -> usize {
        let count = |&benchmark: &Benchmark| self.count(self.parts(benchmark), totals);
        self.has[cell].iter().map(count).sum::<f64>() as usize
    }

    /// Column sums of the data themselves.
    pub(crate) fn totals(&self) -> Vec<f64> {
        let mut totals = vec![0.0; self.parts.len() * self.block()];
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

    /// Whether every cell has every benchmark.
    pub(crate) fn is_ragged(&self) -> bool {
        self.common.len() < self.parts_of.len()
    }

    /// Mean score of a cell over these parts, percent; NaN without questions.
    pub(crate) fn accuracy(&self, cell: usize, parts: &[usize], totals: &[f64]) -> f64 {
        let held = |part: &usize| self.has[cell].contains(&self.parts[*part].benchmark);
        if !parts.iter().all(held) {
            return f64::NAN;
        }
        let score = |part: &usize| totals[part * self.block() + SHARED + PER_CELL * cell];
        100.0 * parts.iter().map(score).sum::<f64>() / self.count(parts, totals)
    }

    /// The number that tables print for a benchmark: POPE's mean F1 over splits, mean score elsewhere; percent. NaN when
    /// the cell does not have the benchmark.
    pub(crate) fn headline(&self, cell: usize, benchmark: Benchmark, totals: &[f64]) -> f64 {
        let parts = self.parts(benchmark);
        if benchmark != Benchmark::Pope || !self.has[cell].contains(&benchmark) {
            return self.accuracy(cell, parts, totals);
        }
        let f1 = parts
            .iter()
            .map(|&part| self.confusion(cell, part, totals))
            .filter(|counts| counts.total() > 0.0);
        mean(f1.map(|counts| 100.0 * counts.f1()))
    }

    /// Yes/no counts of a cell in a part.
    fn confusion(&self, cell: usize, part: usize, totals: &[f64]) -> Confusion {
        let block = &totals[part * self.block()..][..self.block()];
        let own = &block[SHARED + PER_CELL * cell..][..PER_CELL];
        let (count, positive, said_yes, true_positives) = (block[0], block[1], own[1], own[2]);
        Confusion {
            true_positives,
            false_positives: said_yes - true_positives,
            true_negatives: count - positive - said_yes + true_positives,
            false_negatives: positive - true_positives,
        }
    }

    /// Mean of the headline numbers over the benchmarks that every cell has; NaN when there is none.
    pub(crate) fn average(&self, cell: usize, totals: &[f64]) -> f64 {
        mean(
            self.common
                .iter()
                .map(|&benchmark| self.headline(cell, benchmark, totals)),
        )
    }

    /// Mean of the headline numbers over the benchmarks that the cell has.
    pub(crate) fn ragged_average(&self, cell: usize, totals: &[f64]) -> f64 {
        mean(
            self.has[cell]
                .iter()
                .map(|&benchmark| self.headline(cell, benchmark, totals)),
        )
    }

    /// How much of the unpruned cell's numbers is left over the benchmarks that every cell has, percent.
    pub(crate) fn retention(&self, cell: usize, full: usize, totals: &[f64]) -> f64 {
        retention(self.pairs(&self.common, cell, full, totals))
    }

    /// How much of the unpruned cell's numbers is left over the benchmarks that the cell has, percent.
    pub(crate) fn ragged_retention(&self, cell: usize, full: usize, totals: &[f64]) -> f64 {
        retention(self.pairs(&self.has[cell], cell, full, totals))
    }

    /// How much of the unpruned cell's lead over guessing is left over the benchmarks that every cell has, percent.
    pub(crate) fn corrected(&self, cell: usize, full: usize, chance: &ChanceLevels, totals: &[f64]) -> f64 {
        let levels = self.common.iter().map(|benchmark| chance.of(benchmark.name()));
        let pairs = self.pairs(&self.common, cell, full, totals).zip(levels);
        chance_corrected_retention(pairs.map(|((pruned, unpruned), chance)| (pruned, unpruned, chance)))
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

/// The cell of a record.
pub(crate) fn cell_of(record: &Record) -> Cell {
    Cell {
        arm: record.arm.clone(),
        budget: record.budget.clone(),
    }
}

/// The seeds of each cell in each benchmark.
fn seeds(records: &[&Record]) -> HashMap<(Benchmark, Cell), BTreeSet<u64>> {
    let mut seeds: HashMap<_, BTreeSet<u64>> = HashMap::new();
    for record in records {
        let key = (record.benchmark, cell_of(record));
        seeds.entry(key).or_default().insert(record.seed);
    }
    seeds
}

/// The benchmarks with too many kinds for a table.
fn many_kinds(records: &[&Record]) -> BTreeSet<Benchmark> {
    let mut kinds: BTreeMap<Benchmark, BTreeSet<&str>> = BTreeMap::new();
    for record in records {
        kinds.entry(record.benchmark).or_default().insert(&record.kind);
    }
    kinds
        .into_iter()
        .filter(|(_, kinds)| kinds.len() > MOST_KINDS)
        .map(|(benchmark, _)| benchmark)
        .collect()
}

/// The cells: arms in the given order, then by name; each from its largest budget to its smallest.
fn cells(records: &[&Record], order: &[String]) -> Vec<Cell> {
    let cells: BTreeSet<Cell> = records.iter().map(|record| cell_of(record)).collect();
    let mut cells: Vec<Cell> = cells.into_iter().collect();
    let means = kept(records, &cells);
    let size: HashMap<Cell, f64> = cells
        .iter()
        .cloned()
        .zip(means.iter().map(|&(mean, _, _)| mean))
        .collect();
    let place = |cell: &Cell| {
        order
            .iter()
            .position(|arm| *arm == cell.arm)
            .unwrap_or(order.len())
    };
    cells.sort_by(|a, b| {
        place(a)
            .cmp(&place(b))
            .then_with(|| a.arm.cmp(&b.arm))
            .then_with(|| size[b].total_cmp(&size[a]))
            .then_with(|| a.cmp(b))
    });
    cells
}

/// Mean, least and most kept tokens of each cell.
fn kept(records: &[&Record], cells: &[Cell]) -> Vec<(f64, f64, f64)> {
    let mut counts: HashMap<Cell, (f64, usize, f64, f64)> = HashMap::new();
    for record in records {
        let kept = record.kept as f64;
        let entry = counts.entry(cell_of(record)).or_insert((0.0, 0, kept, kept));
        *entry = (entry.0 + kept, entry.1 + 1, entry.2.min(kept), entry.3.max(kept));
    }
    let of_cell = |cell: &Cell| {
        counts
            .get(cell)
            .map_or((0.0, 0.0, 0.0), |&(sum, n, lo, hi)| (sum / n as f64, lo, hi))
    };
    cells.iter().map(of_cell).collect()
}
