//! The picture of a choice: image, scores as heat, kept and dropped tokens.

use diffprune_pruner::{Layout, Segment};
use image::imageops::FilterType;
use image::{Rgb, RgbImage};

/// Least side of a panel, pixels, where [`LONGEST`] allows it.
const PANEL: u32 = 336;
/// Greatest side of a panel, pixels.
const LONGEST: u32 = 4096;
/// White between panels, pixels.
const GAP: u32 = 8;
/// White between the panels of different segments, pixels.
const SEGMENT_GAP: u32 = 4 * GAP;
/// Border between what the encoder saw apart.
const BORDER: Rgb<u8> = Rgb([255; 3]);
/// Share of the heat's colour over the picture.
const HEAT: f32 = 0.6;
/// Share of a dropped token's own brightness.
const DIMMED: f32 = 0.22;
/// Radius of the dot of a merged token, and width of the ring around it, in widths of a token.
const DOT: f64 = 0.25;
const RING: f64 = 0.08;
/// Heat from low to high, evenly spaced.
const RAMP: [[f32; 3]; 5] = [
    [13.0, 8.0, 80.0],
    [126.0, 3.0, 168.0],
    [204.0, 71.0, 120.0],
    [248.0, 149.0, 64.0],
    [240.0, 249.0, 33.0],
];

/// Panels side by side: the picture, then for each segment of the layout its scores as heat, and kept tokens clear with
/// dropped ones dimmed.
///
/// `image` is the original picture; tokens are drawn where they lie on it, and those of padding around it are not seen.
/// `scores` has one number per token in sequence order; they are stretched between their least and greatest finite
/// value. Missing scores count as least, kept indices beyond the tokens are ignored. Between tokens that the encoder saw
/// in different views (the tiles of LLaVA-NeXT) runs a white line; wider white stands between the panels of segments.
///
/// Small pictures are drawn at a whole multiple of their size. No side of a panel is longer than 4096 pixels: larger
/// pictures are drawn smaller, in their proportions, and no side of them vanishes.
pub fn heat_map(image: &RgbImage, layout: &Layout, scores: &[f32], keep: &[usize]) -> RgbImage {
    panels(image, layout, scores, keep, false)
}

/// As [`heat_map`] for a method that merges: the picture stays visible, because any of it may be in a merged token, and a dot
/// stands where each merged token stands in the sequence.
pub fn merged_map(image: &RgbImage, layout: &Layout, scores: &[f32], keep: &[usize]) -> RgbImage {
    panels(image, layout, scores, keep, true)
}

/// The colour of a score between the least (0) and the greatest (1), as [`heat_map`] lays it over the picture.
pub fn heat_colour(share: f32) -> Rgb<u8> {
    Rgb(ramp(share).map(|channel| channel.round() as u8))
}

fn panels(image: &RgbImage, layout: &Layout, scores: &[f32], keep: &[usize], merged: bool) -> RgbImage {
    let picture = panel(image);
    let (width, height) = picture.dimensions();
    let n_tokens = layout.n_tokens();
    let heat = stretched(scores, n_tokens);
    let mut kept = vec![false; n_tokens];
    keep.iter().for_each(|&index| {
        if let Some(place) = kept.get_mut(index) {
            *place = true;
        }
    });
    let views = views(layout, n_tokens);
    let pair = 2 * (width + GAP);
    let n_segments = layout.segments.len() as u32;
    let gaps = n_segments.saturating_sub(1) * (SEGMENT_GAP - GAP);
    let mut canvas = RgbImage::from_pixel(width + n_segments * pair + gaps, height, Rgb([255; 3]));
    image::imageops::replace(&mut canvas, &picture, 0, 0);
    for (number, (first, segment)) in layout.offsets().enumerate() {
        let number = number as u32;
        let left = width + GAP + number * (pair + SEGMENT_GAP - GAP);
        let at = |x: u32, y: u32| token_at(segment, x, y, (width, height)).map(|token| first + token);
        let view_at = |x: u32, y: u32| at(x, y).and_then(|token| views[token]);
        for (x, y, pixel) in picture.enumerate_pixels() {
            let token = at(x, y);
            let view = token.and_then(|token| views[token]);
            let other =
                |x: u32, y: u32| view_at(x, y).is_some_and(|other| view.is_some_and(|view| view != other));
            let (heated, shown) = match token {
                Some(_) if other(x + 1, y) || other(x, y + 1) => (BORDER, BORDER),
                Some(token) if merged => {
                    let shown = match (kept[token], from_centre(segment, x, y, (width, height))) {
                        (true, distance) if distance < DOT => Rgb([255; 3]),
                        (true, distance) if distance < DOT + RING => Rgb([0; 3]),
                        _ => *pixel,
                    };
                    (mixed(*pixel, ramp(heat[token]), HEAT), shown)
                }
                Some(token) if kept[token] => (mixed(*pixel, ramp(heat[token]), HEAT), *pixel),
                Some(token) => (mixed(*pixel, ramp(heat[token]), HEAT), dimmed(*pixel)),
                None => (dimmed(*pixel), dimmed(*pixel)),
            };
            canvas.put_pixel(left + x, y, heated);
            canvas.put_pixel(left + width + GAP + x, y, shown);
        }
    }
    canvas
}

/// For each token the first view that it belongs to.
fn views(layout: &Layout, n_tokens: usize) -> Vec<Option<usize>> {
    let mut views = vec![None; n_tokens];
    for (number, view) in layout.views.iter().enumerate() {
        for &token in view.tokens.iter().flatten() {
            if let Some(place) = views.get_mut(token) {
                place.get_or_insert(number);
            }
        }
    }
    views
}

/// The token of a segment that covers a pixel.
fn token_at(segment: &Segment, x: u32, y: u32, (width, height): (u32, u32)) -> Option<usize> {
    let place = |pixel: u32, extent: u32, from: f64, to: f64, cells: usize| {
        let share = (f64::from(pixel) + 0.5) / f64::from(extent);
        let cell = (share - from) / (to - from) * cells as f64;
        (cell >= 0.0 && cell < cells as f64).then_some(cell as usize)
    };
    let (grid, area) = (segment.grid, segment.area);
    let row = place(y, height, area.top, area.bottom, grid.rows)?;
    let col = place(x, width, area.left, area.right, grid.cols)?;
    Some(row * grid.cols + col)
}

/// The distance of a pixel from the centre of its token, in widths of the token.
fn from_centre(segment: &Segment, x: u32, y: u32, (width, height): (u32, u32)) -> f64 {
    let place = |pixel: u32, extent: u32, from: f64, to: f64, cells: usize| {
        let share = (f64::from(pixel) + 0.5) / f64::from(extent);
        ((share - from) / (to - from) * cells as f64).fract() - 0.5
    };
    let (grid, area) = (segment.grid, segment.area);
    let down = place(y, height, area.top, area.bottom, grid.rows);
    let across = place(x, width, area.left, area.right, grid.cols);
    down.hypot(across)
}

/// The picture as large as it is drawn.
fn panel(image: &RgbImage) -> RgbImage {
    let (width, height) = panel_size(image.width().max(1), image.height().max(1));
    image::imageops::resize(image, width, height, FilterType::Nearest)
}

/// The size of a panel for a picture of that size: a whole multiple with a shorter side of at least [`PANEL`] pixels, as
/// far as the longer side stays within [`LONGEST`].
fn panel_size(width: u32, height: u32) -> (u32, u32) {
    let (short, long) = (width.min(height), width.max(height));
    let factor = PANEL.div_ceil(short).min(LONGEST / long);
    if factor > 0 {
        return (width * factor, height * factor);
    }
    let shrunk = |side: u32| {
        let share = f64::from(side) * f64::from(LONGEST) / f64::from(long);
        (share.round() as u32).max(1)
    };
    (shrunk(width), shrunk(height))
}

/// Scores between 0 and 1.
fn stretched(scores: &[f32], n_tokens: usize) -> Vec<f32> {
    let finite = || scores.iter().copied().filter(|score| score.is_finite());
    let (lo, hi) = finite().fold((f32::MAX, f32::MIN), |(lo, hi), score| {
        (lo.min(score), hi.max(score))
    });
    let place = |score: f32| {
        if score.is_finite() && hi > lo {
            (score - lo) / (hi - lo)
        } else {
            0.0
        }
    };
    let mut heat: Vec<f32> = scores.iter().map(|&score| place(score)).collect();
    heat.resize(n_tokens.max(1), 0.0);
    heat
}

fn ramp(heat: f32) -> [f32; 3] {
    let place = heat.clamp(0.0, 1.0) * (RAMP.len() - 1) as f32;
    let below = (place.floor() as usize).min(RAMP.len() - 2);
    let share = place - below as f32;
    std::array::from_fn(|channel| RAMP[below][channel] * (1.0 - share) + RAMP[below + 1][channel] * share)
}

fn mixed(pixel: Rgb<u8>, colour: [f32; 3], share: f32) -> Rgb<u8> {
    Rgb(std::array::from_fn(|channel| {
        (f32::from(pixel.0[channel]) * (1.0 - share) + colour[channel] * share).round() as u8
    }))
}

fn dimmed(pixel: Rgb<u8>) -> Rgb<u8> {
    let grey = pixel.0.iter().map(|&channel| f32::from(channel)).sum::<f32>() / 3.0;
    Rgb([(grey * DIMMED).round() as u8; 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_pruner::{Area, Grid, View};

    #[test]
    fn kept_tokens_are_clear_and_dropped_ones_dim() {
        let image = RgbImage::from_pixel(12, 8, Rgb([200, 100, 60]));
        let grid = Grid { rows: 2, cols: 3 };
        let canvas = heat_map(
            &image,
            &grid.into(),
            &[0.0, 1.0, 2.0, f32::NAN, 0.0, 0.0],
            &[1, 99],
        );
        let (width, height) = (12 * 42, 8 * 42);
        assert_eq!(canvas.dimensions(), (3 * width + 2 * GAP, height));
        let third = 2 * (width + GAP);
        assert_eq!(*canvas.get_pixel(0, 0), Rgb([200, 100, 60]));
        assert_eq!(*canvas.get_pixel(third + width / 2, 1), Rgb([200, 100, 60]));
        assert_eq!(*canvas.get_pixel(third, 1), dimmed(Rgb([200, 100, 60])));
        let hottest = mixed(Rgb([200, 100, 60]), RAMP[4], HEAT);
        assert_eq!(*canvas.get_pixel(width + GAP + width - 1, 1), hottest);
    }

    #[test]
    fn merged_tokens_are_dots_on_the_whole_picture() {
        let plain = Rgb([200, 100, 60]);
        let image = RgbImage::from_pixel(12, 8, plain);
        let grid = Grid { rows: 2, cols: 3 };
        let canvas = merged_map(&image, &grid.into(), &[], &[4]);
        let (width, height) = (12 * 42, 8 * 42);
        let left = 2 * (width + GAP);
        let at = |x: u32, y: u32| *canvas.get_pixel(left + x, y);
        assert_eq!(at(width / 2, height * 3 / 4), Rgb([255; 3]), "the merged token");
        assert_eq!(at(width / 2, height / 4), plain, "one that is merged into it");
        assert_eq!(at(width / 2 + width / 9, height * 3 / 4), plain, "beside the dot");
        let ring = canvas.pixels().filter(|pixel| **pixel == Rgb([0; 3])).count();
        assert!(ring > 100, "{ring}");
    }

    #[test]
    fn segments_stand_apart_and_tiles_have_borders() {
        let (plain, side) = (Rgb([200, 100, 60]), 336);
        let image = RgbImage::from_pixel(side, side, plain);
        let segment = |rows, cols| Segment {
            grid: Grid { rows, cols },
            area: Area::IMAGE,
        };
        let view = |tokens: &[usize]| View {
            grid: Grid {
                rows: 1,
                cols: tokens.len(),
            },
            tokens: tokens.iter().copied().map(Some).collect(),
        };
        let layout = Layout {
            segments: vec![segment(1, 1), segment(1, 4)],
            views: vec![view(&[0]), view(&[1, 2]), view(&[3, 4])],
        };
        let canvas = heat_map(&image, &layout, &[], &[0, 1, 4]);
        assert_eq!(canvas.dimensions(), (5 * side + 3 * GAP + SEGMENT_GAP, side));
        let small = 2 * (side + GAP);
        let map = 4 * side + 2 * GAP + SEGMENT_GAP + GAP;
        let row = |left: u32| {
            (0..side)
                .map(|x| *canvas.get_pixel(left + x, 9))
                .collect::<Vec<_>>()
        };
        assert!(
            row(small).iter().all(|&pixel| pixel == plain),
            "kept, and one view"
        );
        let map = row(map);
        let (first, last) = (side as usize / 4, side as usize / 2);
        assert!(map[..first].iter().all(|&pixel| pixel == plain));
        assert!(map[first..last - 1].iter().all(|&pixel| pixel == dimmed(plain)));
        assert_eq!(map[last - 1], BORDER);
        assert_eq!(map.iter().filter(|&&pixel| pixel == BORDER).count(), 1);
        assert!(map[3 * first..].iter().all(|&pixel| pixel == plain));
    }

    #[test]
    fn no_picture_is_drawn_without_bounds() {
        for (size, wanted) in [
            ((12, 8), (504, 336)),
            ((640, 480), (640, 480)),
            ((300, 100), (1200, 400)),
            ((4096, 10), (4096, 10)),
            ((1000, 10), (4000, 40)),
            ((8192, 4096), (4096, 2048)),
            ((20000, 10), (4096, 2)),
            ((1, 20000), (1, 4096)),
            ((u32::MAX, 1), (4096, 1)),
        ] {
            assert_eq!(panel_size(size.0, size.1), wanted, "{size:?}");
        }
        let grid = Grid { rows: 4, cols: 4 };
        for (width, height) in [(20000, 10), (1, 20000)] {
            let image = RgbImage::from_pixel(width, height, Rgb([200, 100, 60]));
            let canvas = heat_map(&image, &grid.into(), &[1.0; 16], &[0, 5]);
            assert!(
                canvas.width() <= 3 * LONGEST + 2 * GAP && canvas.height() <= LONGEST,
                "{width}"
            );
            assert_eq!(*canvas.get_pixel(0, 0), Rgb([200, 100, 60]));
        }
    }

    #[test]
    fn odd_inputs_do_not_panic() {
        let image = RgbImage::from_pixel(5, 700, Rgb([1, 2, 3]));
        heat_map(&image, &Grid { rows: 4, cols: 4 }.into(), &[], &[]);
        heat_map(&image, &Grid { rows: 4, cols: 4 }.into(), &[1.0; 40], &[3]);
    }
}
