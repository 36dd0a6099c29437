//! Directions of gradients: how much they agree, and how sure that is.

use diffprune_eval::Estimate;

/// The cosines between the gradients of one parameter vector.
pub(crate) struct Units {
    n: usize,
    /// `[n, n]`, row after row.
    cosines: Vec<f64>,
    /// Gradients that are zero or not finite; their cosine with any other counts as 0.
    pub unusable: usize,
    /// Mean Euclidean norm of the usable ones.
    pub norm: f64,
}

impl Units {
    pub fn new(gradients: &[Vec<f32>]) -> Self {
        let n = gradients.len();
        let norms: Vec<f64> = gradients
            .iter()
            .map(|gradient| dot(gradient, gradient).sqrt())
            .collect();
        let usable = |i: usize| norms[i].is_finite() && norms[i] > 0.0;
        let mut cosines = vec![0.0; n * n];
        for a in 0..n {
            for b in 0..n {
                if usable(a) && usable(b) {
                    cosines[a * n + b] = dot(&gradients[a], &gradients[b]) / (norms[a] * norms[b]);
                }
            }
        }
        let good: Vec<f64> = (0..n).filter(|&i| usable(i)).map(|i| norms[i]).collect();
        Self {
            n,
            cosines,
            unusable: n - good.len(),
            norm: good.iter().sum::<f64>() / good.len().max(1) as f64,
        }
    }

    /// Mean cosine over the pairs, without gradient `left_out`.
    pub fn mean(&self, left_out: Option<usize>) -> f64 {
        let stays = |i: usize| Some(i) != left_out;
        let count = (0..self.n).filter(|&i| stays(i)).count();
        let mut sum = 0.0;
        for a in (0..self.n).filter(|&a| stays(a)) {
            for b in (0..a).filter(|&b| stays(b)) {
                sum += self.cosines[a * self.n + b];
            }
        }
        sum / (count * count.saturating_sub(1) / 2).max(1) as f64
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// A statistic of batches with the interval of the delete-one jackknife: value ± `z` standard errors.
///
/// `statistic` gets the batch that is left out, or none.
pub(crate) fn jackknife(n: usize, z: f64, statistic: impl Fn(Option<usize>) -> f64) -> Estimate {
    let value = statistic(None);
    let without: Vec<f64> = (0..n).map(|i| statistic(Some(i))).collect();
    let mean = without.iter().sum::<f64>() / n.max(1) as f64;
    let squares: f64 = without.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (squares * n.saturating_sub(1) as f64 / n.max(1) as f64).sqrt();
    Estimate {
        value,
        lo: value - z * error,
        hi: value + z * error,
    }
}

/// The half width of a two-sided normal interval of `level` in standard errors, for one of `count` intervals that shall hold
/// together (Bonferroni). By a rational approximation (Abramowitz and Stegun 26.2.23), within 5e-4.
pub(crate) fn reach(level: f64, count: usize) -> f64 {
    let tail = ((1.0 - level) / (2.0 * count.max(1) as f64)).clamp(1e-300, 0.5);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_averaged_over_pairs_and_batches_can_be_left_out() {
        let units = Units::new(&[vec![2.0, 0.0], vec![0.0, 5.0], vec![3.0, 4.0], vec![0.0, 0.0]]);
        assert_eq!(units.unusable, 1);
        assert!((units.norm - 4.0).abs() < 1e-12);
        // Cosines 0, 0.6 and 0.8; the three pairs with the zero gradient count as 0.
        assert!((units.mean(None) - 1.4 / 6.0).abs() < 1e-7);
        assert!((units.mean(Some(3)) - 1.4 / 3.0).abs() < 1e-7);
        assert!((units.mean(Some(0)) - 0.8 / 3.0).abs() < 1e-7);
    }

    #[test]
    fn the_jackknife_of_a_mean_is_its_standard_error() {
        let values = [1.0, 2.0, 4.0, 7.0];
        let mean = |left_out: Option<usize>| {
            let kept: Vec<f64> = (0..4)
                .filter(|&i| Some(i) != left_out)
                .map(|i| values[i])
                .collect();
            kept.iter().sum::<f64>() / kept.len() as f64
        };
        let found = jackknife(4, 1.0, mean);
        let variance = values.iter().map(|value| (value - 3.5_f64).powi(2)).sum::<f64>() / 3.0;
        assert!((found.hi - found.value - (variance / 4.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn intervals_reach_as_far_as_tables_say() {
        assert!((reach(0.95, 1) - 1.960).abs() < 1e-3);
        assert!((reach(0.95, 6) - 2.638).abs() < 1e-3);
    }
}
