//! Counts of yes and no.

use serde::{Deserialize, Serialize};

/// Counts of a yes/no set; yes is positive. Fractions occur when several seeds are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Confusion {
    /// Said yes, is yes.
    pub true_positives: f64,
    /// Said yes, is no.
    pub false_positives: f64,
    /// Said no, is no.
    pub true_negatives: f64,
    /// Said no, is yes.
    pub false_negatives: f64,
}

impl Confusion {
    /// Counts predictions against labels.
    pub fn count(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut counts = Self::default();
        for (predicted, label) in pairs {
            *match (predicted, label) {
                (true, true) => &mut counts.true_positives,
                (true, false) => &mut counts.false_positives,
                (false, false) => &mut counts.true_negatives,
                (false, true) => &mut counts.false_negatives,
            } += 1.0;
        }
        counts
    }

    /// All answers.
    pub fn total(&self) -> f64 {
        self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
    }

    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        share(self.true_positives + self.true_negatives, self.total())
    }

    /// Share of "yes" that is right; 0 when nothing was called yes.
    pub fn precision(&self) -> f64 {
        share(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Share of yes questions that were called yes; 0 when there are none.
    pub fn recall(&self) -> f64 {
        share(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Harmonic mean of precision and recall; 0 where it is undefined.
    pub fn f1(&self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        share(2.0 * precision * recall, precision + recall)
    }

    /// Share of answers that are yes.
    pub fn yes_ratio(&self) -> f64 {
        share(self.true_positives + self.false_positives, self.total())
    }
}

/// A quotient, 0 when the divisor is 0.
fn share(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}
