//! Which questions stand behind the numbers of each benchmark.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::options::ReportOptions;
use super::sheet::distinct;
use crate::data::{Benchmark, Protocols, Question, prompts_hold_ocr};

/// Whose rules a run follows, and what its prompts hold: runs that differ here answer other questions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// In whose words each benchmark is asked and by whose rules it is scored; `None` when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocols>,
    /// Whether TextVQA's prompts hold OCR tokens; `None` without TextVQA, or when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocr: Option<bool>,
}

impl Asked {
    /// What questions and protocols say.
    pub fn of(questions: &[Question], protocols: &Protocols) -> Self {
        Self {
            protocol: Some(protocols.clone()),
            ocr: prompts_hold_ocr(questions),
        }
    }

    /// The data that a benchmark's questions are, with these prompts.
    pub fn here(&self, benchmark: Benchmark) -> &'static str {
        benchmark.spec().data_here(self.ocr, &BTreeSet::new())
    }

    /// Name of [`Self::protocol`] among the [values](Self::value).
    pub const PROTOCOL: &'static str = "protocol";
    /// Name of [`Self::ocr`] among the [values](Self::value).
    pub const OCR: &'static str = "TextVQA prompts";

    /// One of the facts in words; `None` when it is not known.
    pub fn value(&self, what: &str) -> Option<String> {
        match what {
            Self::PROTOCOL => self.protocol.as_ref().map(Protocols::to_string),
            Self::OCR => self.ocr.map(|ocr| {
                let with = if ocr { "with" } else { "without" };
                format!("{with} OCR tokens")
            }),
            _ => None,
        }
    }
}

/// What the numbers of a benchmark were computed from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The run, in reports about several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The benchmark.
    pub benchmark: Benchmark,
    /// The data behind the number in the papers' tables.
    pub paper: String,
    /// The data here.
    pub here: String,
    /// Questions that count here.
    pub questions: usize,
    /// Questions of the complete data set.
    pub published: usize,
    /// Pictures that they are about.
    pub pictures: usize,
    /// What guessing earns on them, in the units of the benchmark's number.
    pub chance: f64,
}

/// The source of every benchmark.
pub(crate) fn sources(layout: &Layout, options: &ReportOptions) -> Vec<Source> {
    let data = layout.totals();
    let source = |benchmark: Benchmark| {
        let splits = benchmark.splits();
        let subsets: BTreeSet<&str> = layout
            .parts(benchmark)
            .iter()
            .map(|&part| layout.parts[part].subset.as_str())
            .collect();
        let here = benchmark.spec().data_here(options.asked.ocr, &subsets);
        Source {
            run: None,
            benchmark,
            paper: splits.paper.into(),
            here: here.into(),
            questions: layout.count(layout.parts(benchmark), &data) as usize,
            published: splits.n_questions,
            pictures: layout.pictures.get(&benchmark).copied().unwrap_or(0),
            chance: layout.chance(benchmark, &options.chance),
        }
    };
    layout.benchmarks().into_iter().map(source).collect()
}

/// A metric for headings: where its benchmark's data are not those of the papers' tables, both are named.
pub(crate) fn heading(metric: &str, sources: &[Source]) -> String {
    let own = |benchmark: &Benchmark| {
        let rest = metric.strip_prefix(benchmark.name());
        rest.is_some_and(|rest| rest.starts_with(' '))
    };
    let benchmark = Benchmark::ALL.into_iter().find(own);
    match benchmark.and_then(|benchmark| difference(benchmark, sources)) {
        Some(difference) => format!("{metric} ({difference})"),
        None => metric.to_string(),
    }
}

/// What headings of numbers over several benchmarks add; empty where all data are those of the papers' tables.
pub(crate) fn differing(sources: &[Source]) -> String {
    let told = |benchmark: Benchmark| Some(format!("{benchmark}: {}", difference(benchmark, sources)?));
    let told: Vec<String> = Benchmark::ALL.into_iter().filter_map(told).collect();
    match told.is_empty() {
        true => String::new(),
        false => format!(" ({})", told.join("; ")),
    }
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
    fn headings_name_both_splits_where_they_differ() {
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
        let sources = [
            source(Benchmark::VqaV2, Benchmark::VqaV2.splits().here),
            source(Benchmark::Gqa, Benchmark::Gqa.splits().here),
        ];
        let told = "paper's split test-dev (server), here val2014";
        assert_eq!(
            heading("vqav2 accuracy", &sources),
            format!("vqav2 accuracy ({told})")
        );
        assert_eq!(heading("gqa accuracy", &sources), "gqa accuracy");
        assert_eq!(heading("vqav2 accuracy", &sources[1..]), "vqav2 accuracy");
        assert_eq!(heading("average", &sources), "average");
        assert_eq!(differing(&sources), format!(" (vqav2: {told})"));
        assert_eq!(differing(&sources[1..]), "");
        // Several runs.
        let both = [sources[0].clone(), source(Benchmark::VqaV2, "train2014")];
        assert!(heading("vqav2 accuracy", &both).ends_with("here val2014 / train2014)"));
    }
}
