//! GQA's tables that its program prints beside the accuracy.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::gqa::{gqa_annotations, gqa_correct, gqa_prediction};
use crate::EvalError;
use crate::data::question::Protocol;

/// Operations that GQA's program does not count as steps.
const NO_STEPS: [&str; 3] = ["exist", "query: name", "choose name"];

/// Share of right answers of some questions.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GqaShare {
    /// Right answers, percent.
    pub percent: f64,
    /// Questions.
    pub questions: usize,
}

/// GQA's detailed tables and its distribution score; validity and plausibility need scene graphs, which testdev lacks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GqaDetails {
    /// Distance between the spread of the answers of a global group and that of the true ones: chi-square, mean over groups by their size, over
    /// 100; 0 is best. NaN without a question in a group.
    pub distribution: f64,
    /// By structural type.
    pub structural: BTreeMap<String, GqaShare>,
    /// By semantic type.
    pub semantic: BTreeMap<String, GqaShare>,
    /// By the steps of the question's program; empty where the data have none.
    pub steps: BTreeMap<usize, GqaShare>,
    /// By the words of the question.
    pub words: BTreeMap<usize, GqaShare>,
}

/// The part that the tables need of an entry of `testdev_balanced_questions.json`.
#[derive(Deserialize)]
struct Entry {
    question: String,
    answer: String,
    #[serde(rename = "isBalanced", default = "balanced")]
    is_balanced: bool,
    #[serde(default)]
    groups: Groups,
    #[serde(default)]
    types: Types,
    semantic: Option<Vec<Step>>,
}

#[derive(Deserialize, Default)]
struct Groups {
    #[serde(default)]
    global: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Types {
    structural: Option<String>,
    semantic: Option<String>,
}

#[derive(Deserialize)]
struct Step {
    operation: String,
    argument: String,
}

fn balanced() -> bool {
    true
}

/// GQA's tables for the answers to all balanced questions of `testdev_balanced_questions.json` below `root`, by question
/// id, as its program computes them from LLaVA's predictions.
///
/// # Errors
/// When the file is missing or damaged, or a question has no answer.
pub fn gqa_details(root: &Path, answers: &HashMap<String, String>) -> Result<GqaDetails, EvalError> {
    let (path, entries) = entries(root)?;
    let (mut structural, mut semantic) = (Counts::new(), Counts::new());
    let (mut steps, mut words) = (Counts::new(), Counts::new());
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for (id, entry) in entries.iter().filter(|(_, entry)| entry.is_balanced) {
        let answer = answers.get(id).ok_or_else(|| EvalError::Setup {
            subject: format!("{}: question `{id}`", path.display()),
            found: "no answer".into(),
            wanted: "an answer to every balanced question".into(),
        })?;
        let right = gqa_correct(answer, &entry.answer, Protocol::Llava);
        if let Some(kind) = &entry.types.structural {
            count(&mut structural, kind.clone(), right);
        }
        if let Some(kind) = &entry.types.semantic {
            count(&mut semantic, kind.clone(), right);
        }
        if let Some(n_steps) = entry.n_steps() {
            count(&mut steps, n_steps, right);
        }
        count(&mut words, entry.question.split_whitespace().count(), right);
        if let Some(group) = &entry.groups.global {
            let group = groups.entry(group).or_default();
            *group.wanted.entry(&entry.answer).or_default() += 1.0;
            *group.found.entry(gqa_prediction(answer)).or_default() += 1.0;
        }
    }
    let size = |group: &Group<'_>| group.wanted.values().sum::<f64>();
    let weighted: f64 = groups
        .values()
        .map(|group| group.chi_square() * size(group))
        .sum();
    Ok(GqaDetails {
        distribution: weighted / groups.values().map(size).sum::<f64>() / 100.0,
        structural: shares(structural),
        semantic: shares(semantic),
        steps: shares(steps),
        words: shares(words),
    })
}

/// The answers of one global group.
#[derive(Default)]
struct Group<'a> {
    wanted: BTreeMap<&'a str, f64>,
    found: BTreeMap<String, f64>,
}

impl Group<'_> {
    /// Over the true answers; others count nowhere.
    fn chi_square(&self) -> f64 {
        let of_answer = |(answer, wanted): (&&str, &f64)| {
            let found = self.found.get(*answer).copied().unwrap_or(0.0);
            (found - wanted).powi(2) / wanted
        };
        self.wanted.iter().map(of_answer).sum()
    }
}

impl Entry {
    /// Of the question's program, where there is one.
    fn n_steps(&self) -> Option<usize> {
        let is_step = |step: &&Step| {
            let text = format!("{}: {}", step.operation, step.argument);
            !NO_STEPS.iter().any(|part| text.contains(part))
        };
        let steps = self.semantic.as_ref()?;
        Some(steps.iter().filter(is_step).count())
    }
}

/// Right answers and questions of each class.
type Counts<K> = BTreeMap<K, (usize, usize)>;

fn count<K: Ord>(counts: &mut Counts<K>, class: K, right: bool) {
    let (n_right, n) = counts.entry(class).or_default();
    *n_right += usize::from(right);
    *n += 1;
}

fn shares<K: Ord>(counts: Counts<K>) -> BTreeMap<K, GqaShare> {
    let share = |(n_right, questions): (usize, usize)| GqaShare {
        percent: 100.0 * n_right as f64 / questions as f64,
        questions,
    };
    counts
        .into_iter()
        .map(|(class, counts)| (class, share(counts)))
        .collect()
}

fn entries(root: &Path) -> Result<(PathBuf, BTreeMap<String, Entry>), EvalError> {
    let path = gqa_annotations(root)?;
    let text = std::fs::read_to_string(&path).map_err(|source| EvalError::io(&path, "read", source))?;
    let text = text.trim_start_matches('\u{feff}');
    let entries = serde_json::from_str(text).map_err(|error| {
        let found = format!("no questions ({error})");
        EvalError::line(&path, error.line(), found, "the published fields")
    })?;
    Ok((path, entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_chi_square_over_groups_by_their_size() {
        let folder = tempfile::tempdir().unwrap();
        let questions = [
            ("1", "a", "red"),
            ("2", "a", "blue"),
            ("3", "b", "red"),
            ("4", "b", "red"),
            ("5", "b", "blue"),
        ];
        let entry = |(id, group, answer): (&str, &str, &str)| {
            let entry = serde_json::json!({"question": "what colour is it", "answer": answer,
                "groups": {"global": group}});
            (id.to_string(), entry)
        };
        let entries: serde_json::Map<_, _> = questions.into_iter().map(entry).collect();
        let file = folder.path().join("testdev_balanced_questions.json");
        std::fs::write(file, serde_json::to_string(&entries).unwrap()).unwrap();
        let answer = |(id, _, answer): (&str, &str, &str)| {
            let given = if id == "1" { "green" } else { answer };
            (id.to_string(), given.to_string())
        };
        let answers = questions.into_iter().map(answer).collect();
        let found = gqa_details(folder.path(), &answers).unwrap();
        // Group a has none of one red answer: (0 - 1)^2 / 1 over two questions; group b is as it should be.
        assert!((found.distribution - (1.0 * 2.0 + 0.0 * 3.0) / 5.0 / 100.0).abs() < 1e-12);
        assert_eq!(
            found.words[&4],
            GqaShare {
                percent: 80.0,
                questions: 5
            }
        );
    }
}
