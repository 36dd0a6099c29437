//! The preprocessing of LLaVA-NeXT ("anyres"): a small view of the whole image, and tiles of a large one.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use diffprune_images::resize_bicubic;
use diffprune_pruner::Grid;
use image::{RgbImage, imageops};
use rayon::prelude::*;
use serde::Deserialize;

use super::ImageProcessor;
use super::processor::refuse;
use crate::config::{note_default_images, read_image_settings};
use crate::{LlavaNextConfig, LoadError};

/// Turns an image into views of the vision tower's size: first the whole image squashed to a square, then the tiles
/// of a black canvas with the image in its middle, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct AnyRes {
    /// Size and normalisation of a view; its mode plays no part.
    pub view: ImageProcessor,
    /// The canvases to choose from, counted in tiles.
    pub grids: Vec<Grid>,
}

impl AnyRes {
    /// CLIP's settings for the sizes of a configuration.
    ///
    /// # Errors
    /// [`LoadError::Config`] for sizes that [`LlavaNextConfig::validate`] refuses.
    pub fn new(config: &LlavaNextConfig) -> Result<Self, LoadError> {
        config.validate()?;
        let side = config.llava.vision.image_size;
        Ok(Self {
            view: ImageProcessor::clip(side as u32),
            grids: config
                .image_grid_pinpoints
                .iter()
                .map(|[height, width]| Grid {
                    rows: height / side,
                    cols: width / side,
                })
                .collect(),
        })
    }

    /// Read `preprocessor_config.json` in `dir`; without one, [`AnyRes::new`].
    ///
    /// # Errors
    /// As [`ImageProcessor::from_dir`]; [`LoadError::Config`] when the file's sizes are not those of `config`, or its
    /// crop is smaller than its resized side.
    pub fn from_dir(dir: impl AsRef<Path>, config: &LlavaNextConfig) -> Result<Self, LoadError> {
        let (dir, this) = (dir.as_ref(), Self::new(config)?);
        let Some((path, raw)) = read_image_settings::<RawAnyRes>(dir)? else {
            note_default_images(dir, "CLIP's settings and the grid of config.json are");
            return Ok(this);
        };
        if let Some(found) = raw.image_grid_pinpoints
            && found != config.image_grid_pinpoints
        {
            let wanted = format!("{:?}, as config.json says", config.image_grid_pinpoints);
            return Err(refuse(
                &path,
                "image_grid_pinpoints",
                format!("{found:?}"),
                &wanted,
            ));
        }
        let view = ImageProcessor::from_dir(dir)?;
        let wanted = this.view.size;
        if (view.size, view.shortest_edge) != (wanted, wanted) {
            let found = format!("views of {} pixels cut from {}", view.size, view.shortest_edge);
            let wanted = format!("{wanted}, the image_size of config.json, for both");
            return Err(refuse(&path, "crop_size", found, &wanted));
        }
        Ok(Self { view, ..this })
    }

    /// Pixels along one side of a view.
    pub fn side(&self) -> u32 {
        self.view.size
    }

    /// The canvas for an image: the one on which most of its pixels survive, of equals the one that wastes least, of
    /// equals the first.
    ///
    /// # Panics
    /// When there is no canvas, or the image has no pixels.
    pub fn grid(&self, width: u32, height: u32) -> Grid {
        let mut best: Option<(Grid, u64, u64)> = None;
        for &grid in &self.grids {
            let (canvas_width, canvas_height) = self.canvas(grid);
            let scale = (f64::from(canvas_width) / f64::from(width))
                .min(f64::from(canvas_height) / f64::from(height));
            let scaled = |side: u32| (f64::from(side) * scale) as u64;
            let kept = (scaled(width) * scaled(height)).min(u64::from(width) * u64::from(height));
            let wasted = u64::from(canvas_width) * u64::from(canvas_height) - kept;
            if best.is_none_or(|(_, most, least)| kept > most || (kept == most && wasted < least)) {
                best = Some((grid, kept, wasted));
            }
        }
        best.map(|(grid, ..)| grid)
            .unwrap_or_else(|| panic!("no canvas to lay an image on"))
    }

    /// Width and height of a canvas, in pixels.
    pub fn canvas(&self, grid: Grid) -> (u32, u32) {
        (grid.cols as u32 * self.side(), grid.rows as u32 * self.side())
    }

    /// Width and height of the image on its canvas: as large as fits without changing the ratio of its sides.
    pub fn inner(&self, width: u32, height: u32, grid: Grid) -> (u32, u32) {
        let (canvas_width, canvas_height) = self.canvas(grid);
        let across = f64::from(canvas_width) / f64::from(width);
        let down = f64::from(canvas_height) / f64::from(height);
        let scaled =
            |side: u32, scale: f64, limit: u32| ((f64::from(side) * scale).ceil() as u32).clamp(1, limit);
        if across < down {
            (canvas_width, scaled(height, across, canvas_height))
        } else {
            (scaled(width, down, canvas_width), canvas_height)
        }
    }

    /// Left and upper edge of the image on its canvas; an odd rest goes to the right or the bottom.
    pub fn offset(&self, inner: (u32, u32), grid: Grid) -> (u32, u32) {
        let (canvas_width, canvas_height) = self.canvas(grid);
        ((canvas_width - inner.0) / 2, (canvas_height - inner.1) / 2)
    }

    /// The 8-bit pixels of an image's views: the small whole image, then the tiles row by row.
    ///
    /// # Panics
    /// As [`AnyRes::grid`].
    pub fn pixels8(&self, image: &RgbImage) -> Vec<RgbImage> {
        let (side, (width, height)) = (self.side(), image.dimensions());
        let grid = self.grid(width, height);
        let inner = self.inner(width, height, grid);
        let (left, top) = self.offset(inner, grid);
        let (canvas_width, canvas_height) = self.canvas(grid);
        let mut canvas = RgbImage::new(canvas_width, canvas_height);
        imageops::replace(
            &mut canvas,
            &resize_bicubic(image, inner.0, inner.1),
            i64::from(left),
            i64::from(top),
        );
        let mut views = vec![resize_bicubic(image, side, side)];
        for row in 0..grid.rows as u32 {
            for col in 0..grid.cols as u32 {
                views.push(imageops::crop_imm(&canvas, col * side, row * side, side, side).to_image());
            }
        }
        views
    }

    /// Preprocess a batch of images.
    ///
    /// # Shapes
    /// - output: `[views, 3, side, side]`, f32, the views of all images one after the other
    ///
    /// # Panics
    /// As [`AnyRes::grid`].
    pub fn preprocess(&self, images: &[RgbImage], device: &Device) -> Tensor<4> {
        let views: Vec<RgbImage> = images.par_iter().flat_map(|image| self.pixels8(image)).collect();
        self.view.normalise(&views, device)
    }
}

/// The field that other processors lack.
#[derive(Debug, Deserialize)]
struct RawAnyRes {
    image_grid_pinpoints: Option<Vec<[usize; 2]>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn grid(rows: usize, cols: usize) -> Grid {
        Grid { rows, cols }
    }

    fn published() -> AnyRes {
        AnyRes::new(&LlavaNextConfig::vicuna_7b()).unwrap()
    }

    #[test]
    fn a_small_square_takes_the_first_of_equal_canvases() {
        let anyres = published();
        assert_eq!(anyres.grid(336, 336), grid(1, 2));
        assert_eq!(anyres.grid(672, 672), grid(2, 2));
        assert_eq!(anyres.grid(300, 2000), grid(3, 1));
    }

    #[test]
    fn the_image_stands_in_the_middle_of_black() {
        let anyres = AnyRes::new(&LlavaNextConfig::tiny()).unwrap();
        let white = RgbImage::from_pixel(30, 100, Rgb([255; 3]));
        let grid = anyres.grid(30, 100);
        let (width, height) = anyres.inner(30, 100, grid);
        let (left, top) = anyres.offset((width, height), grid);
        let views = anyres.pixels8(&white);
        assert_eq!(views.len(), 1 + grid.n_tokens());
        assert!(
            views[0].pixels().all(|pixel| pixel.0 == [255; 3]),
            "squashed, not padded"
        );
        for (i, tile) in views[1..].iter().enumerate() {
            let (col, row) = ((i % grid.cols) as u32, (i / grid.cols) as u32);
            for (x, y, pixel) in tile.enumerate_pixels() {
                let (x, y) = (col * 56 + x, row * 56 + y);
                let inside = (left..left + width).contains(&x) && (top..top + height).contains(&y);
                assert_eq!(pixel.0, [if inside { 255 } else { 0 }; 3], "{x} {y}");
            }
        }
    }

    #[test]
    fn extreme_shapes_are_views_like_others() {
        let anyres = AnyRes::new(&LlavaNextConfig::tiny()).unwrap();
        for (width, height) in [(1, 1), (20000, 10), (10, 20000), (40000, 1)] {
            let image = RgbImage::from_pixel(width, height, Rgb([10, 20, 30]));
            let views = 1 + anyres.grid(width, height).n_tokens();
            let values = anyres.preprocess(&[image], &Device::flex());
            assert_eq!(values.dims(), [views, 3, 56, 56]);
        }
    }
}
