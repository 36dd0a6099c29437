//! Several comparisons judged together: one estimand, one interval, one p, which agree by construction.

use serde::{Deserialize, Serialize};

use super::Verdict;

/// Comparisons that one sentence is about, with draws of their errors.
///
/// Draws are joint: a row holds the deviations of every comparison in one draw, so that what the comparisons share (the
/// method's own pictures and trainings) is shared in each of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family {
    /// Each comparison's value.
    pub values: Vec<f64>,
    /// Each comparison's standard error.
    pub errors: Vec<f64>,
    /// Deviations from the values, one row for each draw and one number for each comparison.
    pub deviations: Vec<Vec<f64>>,
}

/// A comparison with an interval that covers together with those of its family, and the p value that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The value.
    pub value: f64,
    /// Lower end of the simultaneous interval.
    pub lo: f64,
    /// Upper end of the simultaneous interval.
    pub hi: f64,
    /// p value against zero, adjusted for the family.
    pub p: f64,
}

impl Compared {
    /// The verdict of interval and p: `holds` or `fails` where zero lies outside the interval, which is where
    /// `p <= 1 - level`; `tie` elsewhere.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.lo, self.hi)
    }
}

impl Family {
    /// The comparisons with intervals of this joint coverage.
    ///
    /// With `t = value / error` and `m` the largest `|deviation / error|` over the family in one draw, of `B` draws:
    ///
    /// ```text
    /// p        = (1 + number of draws with m >= |t|) / (B + 1)
    /// interval = value -+ c error,   c the floor((1 - level) (B + 1))-th largest m
    /// ```
    ///
    /// so that `p <= 1 - level` exactly where the interval excludes zero (single-step max-t; Westfall and Young 1993). A
    /// family of one has a plain interval. Draws with an undefined deviation are left out. A comparison without error (two
    /// arms that answer alike) has an interval of no width. With fewer than `1 / (1 - level) - 1` draws intervals have no
    /// ends.
    pub fn compared(&self, level: f64) -> Vec<Compared> {
        let largest = self.largest();
        let n_draws = largest.len();
        let critical = critical(&largest, 1.0 - level);
        let compare = |(&value, &error): (&f64, &f64)| {
            let exceeding = match (value == 0.0, error > 0.0) {
                (true, false) => n_draws,
                (false, false) => 0,
                (_, true) => at_least(&largest, value.abs() / error),
            };
            let reach = if error > 0.0 { critical * error } else { 0.0 };
            Compared {
                value,
                lo: value - reach,
                hi: value + reach,
                p: share(exceeding, n_draws),
            }
        };
        self.values.iter().zip(&self.errors).map(compare).collect()
    }

    /// The smallest of the values, for sentences about all of them ("above every other row"); `None` for an empty family.
    ///
    /// Its interval reaches from the smallest lower end to the smallest upper end of the simultaneous ones: it lies above
    /// zero where every comparison does, and below where at least one does. Its p is the largest one where the value is above
    /// zero (all must be shown), else the smallest of those below (one is enough), and is at most `1 - level` exactly where
    /// the interval excludes zero.
    pub fn smallest(&self, level: f64) -> Option<Compared> {
        let members = self.compared(level);
        let least = |of: fn(&Compared) -> f64| members.iter().map(of).fold(f64::INFINITY, f64::min);
        let value = least(|member| member.value);
        let p = if value > 0.0 {
            members.iter().map(|member| member.p).fold(0.0, f64::max)
        } else {
            let below = members.iter().filter(|member| member.value <= 0.0);
            below.map(|member| member.p).fold(1.0, f64::min)
        };
        (!members.is_empty()).then(|| Compared {
            value,
            lo: least(|member| member.lo),
            hi: least(|member| member.hi),
            p,
        })
    }

    /// Largest `|deviation / error|` of each draw, from the largest to the smallest.
    fn largest(&self) -> Vec<f64> {
        let of_draw = |row: &Vec<f64>| {
            let studentised = row.iter().zip(&self.errors).filter(|(_, error)| **error > 0.0);
            studentised
                .map(|(deviation, error)| (deviation / error).abs())
                .fold(0.0, nan_max)
        };
        let mut largest: Vec<f64> = self
            .deviations
            .iter()
            .map(of_draw)
            .filter(|m| m.is_finite())
            .collect();
        largest.sort_unstable_by(|a, b| b.total_cmp(a));
        largest
    }
}

/// The larger of two numbers; NaN where one is.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The number of the descending numbers that are at least so large.
pub(super) fn at_least(descending: &[f64], least: f64) -> usize {
    descending.partition_point(|&m| m >= least)
}

/// The share of draws that are as extreme, the data counted as one of them.
pub(super) fn share(exceeding: usize, n_draws: usize) -> f64 {
    (exceeding + 1) as f64 / (n_draws + 1) as f64
}

/// The number that a value must exceed to have `p <= alpha`; infinite with too few draws.
pub(super) fn critical(descending: &[f64], alpha: f64) -> f64 {
    // alpha (B + 1) is often a whole number that binary fractions miss.
    let rank = (alpha * (descending.len() + 1) as f64 + 1e-9).floor() as usize;
    match rank.checked_sub(1) {
        Some(place) => descending.get(place).copied().unwrap_or(0.0),
        None => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(values: &[f64], deviations: Vec<Vec<f64>>) -> Family {
        Family {
            errors: vec![1.0; values.len()],
            values: values.to_vec(),
            deviations,
        }
    }

    #[test]
    fn p_counts_the_draws_that_are_as_extreme() {
        // Nineteen draws: at 95 % the largest decides.
        let draws = (1..=19).map(|i| vec![f64::from(i) / 10.0]).collect();
        let [one] = family(&[1.9], draws).compared(0.95)[..] else {
            panic!("one comparison")
        };
        assert_eq!((one.p, one.lo, one.hi), (2.0 / 20.0, 0.0, 3.8));
        assert_eq!(one.verdict(), Verdict::Tie);
        let draws = (1..=19).map(|i| vec![f64::from(i) / 10.0]).collect();
        let one = family(&[2.0], draws).compared(0.95)[0];
        assert_eq!((one.p, one.verdict()), (1.0 / 20.0, Verdict::Holds));
    }

    #[test]
    fn more_comparisons_need_more() {
        let draws: Vec<Vec<f64>> = (0..99)
            .map(|i| {
                (0..5)
                    .map(|j| f64::from((i * 7 + j * 31) % 99) / 50.0 - 1.0)
                    .collect()
            })
            .collect();
        let alone = family(&[0.99], draws.iter().map(|row| vec![row[0]]).collect()).compared(0.95)[0];
        let among = family(&[0.99; 5], draws).compared(0.95)[0];
        assert!(among.p > alone.p && among.lo < alone.lo, "{among:?} {alone:?}");
    }

    #[test]
    fn equal_arms_tie_and_certain_ones_do_not() {
        let draws = vec![vec![0.0, 0.0]; 99];
        let both = Family {
            values: vec![0.0, -3.0],
            errors: vec![0.0, 0.0],
            deviations: draws,
        };
        let found = both.compared(0.95);
        assert_eq!((found[0].p, found[0].verdict()), (1.0, Verdict::Tie));
        assert_eq!((found[1].p, found[1].verdict()), (0.01, Verdict::Fails));
        assert_eq!(
            both.smallest(0.95).map(|least| least.verdict()),
            Some(Verdict::Fails)
        );
        assert_eq!(Family::default().smallest(0.95), None);
    }

    #[test]
    fn too_few_draws_show_nothing() {
        let found = family(&[9.0], vec![vec![0.1]; 5]).compared(0.95)[0];
        assert_eq!(found.verdict(), Verdict::Tie);
        assert!(found.p > 0.05);
    }
}
