//! The preprocessing of Qwen2.5-VL: resize to whole cells, cut into patches, normalise.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use diffprune_images::{Canvas, Crop};
use diffprune_pruner::{Area, Grid, Layout};
use image::RgbImage;
use rayon::prelude::*;
use serde::Deserialize;

use super::processor::{CLIP_MEAN, CLIP_STD, background, check_steps, levels, refuse};
use super::smart_resize;
use super::smart_resize::MAX_RATIO;
use crate::config::{note_default_images, read_image_settings};
use crate::{ImageShape, LoadError, VlmError};

/// Turns images into the patches that the vision tower of Qwen2.5-VL takes.
#[derive(Debug, Clone, PartialEq)]
pub struct QwenImageProcessor {
    /// Side of a patch, in pixels.
    pub patch_size: u32,
    /// Frames of a patch; a still image is repeated.
    pub temporal_patch_size: u32,
    /// Patches along one side of a cell.
    pub merge_size: u32,
    /// Fewest pixels of a resized image.
    pub min_pixels: u64,
    /// Most pixels of a resized image.
    pub max_pixels: u64,
    /// Mean of each channel, subtracted from levels in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
    /// Centre each image on a square of the mean colour first. With one square in the budget, and room around it for
    /// rounding, all images then have the same number of tokens: 1296 with 994² to 1020² pixels. (With both limits at
    /// 1008² one size in seven misses it by a row, because the scaled side rounds to just beside it.)
    pub pad_square: bool,
}

/// Most pixels of a resized image that a setting may ask for.
const MAX_PIXELS: u64 = 1 << 28;

impl Default for QwenImageProcessor {
    /// The published settings: cells of 28 pixels, 4 to 16384 of them.
    fn default() -> Self {
        Self {
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            min_pixels: 3136,
            max_pixels: 12_845_056,
            mean: CLIP_MEAN,
            std: CLIP_STD,
            pad_square: false,
        }
    }
}

impl QwenImageProcessor {
    /// Read the settings of the checkpoint in `dir`: `image_processor` in `processor_config.json`, else
    /// `preprocessor_config.json`; without either, the published settings (see [`take_notes`](crate::take_notes)).
    ///
    /// # Errors
    /// [`LoadError::Json`]; [`LoadError::Config`] for settings that this pipeline does not have.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        match read_image_settings::<RawQwenProcessor>(dir)? {
            Some((path, raw)) => raw.resolve(&path),
            None => {
                note_default_images(dir, "the published settings (4 to 16384 tokens of an image) are");
                Ok(Self::default())
            }
        }
    }

    /// The same settings within another budget of pixels; `None` keeps a limit.
    ///
    /// # Errors
    /// [`LoadError::Request`] unless 1 <= `min_pixels` <= `max_pixels` <= 2^28.
    pub fn with_budget(
        mut self,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
    ) -> Result<Self, LoadError> {
        self.min_pixels = min_pixels.unwrap_or(self.min_pixels);
        self.max_pixels = max_pixels.unwrap_or(self.max_pixels);
        if self.has_sound_budget() {
            return Ok(self);
        }
        Err(LoadError::Request {
            subject: "pixels of an image".into(),
            found: format!("at least {} and at most {}", self.min_pixels, self.max_pixels),
            wanted: format!("1 <= min_pixels <= max_pixels <= {MAX_PIXELS}"),
            remedy: "set both limits".into(),
        })
    }

    /// Side of a cell in pixels.
    pub fn cell_size(&self) -> u32 {
        self.patch_size * self.merge_size
    }

    /// Rows and columns of patches of an image of `width` by `height` pixels; `None` for images that are too long.
    pub fn grid(&self, width: u32, height: u32) -> Option<Grid> {
        let (height, width) = self.resized(width, height)?;
        let size = self.patch_size;
        Some(Grid {
            rows: (height / size) as usize,
            cols: (width / size) as usize,
        })
    }

    /// The layout of an image with `cells` rows and columns of cells.
    pub(crate) fn layout(&self, image: &ImageShape, cells: Grid) -> Layout {
        let area = match self.pad_square {
            true => Area::padded_square(image.width, image.height),
            false => Area::IMAGE,
        };
        Layout::single(cells, area)
    }

    /// Height and width after resizing.
    fn resized(&self, width: u32, height: u32) -> Option<(u32, u32)> {
        let (width, height) = match self.pad_square {
            true => (width.max(height), width.max(height)),
            false => (width, height),
        };
        smart_resize(height, width, self.cell_size(), self.min_pixels, self.max_pixels)
    }

    /// The 8-bit pixels that normalisation starts from; `None` for images that are too long.
    pub fn pixels8(&self, image: &RgbImage) -> Option<RgbImage> {
        let (height, width) = self.resized(image.width(), image.height())?;
        let canvas = match self.pad_square {
            true => Canvas::square(image, background(self.mean)),
            false => Canvas::of(image),
        };
        let whole = Crop {
            x: 0,
            y: 0,
            width,
            height,
        };
        Some(canvas.resize(width, height, whole))
    }

    /// Preprocess a batch of images: the patches of all images one after the other, and rows and columns of patches
    /// of each.
    ///
    /// Patches stand cell by cell: cells in raster order, and in raster order inside a cell.
    ///
    /// # Shapes
    /// - output: `[patches, 3 * temporal_patch_size, patch_size, patch_size]`, f32
    ///
    /// # Errors
    /// [`VlmError::Image`] for images that are too long.
    pub fn preprocess(
        &self,
        images: &[RgbImage],
        device: &Device,
    ) -> Result<(Tensor<4>, Vec<Grid>), VlmError> {
        let resized = images.par_iter().map(|image| self.pixels8(image));
        let resized: Vec<Option<RgbImage>> = resized.collect();
        let (mut values, mut grids) = (Vec::new(), Vec::new());
        for (index, image) in resized.into_iter().enumerate() {
            let Some(image) = image else {
                let (width, height) = images[index].dimensions();
                return Err(VlmError::Image {
                    index,
                    found: format!("{width} by {height} pixels"),
                    wanted: format!(
                        "one side at most {MAX_RATIO} times the other; crop it or pad it to a square"
                    ),
                });
            };
            grids.push(self.append_patches(&image, &mut values));
        }
        let size = self.patch_size as usize;
        let channels = 3 * self.temporal_patch_size as usize;
        let n_patches = grids.iter().map(Grid::n_tokens).sum();
        let data = TensorData::new(values, [n_patches, channels, size, size]);
        Ok((Tensor::from_data(data, device), grids))
    }

    /// Appends the normalised patches of a resized image.
    fn append_patches(&self, image: &RgbImage, values: &mut Vec<f32>) -> Grid {
        let (size, frames) = (self.patch_size as usize, self.temporal_patch_size as usize);
        let grid = Grid {
            rows: image.height() as usize / size,
            cols: image.width() as usize / size,
        };
        let width = image.width() as usize;
        let pixels = image.as_raw().as_chunks::<3>().0;
        let levels = levels(self.mean, self.std);
        let start = values.len();
        values.resize(start + grid.n_tokens() * 3 * frames * size * size, 0.0);
        values[start..]
            .par_chunks_mut(3 * frames * size * size)
            .zip(block_order(grid, self.merge_size as usize))
            .for_each(|(patch, (row, col))| {
                let channels = patch.chunks_exact_mut(frames * size * size);
                for (channel, (out, levels)) in channels.zip(&levels).enumerate() {
                    let (first, others) = out.split_at_mut(size * size);
                    for (y, line) in first.chunks_exact_mut(size).enumerate() {
                        let from = (row * size + y) * width + col * size;
                        for (value, pixel) in line.iter_mut().zip(&pixels[from..from + size]) {
                            *value = levels[usize::from(pixel[channel])];
                        }
                    }
                    others
                        .chunks_exact_mut(size * size)
                        .for_each(|frame| frame.copy_from_slice(first));
                }
            });
        grid
    }

    fn has_sound_budget(&self) -> bool {
        (1..=self.max_pixels).contains(&self.min_pixels) && self.max_pixels <= MAX_PIXELS
    }
}

/// Row and column of every patch in the order of the tower's input: cell by cell, raster order in both.
pub(crate) fn block_order(grid: Grid, merge: usize) -> Vec<(usize, usize)> {
    let mut places = Vec::with_capacity(grid.n_tokens());
    for cell_row in 0..grid.rows / merge {
        for cell_col in 0..grid.cols / merge {
            for i in 0..merge * merge {
                places.push((cell_row * merge + i / merge, cell_col * merge + i % merge));
            }
        }
    }
    places
}

/// The fields as the file may have them.
#[derive(Debug, Default, Deserialize)]
struct RawQwenProcessor {
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    size: Option<RawBudget>,
    patch_size: Option<u32>,
    temporal_patch_size: Option<u32>,
    merge_size: Option<u32>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    rescale_factor: Option<f64>,
    resample: Option<i64>,
}

/// The budget as newer files spell it: pixels, whatever the names say.
#[derive(Debug, Deserialize)]
struct RawBudget {
    #[serde(alias = "min_pixels")]
    shortest_edge: Option<u64>,
    #[serde(alias = "max_pixels")]
    longest_edge: Option<u64>,
}

impl RawQwenProcessor {
    fn resolve(self, path: &Path) -> Result<QwenImageProcessor, LoadError> {
        self.check_steps(path)?;
        let base = QwenImageProcessor::default();
        let (newer_min, newer_max) = self
            .size
            .map_or((None, None), |size| (size.shortest_edge, size.longest_edge));
        let processor = QwenImageProcessor {
            patch_size: self.patch_size.unwrap_or(base.patch_size),
            temporal_patch_size: self.temporal_patch_size.unwrap_or(base.temporal_patch_size),
            merge_size: self.merge_size.unwrap_or(base.merge_size),
            min_pixels: self.min_pixels.or(newer_min).unwrap_or(base.min_pixels),
            max_pixels: self.max_pixels.or(newer_max).unwrap_or(base.max_pixels),
            mean: self.image_mean.unwrap_or(CLIP_MEAN),
            std: self.image_std.unwrap_or(CLIP_STD),
            pad_square: false,
        };
        for (field, value) in [
            ("patch_size", processor.patch_size),
            ("temporal_patch_size", processor.temporal_patch_size),
            ("merge_size", processor.merge_size),
        ] {
            if !(1..=MAX_SIDE).contains(&value) {
                return Err(refuse(
                    path,
                    field,
                    value,
                    &format!("a number from 1 to {MAX_SIDE}"),
                ));
            }
        }
        if processor.std.iter().any(|std| *std <= 0.0) {
            return Err(refuse(
                path,
                "image_std",
                format!("{:?}", processor.std),
                "positive numbers",
            ));
        }
        if !processor.has_sound_budget() {
            let wanted = format!("1 <= min_pixels <= max_pixels <= {MAX_PIXELS}");
            let found = format!("{} for min_pixels {}", processor.max_pixels, processor.min_pixels);
            return Err(refuse(path, "max_pixels", found, &wanted));
        }
        Ok(processor)
    }

    fn check_steps(&self, path: &Path) -> Result<(), LoadError> {
        let steps = [
            ("do_resize", self.do_resize),
            ("do_rescale", self.do_rescale),
            ("do_normalize", self.do_normalize),
        ];
        check_steps(path, &steps, self.resample, self.rescale_factor)
    }
}

/// Largest side of a patch or a cell that a file may ask for.
const MAX_SIDE: u32 = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// Patches of 2 pixels, cells of 2 patches.
    fn small() -> QwenImageProcessor {
        QwenImageProcessor {
            patch_size: 2,
            min_pixels: 16,
            max_pixels: 1 << 20,
            ..QwenImageProcessor::default()
        }
    }

    #[test]
    fn patches_stand_cell_by_cell_and_frames_repeat() -> Result<(), Box<dyn std::error::Error>> {
        let image = RgbImage::from_fn(8, 4, |x, y| Rgb([x as u8, y as u8, 100]));
        let processor = QwenImageProcessor {
            mean: [0.0; 3],
            std: [1.0 / 255.0; 3],
            ..small()
        };
        let (values, grids) = processor.preprocess(&[image], &Device::flex())?;
        assert_eq!(
            (values.dims(), grids),
            ([8, 6, 2, 2], vec![Grid { rows: 2, cols: 4 }])
        );
        let values: Vec<f32> = values.into_data().try_to_vec()?;
        let patch = |i: usize| {
            values[i * 24..][..24]
                .iter()
                .map(|v| v.round() as i32)
                .collect::<Vec<_>>()
        };
        // The fifth patch begins the second cell: columns 4 and 5, rows 0 and 1.
        let red = [4, 5, 4, 5];
        let green = [0, 0, 1, 1];
        assert_eq!(patch(4), [red, red, green, green, [100; 4], [100; 4]].concat());
        assert_eq!(patch(3)[..4], [2, 3, 2, 3]);
        assert_eq!(patch(3)[8..12], [2, 2, 3, 3]);
        Ok(())
    }

    #[test]
    fn long_images_are_refused_unless_they_are_padded() -> Result<(), Box<dyn std::error::Error>> {
        let (dot, line) = (RgbImage::new(1, 1), RgbImage::new(20000, 10));
        let processor = QwenImageProcessor::default();
        let (_, grids) = processor.preprocess(std::slice::from_ref(&dot), &Device::flex())?;
        assert_eq!(grids, [Grid { rows: 4, cols: 4 }]);
        let outcome = processor.preprocess(&[dot, line.clone()], &Device::flex());
        assert!(matches!(outcome, Err(VlmError::Image { index: 1, .. })));
        let square = QwenImageProcessor {
            pad_square: true,
            ..processor.with_budget(Some(60 * 60), Some(60 * 60))?
        };
        let (_, grids) = square.preprocess(&[line], &Device::flex())?;
        assert_eq!(grids, [Grid { rows: 4, cols: 4 }]);
        Ok(())
    }

    #[test]
    fn padded_images_have_one_count_where_one_square_fits() -> Result<(), LoadError> {
        let budget = (Some(994 * 994), Some(1020 * 1020));
        let processor = QwenImageProcessor::default().with_budget(budget.0, budget.1)?;
        for side in 1..4000 {
            let sides = smart_resize(side, side, 28, processor.min_pixels, processor.max_pixels);
            assert_eq!(sides, Some((1008, 1008)), "{side}");
        }
        Ok(())
    }

    #[test]
    fn old_and_new_spellings_of_the_budget_are_read() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        assert_eq!(QwenImageProcessor::from_dir(&dir)?, QwenImageProcessor::default());
        let path = dir.path().join("preprocessor_config.json");
        for text in [
            r#"{"min_pixels": 784, "max_pixels": 7840}"#,
            r#"{"size": {"shortest_edge": 784, "longest_edge": 7840}}"#,
            r#"{"size": {"min_pixels": 784, "max_pixels": 7840}, "resample": 3}"#,
        ] {
            std::fs::write(&path, text)?;
            let read = QwenImageProcessor::from_dir(&dir)?;
            assert_eq!((read.min_pixels, read.max_pixels), (784, 7840), "{text}");
        }
        // All settings of a processor in one file, which counts.
        let nested = dir.path().join("processor_config.json");
        std::fs::write(
            &nested,
            r#"{"image_processor": {"min_pixels": 3136, "max_pixels": 62720}, "processor_class": "Qwen2_5_VLProcessor"}"#,
        )?;
        let read = QwenImageProcessor::from_dir(&dir)?;
        assert_eq!((read.min_pixels, read.max_pixels), (3136, 62720));
        std::fs::remove_file(&path)?;
        let grid = QwenImageProcessor::from_dir(&dir)?
            .grid(500, 375)
            .ok_or("no grid")?;
        assert_eq!(grid.n_tokens() / 4, 70);
        std::fs::remove_file(&nested)?;
        for text in [
            r#"{"min_pixels": 0}"#,
            r#"{"max_pixels": 100}"#,
            r#"{"max_pixels": 1000000000000}"#,
            r#"{"merge_size": 0}"#,
            r#"{"patch_size": 100000}"#,
            r#"{"image_std": [0.0, 1.0, 1.0]}"#,
            r#"{"resample": 2}"#,
            r#"{"do_normalize": false}"#,
        ] {
            std::fs::write(&path, text)?;
            let outcome = QwenImageProcessor::from_dir(&dir);
            assert!(matches!(outcome, Err(LoadError::Config { .. })), "{text}");
        }
        let outcome = QwenImageProcessor::default().with_budget(Some(1 << 25), None);
        assert!(matches!(outcome, Err(LoadError::Request { .. })));
        Ok(())
    }
}
