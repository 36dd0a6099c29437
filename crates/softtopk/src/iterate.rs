//! The threshold of one row by iteration, for curves without a closed form.

use crate::config::ThresholdKind;
use crate::host::{Real, Threshold};

/// The threshold by Newton's method inside a shrinking bracket. Requires `0 < k < n`.
///
/// Where a curve with compact support leaves an interval of thresholds (a whole budget, and a gap of at least one
/// temperature at its edge), the middle of the interval is taken: no weight is then on a kink.
pub(crate) fn iterate_threshold<T: Real>(
    kind: ThresholdKind,
    present: &mut [T],
    k: f64,
    tau: f64,
) -> Threshold {
    let n = present.len() as f64;
    let rank = (k.ceil() as usize).clamp(1, present.len()) - 1;
    let (_, anchor, rest) = present.select_nth_unstable_by(rank, |a, b| b.wide().total_cmp(&a.wide()));
    let anchor = anchor.wide();
    if kind.is_compact() && k.fract() == 0.0 {
        let next = rest.iter().map(|s| s.wide()).fold(f64::NEG_INFINITY, f64::max);
        let gap = (anchor - next) / tau;
        if gap >= 1.0 && !present.iter().any(|s| s.wide().is_nan()) {
            let offset = -0.5 * (1.0 + gap);
            return Threshold { anchor, offset };
        }
    }
    let place = |s: &T| (s.wide() - anchor) / tau;
    let (smallest, largest) = present
        .iter()
        .map(place)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
    let (mut low, mut high, start) = match kind {
        ThresholdKind::Sigmoid => {
            let logit = (k / (n - k)).ln();
            (smallest - logit, largest - logit, -logit)
        }
        ThresholdKind::Clip | ThresholdKind::Cubic => (smallest - 1.0, largest, -0.5),
        ThresholdKind::Laplace | ThresholdKind::MinExp => {
            let margin = n.ln() + 20.0;
            (smallest - margin, largest + margin, 0.0)
        }
    };
    // Not `clamp`, which panics on the bounds that NaN scores leave.
    let mut offset = start.max(low).min(high);
    for _ in 0..200 {
        // Ones and tails apart: where k scores are above, the ones cancel and the tails keep their digits.
        let (mut above, mut tails, mut slope) = (0, 0.0, 0.0);
        for s in present.iter() {
            let u = place(s) - offset;
            let (weight, complement) = kind.weights_at(u);
            let up = weight > 0.5;
            above += usize::from(up);
            tails += if up { -complement } else { weight };
            slope += kind.slope_at(u);
        }
        let mass = (above as f64 - k) + tails;
        if mass.is_nan() {
            offset = f64::NAN;
            break;
        }
        if mass > 0.0 {
            low = offset;
        } else {
            high = offset;
        }
        let newton = offset + mass / slope;
        let next = if newton > low && newton < high {
            newton
        } else {
            0.5 * (low + high)
        };
        let moved = (next - offset).abs();
        if mass == 0.0 || moved.is_nan() || moved <= 4.0 * f64::EPSILON * (1.0 + offset.abs()) {
            break;
        }
        offset = next;
    }
    Threshold { anchor, offset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_meets_the_budget() {
        let scores: Vec<f64> = (0..40).map(|i| f64::from((i * 17) % 40) * 0.3 - 4.0).collect();
        for kind in ThresholdKind::ALL {
            for k in [0.01, 0.5, 1.0, 7.0, 7.25, 20.0, 39.0, 39.999] {
                for tau in [0.01, 0.1, 1.0, 100.0] {
                    let threshold = iterate_threshold(kind, &mut scores.clone(), k, tau);
                    let u = |s: &f64| (s - threshold.anchor) / tau - threshold.offset;
                    let mass: f64 = scores.iter().map(|s| kind.weights_at(u(s)).0).sum();
                    assert!((mass - k).abs() < 1e-10, "{kind:?} k {k} tau {tau}: {mass}");
                }
            }
        }
    }

    #[test]
    fn an_interval_of_thresholds_gives_its_middle() {
        for kind in [ThresholdKind::Clip, ThresholdKind::Cubic] {
            let Threshold { anchor, offset } = iterate_threshold(kind, &mut [0.0, 9.0, 1.0, 5.0], 2.0, 2.0);
            // Thresholds from 1 (the third score has u = 0) to 3 (the second has u = 1).
            assert_eq!(anchor + 2.0 * offset, 2.0);
        }
    }
}
