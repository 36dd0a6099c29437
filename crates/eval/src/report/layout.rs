//! Records as a matrix: a row for each picture, a block of columns for each part of a benchmark.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::answered::Answered;
use crate::answer::Tally;
use crate::data::Benchmark;
use crate::run::Record;
use crate::stats::Stratum;

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

/// Numbers of a cell in a part: summed score, groups right, answers "yes", right answers "yes".
const PER_CELL: usize = 4;
/// Numbers of a part itself: questions, groups, questions whose answer is yes.
const SHARED: usize = 3;
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
    pub(super) parts_of: BTreeMap<Benchmark, Vec<usize>>,
    /// Parts of a benchmark that its program reports together.
    pub(super) subsets_of: BTreeMap<Benchmark, Vec<Vec<usize>>>,
    /// Benchmarks of each cell.
    pub(super) has: Vec<BTreeSet<Benchmark>>,
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
        let subsets = |of_benchmark: &Vec<usize>| {
            let same = |a: &usize, b: &usize| parts[*a].subset == parts[*b].subset;
            of_benchmark.chunk_by(same).map(<[usize]>::to_vec).collect()
        };
        let subsets_of = parts_of
            .iter()
            .map(|(&benchmark, of_benchmark)| (benchmark, subsets(of_benchmark)))
            .collect();
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
            subsets_of,
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

    /// Columns of a part.
    pub(super) fn block(&self) -> usize {
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
            let mut counted = (BTreeSet::new(), BTreeSet::new());
            // Sums of fractions depend on their order: groups are added in that of their keys.
            let mut groups: BTreeMap<_, Vec<(f64, Option<bool>)>> = BTreeMap::new();
            let mut weights: HashMap<usize, f64> = HashMap::new();
            for record in of_benchmark() {
                let part = part_index[&part(record)];
                let row = rows[record.image.as_str()];
                let first = row * columns.len() + part * self.block() - columns.start;
                let group = record.group.as_ref().unwrap_or(&record.question);
                let shared = &mut sums[first..first + SHARED];
                if counted.0.insert(&record.question) {
                    shared[0] += 1.0;
                    shared[2] += f64::from(record.label == Some(true));
                }
                if counted.1.insert((record.group.is_some(), group)) {
                    shared[1] += 1.0;
                }
                let cell = cell_of(record);
                let own = first + SHARED + PER_CELL * cell_index[&cell];
                weights.insert(own, 1.0 / seeds[&(benchmark, cell)].len() as f64);
                let key = (own, record.seed, record.group.is_some(), group);
                let members = groups.entry(key).or_default();
                members.push((record.score, record.label));
            }
            for ((own, ..), members) in groups {
                let tally = Tally::group(members) * weights[&own];
                let values = [
                    tally.score,
                    tally.groups_right,
                    tally.said_yes,
                    tally.true_positives,
                ];
                sums[own..own + PER_CELL]
                    .iter_mut()
                    .zip(values)
                    .for_each(|(sum, value)| *sum += value);
            }
            Stratum { columns, sums }
        };
        self.parts_of.iter().map(stratum).collect()
    }

    /// What a metric needs to know of a cell in a part.
    pub(super) fn tally(&self, cell: usize, part: usize, totals: &[f64]) -> Tally {
        let block = &totals[part * self.block()..][..self.block()];
        let own = &block[SHARED + PER_CELL * cell..][..PER_CELL];
        Tally {
            questions: block[0],
            groups: block[1],
            positive: block[2],
            score: own[0],
            groups_right: own[1],
            said_yes: own[2],
            true_positives: own[3],
        }
    }

    /// Number of questions in these parts.
    pub(crate) fn count(&self, parts: &[usize], totals: &[f64]) -> f64 {
        parts.iter().map(|part| totals[part * self.block()]).sum()
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
