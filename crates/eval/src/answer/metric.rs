//! From the scores of single questions to the number that tables print.

use std::collections::{BTreeMap, HashMap};
use std::ops::{AddAssign, Mul};

use serde::{Deserialize, Serialize};

use super::yes_no::Confusion;

/// What a [`Metric`] needs to know about a set of questions.
///
/// Every field is a sum over questions or groups, so tallies of disjoint sets add up, and the tally of resampled pictures
/// is the sum of the pictures' tallies: all questions of a group are about one picture. Seeds are averaged by scaling.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Questions.
    pub questions: f64,
    /// Sum of their scores.
    pub score: f64,
    /// Groups; a question without group is its own.
    pub groups: f64,
    /// Groups in which every question scores 1.
    pub groups_right: f64,
    /// Questions whose answer is yes.
    pub positive: f64,
    /// Answers that said yes.
    pub said_yes: f64,
    /// Answers that said yes and were right.
    pub true_positives: f64,
}

/// One answered question, as a [`Metric`] sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored<'a> {
    /// The benchmark's part.
    pub subset: &'a str,
    /// The questions that count together; `None` when the question counts alone.
    pub group: Option<&'a str>,
    /// 0 to 1.
    pub score: f64,
    /// The truth of a yes/no question whose wrong answers all say the opposite.
    pub label: Option<bool>,
}

/// How a benchmark's number follows from the tallies of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Mean score over all questions, percent.
    MeanScore,
    /// Mean over the parts of their F1, percent (POPE).
    MeanF1,
    /// Share of the groups that are right as a whole, percent (MMBench's circular accuracy).
    Groups,
    /// Sum over the parts of percent of questions right plus percent of groups right (MME's points).
    AccuracyPlus,
}

impl Tally {
    /// The tally of one group (or of one question that counts alone): its scores and labels.
    pub fn group(members: impl IntoIterator<Item = (f64, Option<bool>)>) -> Self {
        let mut tally = Self {
            groups: 1.0,
            groups_right: 1.0,
            ..Self::default()
        };
        for (score, label) in members {
            tally.questions += 1.0;
            tally.score += score;
            if score < 1.0 {
                tally.groups_right = 0.0;
            }
            if let Some(label) = label {
                let right = score > 0.5;
                tally.positive += f64::from(label);
                tally.said_yes += f64::from(right == label);
                tally.true_positives += f64::from(right && label);
            }
        }
        tally
    }

    /// Yes/no counts.
    pub fn confusion(&self) -> Confusion {
        Confusion {
            true_positives: self.true_positives,
            false_positives: self.said_yes - self.true_positives,
            true_negatives: self.questions - self.positive - self.said_yes + self.true_positives,
            false_negatives: self.positive - self.true_positives,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.questions += other.questions;
        self.score += other.score;
        self.groups += other.groups;
        self.groups_right += other.groups_right;
        self.positive += other.positive;
        self.said_yes += other.said_yes;
        self.true_positives += other.true_positives;
    }
}

impl Mul<f64> for Tally {
    type Output = Self;

    fn mul(self, weight: f64) -> Self {
        Self {
            questions: weight * self.questions,
            score: weight * self.score,
            groups: weight * self.groups,
            groups_right: weight * self.groups_right,
            positive: weight * self.positive,
            said_yes: weight * self.said_yes,
            true_positives: weight * self.true_positives,
        }
    }
}

impl Metric {
    /// The number of these parts, one tally each; parts without questions do not count. NaN when no question is left.
    pub fn value(self, parts: &[Tally]) -> f64 {
        let parts: Vec<&Tally> = parts.iter().filter(|part| part.questions > 0.0).collect();
        let sum = |of: fn(&Tally) -> f64| parts.iter().map(|part| of(part)).sum::<f64>();
        match self {
            Self::MeanScore => 100.0 * sum(|part| part.score) / sum(|part| part.questions),
            Self::Groups => 100.0 * sum(|part| part.groups_right) / sum(|part| part.groups),
            Self::MeanF1 => sum(|part| 100.0 * part.confusion().f1()) / sum(|_| 1.0),
            Self::AccuracyPlus => {
                sum(|part| 100.0 * part.score / part.questions + 100.0 * part.groups_right / part.groups)
            }
        }
    }

    /// The number of all these answers.
    pub fn of<'a>(self, answers: impl IntoIterator<Item = Scored<'a>>) -> f64 {
        let parts: Vec<Tally> = tallies(answers).into_values().collect();
        self.value(&parts)
    }
}

/// The tally of each part, by its name.
pub fn tallies<'a>(answers: impl IntoIterator<Item = Scored<'a>>) -> BTreeMap<&'a str, Tally> {
    /// Scores and labels of a group.
    type Members = Vec<(f64, Option<bool>)>;
    let mut groups: HashMap<(&str, &str), Members> = HashMap::new();
    let mut parts: BTreeMap<&str, Tally> = BTreeMap::new();
    for answer in answers {
        let member = (answer.score, answer.label);
        match answer.group {
            Some(group) => groups.entry((answer.subset, group)).or_default().push(member),
            None => *parts.entry(answer.subset).or_default() += Tally::group([member]),
        }
    }
    for ((subset, _), members) in groups {
        *parts.entry(subset).or_default() += Tally::group(members);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored<'a>(subset: &'a str, group: Option<&'a str>, score: f64) -> Scored<'a> {
        Scored {
            subset,
            group,
            score,
            label: None,
        }
    }

    #[test]
    fn groups_count_as_a_whole() {
        let answers = [
            scored("a", Some("1"), 1.0),
            scored("a", Some("1"), 1.0),
            scored("a", Some("2"), 1.0),
            scored("a", Some("2"), 0.0),
            scored("b", None, 0.0),
        ];
        assert_eq!(Metric::MeanScore.of(answers), 60.0);
        assert_eq!(Metric::Groups.of(answers), 100.0 / 3.0);
        assert_eq!(Metric::AccuracyPlus.of(answers), 75.0 + 50.0);
        assert!(Metric::Groups.of([]).is_nan());
    }

    #[test]
    fn tallies_add_up() {
        let labelled = |score, label| Scored {
            label: Some(label),
            ..scored("a", None, score)
        };
        let answers = [
            labelled(1.0, true),
            labelled(0.0, false),
            labelled(1.0, false),
            labelled(0.0, true),
        ];
        let (first, second) = answers.split_at(1);
        let mut sum = tallies(first.iter().copied())["a"];
        sum += tallies(second.iter().copied())["a"];
        assert_eq!(sum, tallies(answers)["a"]);
        let mut halves = sum * 0.5;
        halves += sum * 0.5;
        assert_eq!(halves, sum);
        let counts = sum.confusion();
        assert_eq!((counts.true_positives, counts.false_positives), (1.0, 1.0));
        assert_eq!((counts.true_negatives, counts.false_negatives), (1.0, 1.0));
        assert_eq!(Metric::MeanF1.value(&[sum, Tally::default()]), 50.0);
    }
}
