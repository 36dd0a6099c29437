//! Answers in the files that official programs and servers take.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::benchmark::Benchmark;
use super::question::{Question, Reference};
use crate::EvalError;

/// A file's path below the output folder, with `/` between names, and its text.
pub type AnswerFile = (String, String);

/// Questions of one benchmark with the answers to them.
#[derive(Debug)]
pub struct AnsweredQuestions<'a> {
    root: PathBuf,
    pairs: Vec<(&'a Question, &'a str)>,
}

impl<'a> AnsweredQuestions<'a> {
    /// The folder of the benchmark's data.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The questions with the answers to them, in the order of the questions.
    pub fn pairs(&self) -> &[(&'a Question, &'a str)] {
        &self.pairs
    }

    /// The ids of the questions with the answers to them.
    pub fn by_id(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.pairs
            .iter()
            .map(|(question, answer)| (question.id.as_str(), *answer))
    }

    /// True when a server knows the truth of some question.
    pub fn is_hidden(&self) -> bool {
        self.pairs
            .iter()
            .any(|(question, _)| question.reference == Reference::Hidden)
    }
}

/// The answers to some questions, by benchmark and id, in the files that official programs and servers take. `data` is the
/// folder with the benchmarks. Questions without an answer are left out.
///
/// Each benchmark has `NAME/answers.jsonl`, lines as LLaVA's scripts write them. Beside it: GQA
/// `testdev_balanced_predictions.json`; VQAv2 and VizWiz `upload.json`; SEED-Bench `upload.jsonl`; MMBench `upload.tsv`, the
/// columns of the server's spreadsheet; MME a text file for each subtask, when its files are sound and every question has an
/// answer.
///
/// # Errors
/// When MMBench's table or VQAv2's list of all questions of test2015 is missing or damaged.
pub fn answer_files(
    data: &Path,
    questions: &[Question],
    model: &str,
    answers: &HashMap<(Benchmark, &str), &str>,
) -> Result<Vec<AnswerFile>, EvalError> {
    let mut sets: BTreeMap<Benchmark, Vec<(&Question, &str)>> = BTreeMap::new();
    for question in questions {
        if let Some(answer) = answers.get(&(question.benchmark, question.id.as_str())) {
            sets.entry(question.benchmark)
                .or_default()
                .push((question, answer));
        }
    }
    let mut files = Vec::new();
    for (benchmark, pairs) in sets {
        let answered = AnsweredQuestions {
            root: data.join(benchmark.name()),
            pairs,
        };
        files.push((format!("{benchmark}/answers.jsonl"), llava(model, &answered)));
        let own = benchmark.spec().answer_files(&answered)?;
        files.extend(
            own.into_iter()
                .map(|(name, text)| (format!("{benchmark}/{name}"), text)),
        );
    }
    Ok(files)
}

/// Lines as LLaVA's scripts write them.
fn llava(model: &str, answered: &AnsweredQuestions<'_>) -> String {
    let line = |(question, answer): &(&Question, &str)| {
        let id = question.benchmark.spec().llava_id(question);
        let line = json!({"question_id": id, "prompt": question.text, "text": answer, "answer_id": question.id,
            "model_id": model, "metadata": {}});
        format!("{line}\n")
    };
    answered.pairs().iter().map(line).collect()
}

/// Rows as a JSON list: the form of most uploads.
pub(crate) fn json_list<T: Serialize>(rows: impl Iterator<Item = T>) -> String {
    serde_json::to_string(&rows.collect::<Vec<T>>()).unwrap_or_default()
}
