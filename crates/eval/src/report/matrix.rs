//! Records as a matrix: a row for each picture, a block of columns for each part of a benchmark.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::answered::Answered;
use super::cell::Cell;
use crate::answer::Tally;
use crate::data::Benchmark;
use crate::run::Record;
use crate::stats::{Guess, Stratum, chance_level};

/// Questions of one class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Part {
    pub(crate) benchmark: Benchmark,
    pub(crate) subset: String,
    pub(crate) kind: String,
}

/// Numbers of a part itself: questions, groups, questions whose answer is yes.
const SHARED: usize = 3;
/// A benchmark with more kinds than this is shown by its subsets.
const MOST_KINDS: usize = 24;

/// Numbers that a cell has in a part: summed score and groups right; of POPE also answers "yes", right answers "yes",
/// answers "no" and wrong answers "no"; of VQAv2 also the summed score by lmms-eval's program, which is the last.
fn per_cell(benchmark: Benchmark) -> usize {
    let spec = benchmark.spec();
    2 + 4 * usize::from(spec.counts_yes_and_no()) + usize::from(spec.scored_by_both_protocols())
}

/// The matrix and the meaning of its columns.
pub(crate) struct Matrix {
    pub(crate) cells: Vec<Cell>,
    pub(crate) parts: Vec<Part>,
    /// First column of each part, and the number of columns.
    starts: Vec<usize>,
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
    /// Benchmarks that enter averages: those of every cell, or fewer by a rule.
    pub(crate) counted: BTreeSet<Benchmark>,
    /// The number that guessing earns on the questions of a benchmark, where the records tell how many answers they offer.
    pub(super) guessed: BTreeMap<Benchmark, f64>,
    /// Pictures of a benchmark.
    pub(super) pictures: BTreeMap<Benchmark, usize>,
}

impl Matrix {
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
                .insert(Cell::of(record));
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
        let mut matrix = Self {
            kept: kept(records, &cells),
            strata: Vec::new(),
            starts: starts(&parts, cells.len()),
            cells,
            parts,
            n_questions: 0,
            parts_of,
            subsets_of,
            has,
            counted: common.clone(),
            common,
            guessed: guessed(records),
            pictures: pictures(records),
        };
        matrix.strata = matrix.fill(records, part);
        let data = matrix.totals();
        let counts = matrix
            .common
            .iter()
            .map(|&benchmark| matrix.count(matrix.parts(benchmark), &data));
        matrix.n_questions = counts.sum::<f64>() as usize;
        matrix
    }

    /// Number of columns.
    pub(super) fn width(&self) -> usize {
        self.starts[self.parts.len()]
    }

    /// One row per picture; one stratum per benchmark, or, where its number is a sum or mean over parts, one for the
    /// pictures of each part: a resample in which a part is missing would be about another number. Pictures that occur in
    /// several parts (POPE's) have a stratum of their own.
    fn fill(&self, records: &[&Record], part: impl Fn(&Record) -> Part) -> Vec<Stratum> {
        let part_index: HashMap<&Part, usize> =
            self.parts.iter().enumerate().map(|(i, part)| (part, i)).collect();
        let cell_index: HashMap<&Cell, usize> =
            self.cells.iter().enumerate().map(|(i, cell)| (cell, i)).collect();
        let seeds = seeds(records);
        let strata = |(&benchmark, parts): (&Benchmark, &Vec<usize>)| {
            let columns = self.starts[parts[0]]..self.starts[parts[parts.len() - 1] + 1];
            let per_cell = per_cell(benchmark);
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
            let mut groups: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
            let mut weights: HashMap<usize, f64> = HashMap::new();
            let mut parts_of_row: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); rows.len()];
            let by_part = benchmark.aggregate().is_over_parts();
            for record in of_benchmark() {
                let part = part_index[&part(record)];
                let row = rows[record.image.as_str()];
                if by_part {
                    parts_of_row[row].insert(&record.subset);
                }
                let first = row * columns.len() + self.starts[part] - columns.start;
                let group = record.group.as_ref().unwrap_or(&record.question);
                let shared = &mut sums[first..first + SHARED];
                if counted.0.insert(&record.question) {
                    shared[0] += 1.0;
                    shared[2] += f64::from(record.label == Some(true));
                }
                if counted.1.insert((record.group.is_some(), group)) {
                    shared[1] += 1.0;
                }
                let cell = Cell::of(record);
                let own = first + SHARED + per_cell * cell_index[&cell];
                weights.insert(own, 1.0 / seeds[&(benchmark, cell)].len() as f64);
                let key = (own, record.seed, record.group.is_some(), group);
                groups.entry(key).or_default().push(record);
            }
            for ((own, ..), members) in groups {
                let weight = weights[&own];
                let tally = Tally::group(members.iter().map(|record| record.scored())) * weight;
                let by_lmms: f64 = members.iter().map(|record| record.lmms.unwrap_or(f64::NAN)).sum();
                let yes_no = [
                    tally.said_yes,
                    tally.true_positives,
                    tally.said_no,
                    tally.false_negatives,
                ];
                let by_lmms = [weight * by_lmms];
                let spec = benchmark.spec();
                let yes_no: &[f64] = if spec.counts_yes_and_no() { &yes_no } else { &[] };
                let by_lmms: &[f64] = if spec.scored_by_both_protocols() {
                    &by_lmms
                } else {
                    &[]
                };
                let values = [tally.score, tally.groups_right];
                sums[own..own + per_cell]
                    .iter_mut()
                    .zip(values.iter().chain(yes_no).chain(by_lmms))
                    .for_each(|(sum, value)| *sum += value);
            }
            let mut strata: BTreeMap<BTreeSet<&str>, Vec<f64>> = BTreeMap::new();
            for (parts, row) in parts_of_row.into_iter().zip(sums.chunks_exact(columns.len())) {
                strata.entry(parts).or_default().extend(row);
            }
            let stratum = |sums| Stratum {
                columns: columns.clone(),
                sums,
            };
            strata.into_values().map(stratum).collect::<Vec<_>>()
        };
        self.parts_of.iter().flat_map(strata).collect()
    }

    /// The tally of a cell in a part.
    pub(super) fn tally(&self, cell: usize, part: usize, totals: &[f64]) -> Tally {
        let block = &totals[self.starts[part]..];
        let own = self.own(cell, part, totals);
        let counted = self.parts[part].benchmark.spec().counts_yes_and_no();
        let yes_no = |place: usize| if counted { own[2 + place] } else { 0.0 };
        Tally {
            questions: block[0],
            groups: block[1],
            positive: block[2],
            score: own[0],
            groups_right: own[1],
            said_yes: yes_no(0),
            true_positives: yes_no(1),
            said_no: yes_no(2),
            false_negatives: yes_no(3),
        }
    }

    /// Mean score of a cell by the other protocol's program, percent; NaN where it was not computed.
    pub(crate) fn by_other_protocol(&self, cell: usize, benchmark: Benchmark, totals: &[f64]) -> f64 {
        let parts = self.parts(benchmark);
        let scored = benchmark.spec().scored_by_both_protocols();
        if !scored || parts.is_empty() || !self.has[cell].contains(&benchmark) {
            return f64::NAN;
        }
        let score = |&part: &usize| self.own(cell, part, totals).last().copied().unwrap_or(f64::NAN);
        let sum: f64 = parts.iter().map(score).sum();
        100.0 * sum / self.count(parts, totals)
    }

    /// The columns of a cell in a part.
    fn own<'t>(&self, cell: usize, part: usize, totals: &'t [f64]) -> &'t [f64] {
        let per_cell = per_cell(self.parts[part].benchmark);
        &totals[self.starts[part] + SHARED + per_cell * cell..][..per_cell]
    }

    /// Number of questions in these parts.
    pub(crate) fn count(&self, parts: &[usize], totals: &[f64]) -> f64 {
        parts.iter().map(|&part| totals[self.starts[part]]).sum()
    }
}

/// Pictures of each benchmark.
fn pictures(records: &[&Record]) -> BTreeMap<Benchmark, usize> {
    let mut pictures: BTreeMap<Benchmark, BTreeSet<&str>> = BTreeMap::new();
    for record in records {
        pictures
            .entry(record.benchmark)
            .or_default()
            .insert(&record.image);
    }
    let count = |(benchmark, pictures): (Benchmark, BTreeSet<&str>)| (benchmark, pictures.len());
    pictures.into_iter().map(count).collect()
}

/// First column of each part, and the number of columns.
fn starts(parts: &[Part], n_cells: usize) -> Vec<usize> {
    let width = |part: &Part| SHARED + per_cell(part.benchmark) * n_cells;
    let ends = parts.iter().scan(0, |end, part| {
        *end += width(part);
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// The number that guessing earns on the questions of each benchmark; none where some question is open or of unknown options.
fn guessed(records: &[&Record]) -> BTreeMap<Benchmark, f64> {
    let mut questions: BTreeMap<Benchmark, BTreeMap<&str, Guess<'_>>> = BTreeMap::new();
    for record in records {
        // Records of earlier versions do not say it.
        let offered = record.benchmark.spec().answers_offered();
        let guess = Guess {
            subset: &record.subset,
            group: record.group.as_deref(),
            answers: record.options.or(offered),
            label: record.label,
        };
        let of_benchmark = questions.entry(record.benchmark).or_default();
        of_benchmark.insert(&record.question, guess);
    }
    let level = |(benchmark, questions): (Benchmark, BTreeMap<&str, Guess<'_>>)| {
        Some((
            benchmark,
            chance_level(benchmark.aggregate(), questions.into_values())?,
        ))
    };
    questions.into_iter().filter_map(level).collect()
}

/// The seeds of each cell in each benchmark.
fn seeds(records: &[&Record]) -> HashMap<(Benchmark, Cell), BTreeSet<u64>> {
    let mut seeds: HashMap<_, BTreeSet<u64>> = HashMap::new();
    for record in records {
        let key = (record.benchmark, Cell::of(record));
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
    let cells: BTreeSet<Cell> = records.iter().map(|record| Cell::of(record)).collect();
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
        let entry = counts.entry(Cell::of(record)).or_insert((0.0, 0, kept, kept));
        *entry = (entry.0 + kept, entry.1 + 1, entry.2.min(kept), entry.3.max(kept));
    }
    let of_cell = |cell: &Cell| {
        counts
            .get(cell)
            .map_or((0.0, 0.0, 0.0), |&(sum, n, lo, hi)| (sum / n as f64, lo, hi))
    };
    cells.iter().map(of_cell).collect()
}
