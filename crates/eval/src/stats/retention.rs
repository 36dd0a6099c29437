//! The share of a model's scores that is left.

use super::means::mean;

/// Eq. (18) of `docs/method.md`: the mean over benchmarks of pruned / unpruned score, in percent.
///
/// Pairs are (pruned, unpruned); pairs whose quotient is not finite (a missing entry given as NaN, an unpruned score
/// of 0) are left out. NaN when no pair is left.
pub fn retention(pairs: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    chance_corrected_retention(
        pairs
            .into_iter()
            .map(|(pruned, unpruned)| (pruned, unpruned, 0.0)),
    )
}

/// Retention above chance: the mean over benchmarks of (pruned - chance) / (unpruned - chance), in percent.
///
/// Triples are (pruned, unpruned, chance). A model that only guesses has 0 and not the share that guessing earns; worse
/// than guessing is negative. Quotients that are not finite are left out. NaN when none is left.
pub fn chance_corrected_retention(triples: impl IntoIterator<Item = (f64, f64, f64)>) -> f64 {
    let quotients = triples
        .into_iter()
        .map(|(pruned, unpruned, chance)| (pruned - chance) / (unpruned - chance))
        .filter(|quotient| quotient.is_finite());
    100.0 * mean(quotients)
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

    #[test]
    fn guessing_retains_nothing() {
        assert_eq!(chance_corrected_retention([(50.0, 90.0, 50.0)]), 0.0);
        assert_eq!(chance_corrected_retention([(90.0, 90.0, 50.0)]), 100.0);
        assert_eq!(
            chance_corrected_retention([(40.0, 90.0, 50.0), (60.0, 60.0, 0.0)]),
            37.5
        );
        // A benchmark that the model itself only guesses says nothing.
        assert_eq!(
            chance_corrected_retention([(45.0, 50.0, 50.0), (30.0, 60.0, 0.0)]),
            50.0
        );
    }
}
