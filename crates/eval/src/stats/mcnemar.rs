//! Paired tests of right and wrong answers, and the correction for many of them.

use serde::{Deserialize, Serialize};

/// Below this number of questions that two arms decide differently, the test counts every outcome.
const FEW: u64 = 25;

/// The way in which a p value was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum McNemarMethod {
    /// Two-sided binomial test with chance 1/2.
    Exact,
    /// Chi-square with one degree of freedom and continuity correction.
    ChiSquare,
}

/// McNemar's test of two arms that answered the same questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Questions that the first arm alone has right.
    pub wins: u64,
    /// Questions that the second arm alone has right.
    pub losses: u64,
    /// Two-sided p value of "both are right equally often".
    pub p: f64,
    /// The way in which it was computed.
    pub method: McNemarMethod,
}

/// McNemar's test from the numbers of questions that exactly one of two arms has right.
///
/// With fewer than 25 of them the p value is exact: `min(1, 2 P(X <= min(wins, losses)))` for `X` binomial with chance
/// 1/2. Otherwise `chi2 = max(|wins - losses| - 1, 0)^2 / (wins + losses)` with one degree of freedom. Questions are
/// taken as independent: clusters are the bootstrap's business.
pub fn mcnemar(wins: u64, losses: u64) -> McNemar {
    let n = wins + losses;
    let (p, method) = if n < FEW {
        (exact(n, wins.min(losses)), McNemarMethod::Exact)
    } else {
        let distance = (wins.abs_diff(losses) as f64 - 1.0).max(0.0);
        (
            chi_square_tail(distance * distance / n as f64),
            McNemarMethod::ChiSquare,
        )
    };
    McNemar {
        wins,
        losses,
        p,
        method,
    }
}

/// Twice the lower tail of the binomial law with chance 1/2, at most 1.
fn exact(n: u64, most: u64) -> f64 {
    let (mut coefficient, mut tail) = (1.0, 0.0);
    for k in 0..=most {
        tail += coefficient;
        coefficient = coefficient * (n - k) as f64 / (k + 1) as f64;
    }
    (2.0 * tail / 2f64.powi(n as i32)).min(1.0)
}

/// Chance that a chi-square variable with one degree of freedom exceeds `x`.
fn chi_square_tail(x: f64) -> f64 {
    libm::erfc((x / 2.0).sqrt())
}

/// Holm's step-down correction: adjusted p values in the order given.
///
/// With `m` values in ascending order, the `i`-th (from 0) becomes `max over j <= i of min(1, (m - j) p_j)`. Missing
/// values (NaN) stay missing and do not count.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|&i| !p[i].is_nan()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![f64::NAN; p.len()];
    let mut least = 0f64;
    for (place, &i) in order.iter().enumerate() {
        least = least.max(((order.len() - place) as f64 * p[i]).min(1.0));
        adjusted[i] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_values_are_those_of_the_binomial_law() {
        // 2 (1 + 10 + 45) / 1024.
        assert_eq!(mcnemar(2, 8).p, 112.0 / 1024.0);
        assert_eq!(mcnemar(8, 2).p, 112.0 / 1024.0);
        assert_eq!(mcnemar(0, 5).p, 2.0 / 32.0);
        for even in [(0, 0), (1, 1), (6, 6)] {
            assert_eq!(mcnemar(even.0, even.1).p, 1.0);
        }
        assert_eq!(mcnemar(12, 12).method, McNemarMethod::Exact);
        assert_eq!(mcnemar(12, 13).method, McNemarMethod::ChiSquare);
    }

    #[test]
    fn the_approximation_is_the_normal_tail() {
        // (|59 - 41| - 1)^2 / 100 = 2.89: 1.7 standard deviations.
        assert!((mcnemar(59, 41).p - 0.089_130_925).abs() < 1e-8);
        assert_eq!(mcnemar(50, 50).p, 1.0);
        assert!((chi_square_tail(3.841_458_820_694_124) - 0.05).abs() < 1e-12);
        // Where both are allowed, they are close.
        for wins in 0..=24 {
            let close = chi_square_tail((f64::from(24 - 2 * wins).abs() - 1.0).max(0.0).powi(2) / 24.0);
            assert!(
                (exact(24, wins.min(24 - wins) as u64) - close).abs() < 0.02,
                "{wins}"
            );
        }
    }

    #[test]
    fn holm_steps_down() {
        let adjusted = holm(&[0.01, 0.04, 0.03, f64::NAN, 0.005]);
        let wanted = [0.03, 0.06, 0.06, f64::NAN, 0.02];
        for (found, wanted) in adjusted.iter().zip(wanted) {
            assert!(
                (found - wanted).abs() < 1e-12 || found.is_nan() && wanted.is_nan(),
                "{adjusted:?}"
            );
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
