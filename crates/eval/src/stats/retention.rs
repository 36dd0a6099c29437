//! How much of a model's scores is left.

/// Eq. (18) of `docs/method.md`: the mean over benchmarks of pruned / unpruned score, in percent.
///
/// Pairs are (pruned, unpruned); pairs whose quotient is not finite (a missing entry given as NaN, an unpruned score
/// of 0) are left out. NaN when no pair is left.
pub fn retention(pairs: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let quotients = pairs
        .into_iter()
        .map(|(pruned, unpruned)| pruned / unpruned)
        .filter(|quotient| quotient.is_finite());
    let (count, sum) = quotients.fold((0usize, 0.0), |(count, sum), quotient| {
        (count + 1, sum + quotient)
    });
    if count == 0 {
        f64::NAN
    } else {
        100.0 * sum / count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_entries_are_left_out() {
        assert_eq!(
            retention([(50.0, 100.0), (f64::NAN, 80.0), (90.0, 90.0), (3.0, 0.0)]),
            75.0
        );
        assert!(retention([]).is_nan());
    }
}
