//! The min-exp threshold of one row, in closed form.

use crate::host::{Real, Threshold};

/// The threshold of `f(u) = min(1, exp(u))` for a row sorted in descending order.
///
/// With `x = s / tau` and `m` capped scores, `lambda / tau = logsumexp(x_{m+1} .. x_n) - log(k - m)`, for the
/// first `m` at which the scores below, relative to the largest of them, sum to at least `k - m`. Only sums of
/// positive terms occur, so gaps of any size are safe. Requires `0 < k < n`.
pub(crate) fn minexp_threshold<T: Real>(sorted: &[T], k: f64, tau: f64) -> Threshold {
    let n = sorted.len();
    let score = |i: usize| sorted[i].wide();
    // below[i] = sum over j >= i of exp(x_j - x_i).
    let mut below = vec![1.0; n];
    for i in (0..n - 1).rev() {
        below[i] = 1.0 + ((score(i + 1) - score(i)) / tau).exp() * below[i + 1];
    }
    // `below` is at least 1, so the search ends before `m` reaches `k`; a NaN makes the threshold NaN.
    let last = |m: &usize| below[*m].is_nan() || below[*m] >= k - *m as f64;
    let capped = (0..n).find(last).unwrap_or(n - 1);
    Threshold {
        anchor: score(capped),
        offset: below[capped].ln() - (k - capped as f64).ln(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ThresholdKind;
    use crate::host::tests::check_budget_over_wide_gaps;

    #[test]
    fn closed_form_meets_the_budget_over_wide_gaps() {
        check_budget_over_wide_gaps(ThresholdKind::MinExp, minexp_threshold);
    }

    #[test]
    fn a_budget_of_one_is_softmax() {
        let scores = [3.0_f64, 0.5, 0.0, -1.0];
        let threshold = minexp_threshold(&scores, 1.0, 0.7);
        let total: f64 = scores.iter().map(|s| (s / 0.7).exp()).sum();
        for s in scores {
            let (weight, _) =
                ThresholdKind::MinExp.weights_at((s - threshold.anchor) / 0.7 - threshold.offset);
            assert!((weight - (s / 0.7).exp() / total).abs() < 1e-15);
        }
    }
}
