//! The sigmoid threshold of one row, by iteration.

use crate::config::ThresholdKind;
use crate::host::{Real, Threshold};

/// The sigmoid threshold by Newton's method inside a shrinking bracket. Requires `0 < k < n`.
pub(crate) fn sigmoid_threshold<T: Real>(present: &[T], anchor: f64, k: f64, tau: f64) -> Threshold {
    let n = present.len() as f64;
    let place = |s: &T| (s.wide() - anchor) / tau;
    let logit = (k / (n - k)).ln();
    let (low, high) = present
        .iter()
        .map(place)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
    let (mut low, mut high) = (low - logit, high - logit);
    // Not `clamp`, which panics on the bounds that NaN scores leave.
    let mut offset = (-logit).max(low).min(high);
    for _ in 0..200 {
        // Ones and tails apart: where k scores are above, the ones cancel and the tails keep their digits.
        let (mut above, mut tails, mut slope) = (0, 0.0, 0.0);
        for s in present {
            let u = place(s) - offset;
            let (weight, complement) = ThresholdKind::Sigmoid.weights_at(u);
            above += usize::from(u > 0.0);
            tails += if u > 0.0 { -complement } else { weight };
            slope += weight * complement;
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
