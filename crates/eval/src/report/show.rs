//! The picture of a choice: image, scores as heat, kept and dropped tokens.

use diffprune_pruner::Grid;
use image::imageops::FilterType;
use image::{Rgb, RgbImage};

/// Least side of a panel, pixels.
const PANEL: u32 = 336;
/// White between panels, pixels.
const GAP: u32 = 8;
/// Share of the heat's colour over the picture.
const HEAT: f32 = 0.6;
/// Share of a dropped token's own brightness.
const DIMMED: f32 = 0.22;
/// Heat from low to high, evenly spaced.
const RAMP: [[f32; 3]; 5] = [
    [13.0, 8.0, 80.0],
    [126.0, 3.0, 168.0],
    [204.0, 71.0, 120.0],
    [248.0, 149.0, 64.0],
    [240.0, 249.0, 33.0],
];

/// Three panels side by side: the picture, its scores as heat, kept tokens clear and dropped ones dimmed.
///
/// `image` is the picture as the model sees it (square where the model crops or pads). `scores` has one number per token
/// of the grid in raster order; they are stretched between their least and greatest finite value. Missing scores count as
/// least, kept indices outside the grid are ignored.
pub fn heat_map(image: &RgbImage, grid: Grid, scores: &[f32], keep: &[usize]) -> RgbImage {
    let picture = enlarged(image);
    let (width, height) = picture.dimensions();
    let heat = stretched(scores, grid.n_tokens());
    let mut kept = vec![false; grid.n_tokens()];
    keep.iter().for_each(|&index| {
        if let Some(place) = kept.get_mut(index) {
            *place = true;
        }
    });
    let token = |x: u32, y: u32| {
        let row = y as usize * grid.rows / height as usize;
        let col = x as usize * grid.cols / width as usize;
        row * grid.cols + col
    };
    let mut canvas = RgbImage::from_pixel(3 * width + 2 * GAP, height, Rgb([255; 3]));
    for (x, y, pixel) in picture.enumerate_pixels() {
        let token = token(x, y);
        canvas.put_pixel(x, y, *pixel);
        canvas.put_pixel(x + width + GAP, y, mixed(*pixel, ramp(heat[token]), HEAT));
        let clear = kept.get(token).copied().unwrap_or(false);
        let shown = if clear { *pixel } else { dimmed(*pixel) };
        canvas.put_pixel(x + 2 * (width + GAP), y, shown);
    }
    canvas
}

/// The picture at a whole multiple of its size, each panel at least [`PANEL`] pixels on its shorter side.
fn enlarged(image: &RgbImage) -> RgbImage {
    let (width, height) = (image.width().max(1), image.height().max(1));
    let factor = PANEL.div_ceil(width.min(height)).max(1);
    image::imageops::resize(image, width * factor, height * factor, FilterType::Nearest)
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

    #[test]
    fn kept_tokens_are_clear_and_dropped_ones_dim() {
        let image = RgbImage::from_pixel(12, 8, Rgb([200, 100, 60]));
        let grid = Grid { rows: 2, cols: 3 };
        let canvas = heat_map(&image, grid, &[0.0, 1.0, 2.0, f32::NAN, 0.0, 0.0], &[1, 99]);
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
    fn odd_inputs_do_not_panic() {
        let image = RgbImage::from_pixel(5, 700, Rgb([1, 2, 3]));
        heat_map(&image, Grid { rows: 4, cols: 4 }, &[], &[]);
        heat_map(&image, Grid { rows: 4, cols: 4 }, &[1.0; 40], &[3]);
    }
}
