//! Records as a matrix: a row for each picture, a block of columns for each part of a benchmark.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::EvalError;
use crate::answer::Confusion;
use crate::data::Benchmark;
use crate::run::Record;
use crate::stats::{Stratum, retention};

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
    /// Questions answered by every cell and seed.
    pub(crate) n_questions: usize,
    /// Questions left out because some arm has not answered them.
    pub(crate) n_left_out: usize,
    parts_of: BTreeMap<Benchmark, Vec<usize>>,
}

type QuestionKey<'a> = (Benchmark, &'a str);

impl Layout {
    /// Sorts records into columns; `order` gives the order of arms.
    pub(crate) fn new(records: &[Record], order: &[String]) -> Result<Self, EvalError> {
        let mut records: Vec<&Record> = records.iter().collect();
        records.sort_by_cached_key(|record| record.key());
        records.dedup_by_key(|record| record.key());
        let n_all = records
            .iter()
            .map(|r| (r.benchmark, &r.question))
            .collect::<BTreeSet<_>>()
            .len();
        let records = answered_by_all(records);
        if records.is_empty() {
            return Err(EvalError::Setup {
                subject: "report".into(),
                found: "no question that every arm has answered".into(),
                wanted: "a finished run".into(),
            });
        }
        let cells = cells(&records, order);
        let many = many_kinds(&records);
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
        let n_questions = records
            .iter()
            .map(|r| (r.benchmark, &r.question))
            .collect::<BTreeSet<_>>()
            .len();
        let mut layout = Self {
            kept: kept(&records, &cells),
            strata: Vec::new(),
            n_left_out: n_all - n_questions,
            cells,
            parts,
            n_questions,
            parts_of,
        };
        layout.strata = layout.fill(&records, part);
        Ok(layout)
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
                let weight = 1.0 / seeds[&cell].len() as f64;
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

    /// Mean score of a cell over these parts, percent; NaN without questions.
    pub(crate) fn accuracy(&self, cell: usize, parts: &[usize], totals: &[f64]) -> f64 {
        let score = |part: &usize| totals[part * self.block() + SHARED + PER_CELL * cell];
        100.0 * parts.iter().map(score).sum::<f64>() / self.count(parts, totals)
    }

    /// The number that tables print for a benchmark: POPE's mean F1 over splits, mean score elsewhere; percent.
    pub(crate) fn headline(&self, cell: usize, benchmark: Benchmark, totals: &[f64]) -> f64 {
        let parts = self.parts(benchmark);
        if benchmark != Benchmark::Pope {
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

    /// Mean of the benchmarks' headline numbers.
    pub(crate) fn average(&self, cell: usize, totals: &[f64]) -> f64 {
        mean(
            self.parts_of
                .keys()
                .map(|&benchmark| self.headline(cell, benchmark, totals)),
        )
    }

    /// How much of the unpruned cell's numbers is left, percent.
    pub(crate) fn retention(&self, cell: usize, full: usize, totals: &[f64]) -> f64 {
        let of = |cell, benchmark| self.headline(cell, benchmark, totals);
        retention(
            self.parts_of
                .keys()
                .map(|&benchmark| (of(cell, benchmark), of(full, benchmark))),
        )
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0usize, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / count as f64
}

fn cell_of(record: &Record) -> Cell {
    Cell {
        arm: record.arm.clone(),
        budget: record.budget.clone(),
    }
}

fn seeds(records: &[&Record]) -> HashMap<Cell, BTreeSet<u64>> {
    let mut seeds: HashMap<Cell, BTreeSet<u64>> = HashMap::new();
    for record in records {
        seeds.entry(cell_of(record)).or_default().insert(record.seed);
    }
    seeds
}

/// The records of questions that every cell has answered with every one of its seeds.
fn answered_by_all(records: Vec<&Record>) -> Vec<&Record> {
    let wanted: usize = seeds(&records).values().map(BTreeSet::len).sum();
    let mut answers: HashMap<QuestionKey<'_>, usize> = HashMap::new();
    for record in &records {
        *answers
            .entry((record.benchmark, record.question.as_str()))
            .or_default() += 1;
    }
    records
        .into_iter()
        .filter(|record| answers[&(record.benchmark, record.question.as_str())] == wanted)
        .collect()
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
