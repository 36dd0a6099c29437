//! From the scores of single questions to the number that tables print.

use std::collections::{BTreeMap, HashMap};
use std::ops::{AddAssign, Mul};

use serde::{Deserialize, Serialize};

use super::confusion::Confusion;

/// The sums over a set of questions from which an [`Aggregate`] is computed.
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
    /// Answers that said no. Those that said neither are wrong and in neither count.
    pub said_no: f64,
    /// Answers that said no and were wrong.
    pub false_negatives: f64,
}

/// An answer to a yes/no question, as the rule that scores it reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum YesNoAnswer {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Neither.
    Other,
}

impl From<Option<bool>> for YesNoAnswer {
    /// A label as the scorers give it, `None` for neither.
    fn from(label: Option<bool>) -> Self {
        match label {
            Some(true) => Self::Yes,
            Some(false) => Self::No,
            None => Self::Other,
        }
    }
}

/// One answered question, as an [`Aggregate`] sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored<'a> {
    /// The benchmark's part.
    pub subset: &'a str,
    /// The questions that count together; `None` when the question counts alone.
    pub group: Option<&'a str>,
    /// 0 to 1.
    pub score: f64,
    /// The truth of a yes/no question whose answers are counted as such (POPE).
    pub label: Option<bool>,
    /// The answer to such a question; where it is not known, a wrong answer is taken for the opposite.
    pub said: Option<YesNoAnswer>,
}

impl Scored<'_> {
    /// Label and answer, for a question with a label.
    fn counted(&self) -> Option<(bool, YesNoAnswer)> {
        let label = self.label?;
        let right = self.score > 0.5;
        Some((label, self.said.unwrap_or_else(|| Some(right == label).into())))
    }
}

/// The way from the tallies of a benchmark's parts to its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
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
    /// The tally of one group (or of one question that counts alone).
    pub fn group<'a>(members: impl IntoIterator<Item = Scored<'a>>) -> Self {
        let mut tally = Self {
            groups: 1.0,
            groups_right: 1.0,
            ..Self::default()
        };
        for member in members {
            tally.questions += 1.0;
            tally.score += member.score;
            if member.score < 1.0 {
                tally.groups_right = 0.0;
            }
            if let Some((label, said)) = member.counted() {
                tally.positive += f64::from(label);
                tally.said_yes += f64::from(said == YesNoAnswer::Yes);
                tally.true_positives += f64::from(said == YesNoAnswer::Yes && label);
                tally.said_no += f64::from(said == YesNoAnswer::No);
                tally.false_negatives += f64::from(said == YesNoAnswer::No && label);
            }
        }
        tally
    }

    /// Yes/no counts, over the answers that said one of both: under lmms-eval an answer that is neither counts in
    /// [`Self::accuracy`] and nowhere else.
    pub fn confusion(&self) -> Confusion {
        Confusion {
            true_positives: self.true_positives,
            false_positives: self.said_yes - self.true_positives,
            true_negatives: self.said_no - self.false_negatives,
            false_negatives: self.false_negatives,
        }
    }

    /// Mean score over all questions; NaN without any.
    pub fn accuracy(&self) -> f64 {
        self.score / self.questions
    }

    /// Share of the questions whose answer is yes: what lmms-eval calls POPE's yes ratio. NaN without questions.
    pub fn label_ratio(&self) -> f64 {
        self.positive / self.questions
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
        self.said_no += other.said_no;
        self.false_negatives += other.false_negatives;
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
            said_no: weight * self.said_no,
            false_negatives: weight * self.false_negatives,
        }
    }
}

impl Aggregate {
    /// True when the number is a sum or mean over parts, to which a part adds the same whatever its size.
    pub(crate) fn is_over_parts(self) -> bool {
        matches!(self, Self::MeanF1 | Self::AccuracyPlus)
    }

    /// The number of these parts, one tally each; parts without questions do not count. NaN when no question is left.
    pub fn value(self, parts: &[Tally]) -> f64 {
        let parts: Vec<&Tally> = parts.iter().filter(|part| part.questions > 0.0).collect();
        if parts.is_empty() {
            return f64::NAN;
        }
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
    let mut groups: HashMap<(&str, &str), Vec<Scored<'a>>> = HashMap::new();
    let mut parts: BTreeMap<&str, Tally> = BTreeMap::new();
    for answer in answers {
        match answer.group {
            Some(group) => groups.entry((answer.subset, group)).or_default().push(answer),
            None => *parts.entry(answer.subset).or_default() += Tally::group([answer]),
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
            said: None,
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
        assert_eq!(Aggregate::MeanScore.of(answers), 60.0);
        assert_eq!(Aggregate::Groups.of(answers), 100.0 / 3.0);
        assert_eq!(Aggregate::AccuracyPlus.of(answers), 75.0 + 50.0);
        assert!(Aggregate::Groups.of([]).is_nan() && Aggregate::AccuracyPlus.of([]).is_nan());
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
        assert_eq!(Aggregate::MeanF1.value(&[sum, Tally::default()]), 50.0);
    }

    #[test]
    fn an_answer_that_says_neither_is_wrong_and_not_counted() {
        let said = |label: bool, said: YesNoAnswer| Scored {
            label: Some(label),
            said: Some(said),
            ..scored("a", None, f64::from(said == Some(label).into()))
        };
        let answers = [
            said(true, YesNoAnswer::Yes),
            said(true, YesNoAnswer::Other),
            said(true, YesNoAnswer::No),
            said(false, YesNoAnswer::Yes),
            said(false, YesNoAnswer::Other),
            said(false, YesNoAnswer::No),
            said(false, YesNoAnswer::No),
            said(true, YesNoAnswer::Yes),
        ];
        let tally = tallies(answers)["a"];
        let counts = tally.confusion();
        assert_eq!((counts.true_positives, counts.false_positives), (2.0, 1.0));
        assert_eq!((counts.true_negatives, counts.false_negatives), (2.0, 1.0));
        assert_eq!((counts.precision(), counts.recall()), (2.0 / 3.0, 2.0 / 3.0));
        assert_eq!((tally.accuracy(), tally.label_ratio()), (0.5, 0.5));
        // Taken for the opposite, both would be counted.
        let guessed = tallies(answers.map(|answer| Scored { said: None, ..answer }))["a"];
        assert_eq!(guessed.confusion().false_negatives, 2.0);
        assert_eq!(guessed.confusion().total(), 8.0);
    }
}
