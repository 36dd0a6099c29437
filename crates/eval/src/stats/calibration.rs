//! Calibration: the agreement of confidence with accuracy.

/// Bins of [`ece`] in tables.
pub const ECE_BINS: usize = 15;

/// The expected calibration error of answers: pairs are (confidence, right), confidence from 0 to 1.
///
/// Confidences fall into bins of equal width, upper ends included; the error is the mean over answers of
/// |share of right answers - mean confidence| of their bin (Guo et al. 2017), from 0 to 1. NaN without answers.
pub fn ece(pairs: impl IntoIterator<Item = (f64, bool)>, n_bins: usize) -> f64 {
    let mut sums = vec![0.0; 3 * n_bins];
    for (confidence, right) in pairs {
        let bin = 3 * ece_bin(confidence, n_bins);
        sums[bin] += 1.0;
        sums[bin + 1] += confidence;
        sums[bin + 2] += f64::from(right);
    }
    ece_of_sums(&sums)
}

/// The bin of a confidence.
pub(crate) fn ece_bin(confidence: f64, n_bins: usize) -> usize {
    let place = (confidence * n_bins as f64).ceil() as usize;
    place.saturating_sub(1).min(n_bins.saturating_sub(1))
}

/// The error from count, summed confidence and right answers of each bin.
pub(crate) fn ece_of_sums(sums: &[f64]) -> f64 {
    let bins = || sums.chunks_exact(3);
    let n: f64 = bins().map(|bin| bin[0]).sum();
    bins().map(|bin| (bin[2] - bin[1]).abs()).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms() {
        // Always sure and right three times of four.
        assert_eq!(ece([true, true, true, false].map(|right| (1.0, right)), 15), 0.25);
        // Confidence 0.75 and right three times of four.
        assert_eq!(ece([true, true, true, false].map(|right| (0.75, right)), 10), 0.0);
        // Two bins: 2/3 of |1 - 0.9| and 1/3 of |0 - 0.6|.
        let mixed = [(0.9, true), (0.9, true), (0.6, false)];
        assert!((ece(mixed, 10) - (0.2 + 0.6) / 3.0).abs() < 1e-12);
        assert!(ece([], 10).is_nan());
    }

    #[test]
    fn ends_of_bins() {
        assert_eq!(
            [0.0, 0.1, 0.100_001, 1.0].map(|confidence| ece_bin(confidence, 10)),
            [0, 0, 1, 9]
        );
    }
}
