//! Numbers beside the one that a benchmark is known by.

use super::build::blank;
use super::layout::{Cell, Layout};
use super::result::{Report, Row};
use crate::answer::{MME_COGNITION, MME_PERCEPTION, Metric, Tally};
use crate::data::Benchmark;
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

/// A number of one split.
type OfSplit = fn(&Tally) -> f64;

/// What POPE's program prints of a split beside F1.
const POPE: [(&str, OfSplit); 4] = [
    ("accuracy", Tally::accuracy),
    ("precision", |split| split.confusion().precision()),
    ("recall", |split| split.confusion().recall()),
    ("yes ratio", |split| split.confusion().yes_ratio()),
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
        match benchmark {
            Benchmark::Pope => numbers.pope(),
            Benchmark::MmBench | Benchmark::MmBenchCn => {
                let name = format!("{benchmark} plain accuracy");
                numbers.of_subsets(benchmark, &name, |_| true, Metric::MeanScore);
            }
            Benchmark::Mme => {
                for (name, parts) in [("perception", &MME_PERCEPTION[..]), ("cognition", &MME_COGNITION)] {
                    let fits = move |subset: &str| parts.contains(&subset);
                    let name = format!("mme {name} points");
                    numbers.of_subsets(benchmark, &name, fits, Metric::AccuracyPlus);
                }
            }
            Benchmark::SeedBench => {
                for kind in ["image", "video"] {
                    let name = format!("seed_bench {kind} accuracy");
                    numbers.of_subsets(benchmark, &name, move |subset| subset == kind, Metric::MeanScore);
                }
            }
            Benchmark::VqaV2 => {
                let by_lmms = move |totals: &[f64]| layout.vqav2_by_lmms(cell, totals);
                numbers.add(benchmark, "vqav2 accuracy by lmms-eval".into(), Box::new(by_lmms));
            }
            Benchmark::Gqa | Benchmark::TextVqa | Benchmark::ScienceQa | Benchmark::VizWiz => {}
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
    fn add(&mut self, benchmark: Benchmark, metric: String, statistic: Statistic<'a>) {
        let n = self.layout.count(self.layout.parts(benchmark), self.data) as usize;
        self.rows.push((blank(self.own, &metric, n), statistic));
    }

    /// A metric over some subsets.
    fn of_subsets(
        &mut self,
        benchmark: Benchmark,
        name: &str,
        fits: impl Fn(&str) -> bool + Send + Sync + 'a,
        metric: Metric,
    ) {
        let (layout, cell) = (self.layout, self.cell);
        let count = layout.tallies(cell, benchmark, &fits, self.data);
        let n = count.iter().map(|tally| tally.questions).sum::<f64>() as usize;
        let statistic = move |totals: &[f64]| metric.value(&layout.tallies(cell, benchmark, &fits, totals));
        self.rows.push((blank(self.own, name, n), Box::new(statistic)));
    }

    /// What POPE's program prints, as means over the splits like the F1 that tables print, and lmms-eval's numbers over all
    /// questions.
    fn pope(&mut self) {
        let (layout, cell) = (self.layout, self.cell);
        let tallies = move |totals: &[f64]| layout.tallies(cell, Benchmark::Pope, &|_| true, totals);
        for (name, of) in POPE {
            let mean = move |totals: &[f64]| {
                let mut splits = tallies(totals);
                splits.retain(|split| split.questions > 0.0);
                100.0 * splits.iter().map(of).sum::<f64>() / splits.len() as f64
            };
            self.add(Benchmark::Pope, format!("pope {name}"), Box::new(mean));
        }
        let pooled = move |totals: &[f64]| {
            let mut sum = Tally::default();
            tallies(totals).into_iter().for_each(|tally| sum += tally);
            sum
        };
        let f1 = move |totals: &[f64]| 100.0 * pooled(totals).confusion().f1();
        self.add(Benchmark::Pope, "pope pooled F1".into(), Box::new(f1));
        let labels = move |totals: &[f64]| 100.0 * pooled(totals).label_ratio();
        self.add(
            Benchmark::Pope,
            "pope yes ratio of the labels".into(),
            Box::new(labels),
        );
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
