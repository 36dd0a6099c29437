//! The size that Qwen2.5-VL gives an image: nearly its own, in whole cells, within a budget of pixels.

/// Longest side over shortest side that is still resized.
pub(super) const MAX_RATIO: f64 = 200.0;

/// Height and width after resizing: multiples of `factor` near the original, with between `min_pixels` and
/// `max_pixels` pixels. `None` when one side is more than 200 times the other, or is zero.
///
/// Each side is rounded to the nearest multiple, halves to the even one. Only where that leaves the budget both sides
/// are scaled by one number, then rounded towards it. Rounding up can exceed `max_pixels` where the two limits lie
/// closer together than the multiples do, and a side never falls below one `factor`.
///
/// # Panics
/// If `factor` or `max_pixels` is zero.
pub fn smart_resize(
    height: u32,
    width: u32,
    factor: u32,
    min_pixels: u64,
    max_pixels: u64,
) -> Option<(u32, u32)> {
    assert!(
        factor > 0 && max_pixels > 0,
        "an image must have at least one pixel"
    );
    let (h, w, cell) = (f64::from(height), f64::from(width), f64::from(factor));
    if height == 0 || width == 0 || h.max(w) / h.min(w) > MAX_RATIO {
        return None;
    }
    let (min, max) = (min_pixels as f64, max_pixels as f64);
    let round = |side: f64| (side / cell).round_ties_even() * cell;
    let sides = match round(h) * round(w) {
        area if area > max => {
            let scale = (h * w / max).sqrt();
            [h, w].map(|side| (side / scale / cell).floor() * cell)
        }
        area if area < min => {
            let scale = (min / (h * w)).sqrt();
            [h, w].map(|side| (side * scale / cell).ceil() * cell)
        }
        _ => [round(h), round(w)],
    };
    let [height, width] = sides.map(|side| side.max(cell) as u32);
    Some((height, width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_go_to_the_even_multiple_and_a_side_may_start_at_zero() {
        assert_eq!(smart_resize(70, 98, 28, 1, 1 << 20), Some((56, 112)));
        assert_eq!(smart_resize(1, 1, 28, 3136, 1 << 20), Some((56, 56)));
        assert_eq!(smart_resize(10, 2000, 28, 3136, 1 << 20), Some((28, 812)));
        assert_eq!(smart_resize(10, 2001, 28, 3136, 1 << 20), None);
        assert_eq!(smart_resize(0, 1, 28, 3136, 1 << 20), None);
        // One published pruning work gives every padded image the same number of tokens.
        assert_eq!(
            smart_resize(500, 500, 28, 1008 * 1008, 1008 * 1008),
            Some((1008, 1008))
        );
    }

    proptest! {
        #[test]
        fn sides_are_whole_cells_within_the_budget(
            height in 1u32..4000, width in 1u32..4000, factor in 1u32..40, least in 1u64..100, room in 4u64..1000
        ) {
            let cell = u64::from(factor * factor);
            let (min, max) = (least * cell, (least + room * least) * cell);
            let ratio = f64::from(height.max(width)) / f64::from(height.min(width));
            let Some((h, w)) = smart_resize(height, width, factor, min, max) else {
                prop_assert!(ratio > MAX_RATIO);
                return Ok(());
            };
            prop_assert!(ratio <= MAX_RATIO);
            prop_assert!(h > 0 && w > 0 && h % factor == 0 && w % factor == 0);
            let area = u64::from(h) * u64::from(w);
            let thin = h == factor || w == factor;
            prop_assert!(area >= min, "{h} by {w} is less than {min}");
            prop_assert!(area <= max || thin, "{h} by {w} is more than {max}");
            // Both sides change by one factor, up to the rounding of each to a multiple.
            let (a, b) = (f64::from(h) / f64::from(height), f64::from(w) / f64::from(width));
            let slack = f64::from(factor) * (1.0 / f64::from(height) + 1.0 / f64::from(width));
            prop_assert!((a - b).abs() <= slack, "{height} by {width} became {h} by {w}");
        }
    }
}
