//! The Laplace threshold of one row, in closed form.

use crate::host::{Real, Threshold};

/// The Laplace threshold of a row sorted in descending order, in closed form: Eq. (3) of docs/method.md.
///
/// With `x = s / tau`, `m` scores above the threshold, `a = logsumexp(-x_1 .. -x_m)` and
/// `b = logsumexp(x_{m+1} .. x_n)`: `lambda / tau = (b - a) / 2 - asinh((k - m) exp(-(a + b) / 2))`, and
/// `b - log(2 k)` or `-a + log(2 (n - k))` where one side is empty. `m` is the number of scores at which
/// the weights taken with that score as threshold sum to at most `k`. Sums are kept relative to their
/// largest term, and an argument of asinh above `exp(20)` is replaced by its logarithm before the gap
/// inside it can cancel, so gaps of any size are safe. Requires `0 < k < n`.
pub(crate) fn laplace_threshold<T: Real>(sorted: &[T], k: f64, tau: f64) -> Threshold {
    let n = sorted.len();
    let score = |i: usize| sorted[i].wide();
    let gap = |i: usize| (score(i) - score(i + 1)) / tau;
    // decay[i] = exp(x_{i+1} - x_i); below[i] = sum over j >= i of exp(x_j - x_i).
    let decay: Vec<f64> = (0..n - 1).map(|i| (-gap(i)).exp()).collect();
    let mut below = vec![1.0; n];
    for i in (0..n - 1).rev() {
        below[i] = 1.0 + decay[i] * below[i + 1];
    }
    // above = sum over j <= i of exp(x_i - x_j), for the last score that passes.
    let (mut m, mut above, mut last_above) = (0, 0.0, 1.0);
    while m < n {
        above = if m == 0 { 1.0 } else { 1.0 + decay[m - 1] * above };
        let mass = (m + 1) as f64 - 0.5 * above + 0.5 * (below[m] - 1.0);
        if mass > k {
            break;
        }
        last_above = above;
        m += 1;
    }
    // Where all of one side is far away, only the other side shares the fraction that is left.
    let under = |m: usize, excess: f64| Threshold {
        anchor: score(m),
        offset: below[m].ln() - (2.0 * excess).ln(),
    };
    let over = |m: usize, lack: f64| Threshold {
        anchor: score(m - 1),
        offset: (2.0 * lack).ln() - last_above.ln(),
    };
    if m == 0 {
        return under(0, k);
    }
    if m == n {
        return over(n, n as f64 - k);
    }
    let (log_above, log_below, gap, excess) = (last_above.ln(), below[m].ln(), gap(m - 1), k - m as f64);
    // (a + b) / 2 relative to the anchor is (log_above + log_below - gap) / 2.
    let log_size = excess.abs().ln() + 0.5 * (gap - log_above - log_below);
    match log_size > 20.0 {
        true if excess > 0.0 => under(m, excess),
        true => over(m, -excess),
        false => Threshold {
            anchor: score(m - 1),
            offset: 0.5 * (log_below - log_above - gap) - log_size.exp().asinh().copysign(excess),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ThresholdKind;
    use crate::host::tests::check_budget_over_wide_gaps;

    #[test]
    fn closed_form_meets_the_budget_over_wide_gaps() {
        check_budget_over_wide_gaps(ThresholdKind::Laplace, laplace_threshold);
    }
}
