//! Ranges, marks on axes, numbers as text.

/// An interval of values on an interval of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    /// Values at the first and the last pixel.
    values: (f64, f64),
    /// The pixels.
    pixels: (f64, f64),
    is_log: bool,
}

impl Scale {
    pub(crate) fn new(values: (f64, f64), pixels: (i32, i32)) -> Self {
        Self {
            values,
            pixels: (f64::from(pixels.0), f64::from(pixels.1)),
            is_log: false,
        }
    }

    /// Logarithmic; both values must be above zero.
    pub(crate) fn log(values: (f64, f64), pixels: (i32, i32)) -> Self {
        Self {
            values: (values.0.ln(), values.1.ln()),
            is_log: true,
            ..Self::new(values, pixels)
        }
    }

    /// The pixel of a value, inside the axis: values beyond it lie on its ends.
    pub(crate) fn at(&self, value: f64) -> i32 {
        let value = if self.is_log { value.ln() } else { value };
        let share = (value - self.values.0) / (self.values.1 - self.values.0);
        (self.pixels.0 + share.clamp(0.0, 1.0) * (self.pixels.1 - self.pixels.0)).round() as i32
    }
}

/// Least and greatest value, with a margin on both sides; never equal.
pub(crate) fn range(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (lo, hi) = values
        .filter(|value| value.is_finite())
        .fold((f64::MAX, f64::MIN), |(lo, hi), value| {
            (lo.min(value), hi.max(value))
        });
    match (lo < hi, lo > hi) {
        (true, _) => (lo - margin * (hi - lo), hi + margin * (hi - lo)),
        (_, true) => (0.0, 1.0),
        _ => (lo - 0.5 * lo.abs().max(1.0), hi + 0.5 * hi.abs().max(1.0)),
    }
}

/// Round values within a range, about so many: steps of 1, 2 or 5 times a power of ten.
pub(crate) fn ticks((lo, hi): (f64, f64), wanted: usize) -> Vec<f64> {
    let rough = (hi - lo) / wanted.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (lo / step).ceil() as i64;
    let last = (hi / step).floor() as i64;
    (first..=last).map(|number| number as f64 * step).collect()
}

/// A value as the marks of an axis print it: with the digits that tell neighbours apart.
pub(crate) fn tick(value: f64, marks: &[f64]) -> String {
    let step = marks
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .fold(f64::INFINITY, f64::min);
    let decimals = match step.is_finite() && step > 0.0 {
        true => (-(step * 1.001).log10().floor()).clamp(0.0, 6.0) as usize,
        false => usize::from(value.fract() != 0.0),
    };
    number(value, decimals)
}

/// A number with a true minus sign.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.into(),
        Some(rest) => format!("\u{2212}{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 100.0), 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks((-1.3, 1.2), 5), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        for span in [1e-6, 0.3, 7.0, 144.0, 1e9] {
            let found = ticks((0.1 * span, 1.1 * span), 6);
            assert!((3..=13).contains(&found.len()), "{span}: {found:?}");
            assert!(found.iter().all(|mark| (0.1 * span..=1.1 * span).contains(mark)));
        }
    }

    #[test]
    fn digits_tell_neighbours_apart() {
        assert_eq!(tick(0.5, &[0.0, 0.5, 1.0]), "0.5");
        assert_eq!(tick(20.0, &[0.0, 20.0]), "20");
        assert_eq!(tick(-0.02, &[-0.02, 0.0]), "\u{2212}0.02");
        assert_eq!(number(-0.04, 1), "0.0");
    }

    #[test]
    fn values_beyond_an_axis_lie_on_its_end() {
        let scale = Scale::new((0.0, 10.0), (100, 200));
        assert_eq!(
            [-5.0, 0.0, 5.0, 50.0].map(|value| scale.at(value)),
            [100, 100, 150, 200]
        );
        assert_eq!(Scale::log((1.0, 100.0), (0, 100)).at(10.0), 50);
        assert_eq!(range([3.0, f64::NAN].into_iter(), 0.1), (1.5, 4.5));
        assert_eq!(range(std::iter::empty(), 0.1), (0.0, 1.0));
    }
}
