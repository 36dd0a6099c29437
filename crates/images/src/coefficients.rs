//! The integer weights of Pillow's bilinear and bicubic filters along one axis.

use std::ops::Range;

/// Fraction bits of a weight.
pub(super) const PRECISION_BITS: u32 = 22;

/// The filter's free parameter; -0.5 makes it reproduce quadratic ramps.
const A: f64 = -0.5;

/// The weighting of neighbouring pixels when an image is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// Linear, over two pixels on each axis (more when shrinking).
    Bilinear,
    /// Cubic convolution, over four.
    #[default]
    Bicubic,
}

impl Filter {
    /// Half the filter's width, in output pixels when shrinking and input pixels when enlarging.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn kernel(self, x: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => cubic(x),
        }
    }
}

/// The pixels that one output position sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taps {
    /// First input position.
    first: usize,
    /// Number of input positions.
    n: usize,
    /// The index of its first weight.
    offset: usize,
    /// Weight of all positions outside the part of the input that is stored.
    outside: i32,
}

/// Weights for a range of output positions: position `i` is the sum over `taps(i)` times `weights(i)`, plus the
/// background times `outside(i)`.
#[derive(Debug)]
pub(super) struct Coefficients {
    taps: Vec<Taps>,
    weights: Vec<i32>,
}

impl Coefficients {
    /// Weights that map `n_in` input positions to `n_out`, for the output positions `wanted` only.
    pub(super) fn new(n_in: usize, n_out: usize, wanted: Range<usize>, filter: Filter) -> Self {
        let scale = n_in as f64 / n_out as f64;
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        let stride = support.ceil() as usize * 2 + 1;
        let mut taps = Vec::with_capacity(wanted.len());
        let mut weights = vec![0; wanted.len() * stride];
        for (row, (place, i)) in weights.chunks_exact_mut(stride).zip(wanted).enumerate() {
            let center = (i as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(n_in);
            fill(place, first, end - first, center, filter_scale, filter);
            taps.push(Taps {
                first,
                n: end - first,
                offset: row * stride,
                outside: 0,
            });
        }
        Self { taps, weights }
    }

    /// The same weights when only the input positions `stored` differ from the background; positions are counted
    /// from the first of these from now on.
    pub(super) fn within(mut self, stored: Range<usize>) -> Self {
        for taps in &mut self.taps {
            let first = taps.first.clamp(stored.start, stored.end);
            let end = (taps.first + taps.n).clamp(first, stored.end);
            let before = (first - taps.first.min(first)).min(taps.n);
            let all: i32 = self.weights[taps.offset..][..taps.n].iter().sum();
            let offset = taps.offset + before;
            let inside: i32 = self.weights[offset..][..end - first].iter().sum();
            *taps = Taps {
                first: first - stored.start,
                n: end - first,
                offset,
                outside: all - inside,
            };
        }
        self
    }

    /// Input positions that the `i`-th wanted output position sums.
    pub(super) fn taps(&self, i: usize) -> Range<usize> {
        let taps = self.taps[i];
        taps.first..taps.first + taps.n
    }

    /// Their weights.
    pub(super) fn weights(&self, i: usize) -> &[i32] {
        let taps = self.taps[i];
        &self.weights[taps.offset..taps.offset + taps.n]
    }

    /// The weight of the background.
    pub(super) fn outside(&self, i: usize) -> i32 {
        self.taps[i].outside
    }

    /// All input positions that any wanted output position sums.
    pub(super) fn span(&self) -> Range<usize> {
        let used = || self.taps.iter().filter(|taps| taps.n > 0);
        let first = used().map(|taps| taps.first).min().unwrap_or(0);
        let end = used().map(|taps| taps.first + taps.n).max().unwrap_or(first);
        first..end
    }
}

/// Weights of `n` taps from `first` around `center`, normalised to sum to one, then rounded half away from zero.
fn fill(place: &mut [i32], first: usize, n: usize, center: f64, filter_scale: f64, filter: Filter) {
    let inverse = 1.0 / filter_scale;
    let tap = |j: usize| filter.kernel(((j + first) as f64 - center + 0.5) * inverse);
    let sum: f64 = (0..n).map(tap).sum();
    for (j, weight) in place.iter_mut().take(n).enumerate() {
        let share = if sum != 0.0 { tap(j) / sum } else { tap(j) };
        let scaled = share * f64::from(1u32 << PRECISION_BITS);
        *weight = (scaled + 0.5f64.copysign(scaled)) as i32;
    }
}

/// The cubic convolution kernel.
fn cubic(x: f64) -> f64 {
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
        let sizes = [(1, 5), (5, 1), (640, 336), (97, 336), (20000, 336), (336, 336)];
        let filters = [Filter::Bilinear, Filter::Bicubic];
        for ((n_in, n_out), filter) in sizes
            .into_iter()
            .flat_map(|size| filters.map(|filter| (size, filter)))
        {
            let coefficients = Coefficients::new(n_in, n_out, 0..n_out, filter);
            assert!(coefficients.span().end <= n_in);
            for i in 0..n_out {
                let sum: i64 = coefficients.weights(i).iter().map(|&w| i64::from(w)).sum();
                assert_eq!(coefficients.taps(i).len(), coefficients.weights(i).len());
                assert!((sum - (1 << PRECISION_BITS)).unsigned_abs() as usize <= coefficients.taps(i).len());
            }
        }
    }

    #[test]
    fn the_background_takes_the_rest_of_the_weight() {
        for stored in [0..100, 40..60, 0..1, 99..100, 30..31] {
            let whole = Coefficients::new(100, 20, 0..20, Filter::Bicubic);
            let part = Coefficients::new(100, 20, 0..20, Filter::Bicubic).within(stored.clone());
            for i in 0..20 {
                let taps = whole.taps(i).zip(whole.weights(i));
                let (inside, outside): (Vec<_>, Vec<_>) = taps.partition(|(tap, _)| stored.contains(tap));
                let weights: Vec<i32> = inside.iter().map(|(_, weight)| **weight).collect();
                assert_eq!(part.weights(i), weights, "{stored:?} {i}");
                assert_eq!(
                    part.outside(i),
                    outside.iter().map(|(_, weight)| **weight).sum::<i32>()
                );
                if let Some((first, _)) = inside.first() {
                    assert_eq!(part.taps(i).start, first - stored.start);
                }
            }
        }
    }

    #[test]
    fn a_part_of_the_positions_has_the_weights_of_the_whole() {
        let whole = Coefficients::new(700, 336, 0..336, Filter::Bicubic);
        let part = Coefficients::new(700, 336, 100..110, Filter::Bicubic);
        for i in 0..10 {
            assert_eq!(part.taps(i), whole.taps(100 + i));
            assert_eq!(part.weights(i), whole.weights(100 + i));
        }
    }

    #[test]
    fn the_bilinear_filter_is_linear_between_two_pixels_and_averages_when_shrinking() {
        let one = f64::from(1u32 << PRECISION_BITS);
        let shares = |n_in, n_out, i| {
            let found = Coefficients::new(n_in, n_out, 0..n_out, Filter::Bilinear);
            let weights: Vec<f64> = found.weights(i).iter().map(|&w| f64::from(w) / one).collect();
            (found.taps(i), weights)
        };
        let close = |found: &[f64], wanted: &[f64]| {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        let (taps, weights) = shares(4, 8, 3);
        assert_eq!(taps.start, 1);
        assert!(close(&weights, &[0.75, 0.25]), "{weights:?}");
        let (taps, weights) = shares(8, 4, 1);
        assert_eq!(taps, 1..5);
        assert!(close(&weights, &[0.125, 0.375, 0.375, 0.125]), "{weights:?}");
    }
}
