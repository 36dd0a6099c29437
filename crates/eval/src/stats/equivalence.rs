//! Tests of equivalence: two one-sided tests against a bound that was fixed beforehand.

use serde::{Deserialize, Serialize};

use super::Verdict;
use super::simultaneous::{Family, at_least, critical, share};

/// The test that a value lies between `-bound` and `bound`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Equivalence {
    /// The value.
    pub value: f64,
    /// Lower end of the interval of coverage `1 - 2 alpha`.
    pub lo: f64,
    /// Upper end of it.
    pub hi: f64,
    /// The larger p value of the two one-sided tests.
    pub p: f64,
    /// The bound.
    pub bound: f64,
}

impl Equivalence {
    /// `equivalent` where the interval lies within the bound, which is where `p <= alpha`; `fails` where it lies beyond;
    /// `tie` where it crosses an end of it.
    pub fn verdict(&self) -> Verdict {
        if -self.bound < self.lo && self.hi < self.bound {
            Verdict::Equivalent
        } else if self.lo >= self.bound || self.hi <= -self.bound {
            Verdict::Fails
        } else {
            Verdict::Tie
        }
    }
}

/// Two one-sided tests (Schuirmann 1987) of each comparison at `alpha`, not adjusted: a sentence that says of all of them
/// that they are equivalent is shown when each is.
///
/// With `t` the distance from the value to an end of the bound in standard errors, positive inside, the p of one side is half
/// the share of draws whose `|deviation / error|` reaches `t`, so that both are at most `alpha` exactly where the interval of
/// coverage `1 - 2 alpha` lies within the bound. Draws with an undefined deviation are left out.
pub fn equivalence(family: &Family, bound: f64, alpha: f64) -> Vec<Equivalence> {
    let test = |(place, (&value, &error)): (usize, (&f64, &f64))| {
        let mut sizes: Vec<f64> = family
            .deviations
            .iter()
            .map(|row| {
                if error > 0.0 {
                    (row[place] / error).abs()
                } else {
                    0.0
                }
            })
            .filter(|size| size.is_finite())
            .collect();
        sizes.sort_unstable_by(|a, b| b.total_cmp(a));
        let one_sided = |distance: f64| {
            let exceeding = match (distance == 0.0, error > 0.0) {
                (true, _) => sizes.len(),
                (false, false) => 0,
                (false, true) => at_least(&sizes, distance.abs() / error),
            };
            let half = share(exceeding, sizes.len()) / 2.0;
            if distance > 0.0 { half } else { 1.0 - half }
        };
        let reach = if error > 0.0 {
            critical(&sizes, 2.0 * alpha) * error
        } else {
            0.0
        };
        Equivalence {
            value,
            lo: value - reach,
            hi: value + reach,
            p: one_sided(bound - value).max(one_sided(value + bound)),
            bound,
        }
    };
    family
        .values
        .iter()
        .zip(&family.errors)
        .enumerate()
        .map(test)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f64, spread: f64, bound: f64) -> Equivalence {
        let deviations = (-50..=50).map(|i| vec![spread * f64::from(i) / 25.0]).collect();
        let family = Family {
            values: vec![value],
            errors: vec![spread],
            deviations,
        };
        equivalence(&family, bound, 0.05)[0]
    }

    #[test]
    fn a_bound_decides() {
        assert_eq!(one(0.0, 0.1, 1.0).verdict(), Verdict::Equivalent);
        assert_eq!(one(0.0, 2.0, 1.0).verdict(), Verdict::Tie);
        assert_eq!(one(5.0, 0.1, 1.0).verdict(), Verdict::Fails);
        assert_eq!(one(1.0, 0.1, 1.0).verdict(), Verdict::Tie);
        assert!(one(5.0, 0.1, 1.0).p > 0.9);
    }

    #[test]
    fn not_told_apart_is_not_equivalent() {
        // The same wide interval around zero: a tie against zero, and no equivalence within one.
        let wide = one(0.2, 1.0, 1.0);
        assert!(wide.lo < 0.0 && wide.hi > 0.0);
        assert_ne!(wide.verdict(), Verdict::Equivalent);
        assert_eq!(one(0.2, 0.0, 1.0).verdict(), Verdict::Equivalent);
    }
}
