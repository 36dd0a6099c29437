//! The records that count.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::cell::Cell;
use crate::EvalError;
use crate::data::Benchmark;
use crate::run::Record;

type QuestionKey<'a> = (Benchmark, &'a str);

/// Records of questions that every arm of their benchmark has answered with every seed, each once, sorted. Of a group of
/// questions that count together, all were answered so.
pub(crate) struct Answered<'a> {
    pub(crate) records: Vec<&'a Record>,
    /// Questions left out because some arm has not answered them.
    pub(crate) n_left_out: usize,
}

impl<'a> Answered<'a> {
    /// Sorts and filters; an arm without any answer in a benchmark is not asked for there.
    pub(crate) fn new(records: impl IntoIterator<Item = &'a Record>) -> Result<Self, EvalError> {
        let mut records: Vec<&Record> = records.into_iter().collect();
        records.sort_by_cached_key(|record| record.key());
        records.dedup_by_key(|record| record.key());
        let n_all = questions(&records).len();
        let mut wanted: BTreeMap<Benchmark, BTreeSet<(Cell, u64)>> = BTreeMap::new();
        let mut answers: HashMap<QuestionKey<'_>, usize> = HashMap::new();
        for record in &records {
            let seeds = wanted.entry(record.benchmark).or_default();
            seeds.insert((Cell::of(record), record.seed));
            *answers.entry(key(record)).or_default() += 1;
        }
        let is_answered = |record: &&Record| answers[&key(record)] == wanted[&record.benchmark].len();
        // A group counts as a whole or not at all.
        let broken: BTreeSet<(Benchmark, &String)> = records
            .iter()
            .filter(|record| !is_answered(record))
            .filter_map(|record| Some((record.benchmark, record.group.as_ref()?)))
            .collect();
        let is_broken = |record: &Record| {
            let group = record.group.as_ref();
            group.is_some_and(|group| broken.contains(&(record.benchmark, group)))
        };
        records.retain(|record| is_answered(record) && !is_broken(record));
        if records.is_empty() {
            return Err(EvalError::Setup {
                subject: "report".into(),
                found: "no question that every arm has answered".into(),
                wanted: "a finished run".into(),
            });
        }
        Ok(Self {
            n_left_out: n_all - questions(&records).len(),
            records,
        })
    }

    /// The sentence of a note about the questions that are left out.
    pub(crate) fn note(&self) -> String {
        match self.n_left_out {
            0 => String::new(),
            n => format!(" {n} questions without an answer of every arm are left out."),
        }
    }
}

/// The key that tells questions apart.
pub(crate) fn key(record: &Record) -> QuestionKey<'_> {
    (record.benchmark, &record.question)
}

fn questions<'a>(records: &[&'a Record]) -> BTreeSet<QuestionKey<'a>> {
    records.iter().map(|record| key(record)).collect()
}
