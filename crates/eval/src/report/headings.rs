//! Headings that mark the data that are not those of the papers' tables, and the sentence that names them.

use std::collections::BTreeSet;

use super::metric::Metric;
use super::result::Source;
use super::table::distinct;
use crate::data::Benchmark;

/// A metric for headings: with a star where its benchmark's data are not those of the papers' tables, see [`differing`].
pub(crate) fn heading(metric: &Metric, sources: &[Source]) -> String {
    let benchmark = metric.benchmark();
    match benchmark.and_then(|benchmark| difference(benchmark, sources)) {
        Some(_) => format!("{metric}*"),
        None => metric.to_string(),
    }
}

/// The sentence that explains the stars of headings; `None` where all data are those of the papers' tables.
pub(crate) fn differing(sources: &[Source]) -> Option<String> {
    let benchmarks: BTreeSet<Benchmark> = sources.iter().map(|source| source.benchmark).collect();
    let line = |benchmark: Benchmark| Some(format!("{benchmark}: {}", difference(benchmark, sources)?));
    let lines: Vec<String> = benchmarks.into_iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| format!("* Not the data of the papers' tables. {}.", lines.join("; ")))
}

/// "paper's split X, here Y" where they differ.
fn difference(benchmark: Benchmark, sources: &[Source]) -> Option<String> {
    let own = || sources.iter().filter(|source| source.benchmark == benchmark);
    let paper = &own().next()?.paper;
    let here = distinct(own().map(|source| source.here.as_str()));
    (here != [paper.as_str()]).then(|| format!("paper's split {paper}, here {}", here.join(" / ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starred_headings_are_explained_once() {
        let source = |benchmark: Benchmark, here: &str| Source {
            run: None,
            benchmark,
            paper: benchmark.splits().paper.into(),
            here: here.into(),
            questions: 1,
            published: 2,
            pictures: 1,
            chance: 0.0,
        };
        let vqav2 = Metric::Benchmark(Benchmark::VqaV2);
        let sources = [
            source(Benchmark::VqaV2, Benchmark::VqaV2.splits().here),
            source(Benchmark::Gqa, Benchmark::Gqa.splits().here),
        ];
        let both = "paper's split test-dev (server), here val2014";
        assert_eq!(heading(&vqav2, &sources), "vqav2 accuracy*");
        let gqa = Metric::Benchmark(Benchmark::Gqa);
        assert_eq!(heading(&gqa, &sources), "gqa accuracy");
        assert_eq!(heading(&vqav2, &sources[1..]), "vqav2 accuracy");
        assert_eq!(heading(&Metric::Average, &sources), "average");
        let told = format!("* Not the data of the papers' tables. vqav2: {both}.");
        assert_eq!(differing(&sources), Some(told));
        assert_eq!(differing(&sources[1..]), None);
        // Several runs.
        let runs = [sources[0].clone(), source(Benchmark::VqaV2, "train2014")];
        assert!(differing(&runs).unwrap().ends_with("here val2014 / train2014."));
    }
}
