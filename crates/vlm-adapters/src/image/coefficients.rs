//! The integer weights of Pillow's bicubic filter along one axis.

use std::ops::Range;

/// Fraction bits of a weight.
pub(super) const PRECISION_BITS: u32 = 22;

/// The filter's free parameter; -0.5 makes it reproduce quadratic ramps.
const A: f64 = -0.5;

/// Half the filter's width, in output pixels when shrinking and input pixels when enlarging.
const SUPPORT: f64 = 2.0;

/// Weights for a range of output positions: position `i` sums `taps(i)` times `weights(i)`.
#[derive(Debug)]
pub(super) struct Coefficients {
    /// First input position and number of taps of each output position.
    bounds: Vec<(usize, usize)>,
    /// The weights, `stride` places per output position.
    weights: Vec<i32>,
    stride: usize,
}

impl Coefficients {
    /// Weights that map `n_in` input positions to `n_out`, for the output positions `wanted` only.
    pub(super) fn new(n_in: usize, n_out: usize, wanted: Range<usize>) -> Self {
        let scale = n_in as f64 / n_out as f64;
        let filter_scale = scale.max(1.0);
        let support = SUPPORT * filter_scale;
        let stride = support.ceil() as usize * 2 + 1;
        let mut bounds = Vec::with_capacity(wanted.len());
        let mut weights = vec![0; wanted.len() * stride];
        for (place, i) in weights.chunks_exact_mut(stride).zip(wanted) {
            let center = (i as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(n_in);
            bounds.push((first, end - first));
            fill(place, first, end - first, center, filter_scale);
        }
        Self {
            bounds,
            weights,
            stride,
        }
    }

    /// Input positions that the `i`-th wanted output position sums.
    pub(super) fn taps(&self, i: usize) -> Range<usize> {
        let (first, n) = self.bounds[i];
        first..first + n
    }

    /// Their weights.
    pub(super) fn weights(&self, i: usize) -> &[i32] {
        &self.weights[i * self.stride..i * self.stride + self.bounds[i].1]
    }

    /// All input positions that any wanted output position sums.
    pub(super) fn span(&self) -> Range<usize> {
        let first = self.bounds.iter().map(|&(first, _)| first).min().unwrap_or(0);
        let end = self.bounds.iter().map(|&(first, n)| first + n).max().unwrap_or(0);
        first..end
    }
}

/// Weights of `n` taps from `first` around `center`, normalised to sum to one, then rounded half away from zero.
fn fill(place: &mut [i32], first: usize, n: usize, center: f64, filter_scale: f64) {
    let inverse = 1.0 / filter_scale;
    let tap = |j: usize| kernel(((j + first) as f64 - center + 0.5) * inverse);
    let sum: f64 = (0..n).map(tap).sum();
    for (j, weight) in place.iter_mut().take(n).enumerate() {
        let share = if sum != 0.0 { tap(j) / sum } else { tap(j) };
        let scaled = share * f64::from(1u32 << PRECISION_BITS);
        *weight = (scaled + 0.5f64.copysign(scaled)) as i32;
    }
}

/// The cubic convolution kernel.
fn kernel(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for (n_in, n_out) in [(1, 5), (5, 1), (640, 336), (97, 336), (20000, 336), (336, 336)] {
            let coefficients = Coefficients::new(n_in, n_out, 0..n_out);
            assert!(coefficients.span().end <= n_in);
            for i in 0..n_out {
                let sum: i64 = coefficients.weights(i).iter().map(|&w| i64::from(w)).sum();
                assert_eq!(coefficients.taps(i).len(), coefficients.weights(i).len());
                assert!((sum - (1 << PRECISION_BITS)).unsigned_abs() as usize <= coefficients.taps(i).len());
            }
        }
    }

    #[test]
    fn a_part_of_the_positions_has_the_weights_of_the_whole() {
        let whole = Coefficients::new(700, 336, 0..336);
        let part = Coefficients::new(700, 336, 100..110);
        for i in 0..10 {
            assert_eq!(part.taps(i), whole.taps(100 + i));
            assert_eq!(part.weights(i), whole.weights(100 + i));
        }
    }
}
