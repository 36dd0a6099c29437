//! The preprocessing of LLaVA-1.5: resize, crop or pad, normalise.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use diffprune_images::{Canvas, Crop, Filter};
use image::{Rgb, RgbImage};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::LoadError;
use crate::config::{note_default_images, read_image_settings, read_json};

/// The way in which an image that is not square becomes square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageMode {
    /// The shorter side fills the square; both ends of the longer side are cut off. What the converted checkpoints'
    /// own settings say.
    CenterCrop,
    /// The image is centred on a square of the mean colour. What the original evaluation code does, and hence the
    /// numbers of most pruning papers. One deviation: [`load_image`](crate::load_image) lays transparent pixels over
    /// white before this, where that code drops the alpha channel and shows the stored colours.
    PadSquare,
}

/// The side that loses one pixel more when what is cut off does not halve evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CropCenter {
    /// One pixel less is cut off at the left and at the top. What `transformers` does.
    #[default]
    Down,
    /// Half of it is rounded to the nearest even number. What torchvision, and with it timm, does.
    Nearest,
}

/// Turns images into the vision tower's input.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageProcessor {
    /// Side of the square that comes out, in pixels.
    pub size: u32,
    /// Length of the shorter side after resizing, in pixels; at least `size`.
    pub shortest_edge: u32,
    /// `true` if resizing keeps the ratio of the sides; `false` squashes the image to a square first, as files ask for
    /// that give `size` as height and width.
    pub keep_ratio: bool,
    /// Mean of each channel, subtracted from levels in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
    /// Crop or pad.
    pub mode: ImageMode,
    /// Filter of the resizing.
    pub filter: Filter,
    /// The centring of a crop.
    pub crop: CropCenter,
}

/// Mean of the images that CLIP was trained on.
pub(super) const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Their standard deviation.
pub(super) const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

impl ImageProcessor {
    /// CLIP's settings for images of side `size`, in the evaluation code's mode, [`ImageMode::PadSquare`].
    ///
    /// # Panics
    /// If `size` is zero.
    pub fn clip(size: u32) -> Self {
        assert!(size > 0, "images must have at least one pixel");
        let (mean, std) = (CLIP_MEAN, CLIP_STD);
        Self {
            size,
            shortest_edge: size,
            keep_ratio: true,
            mean,
            std,
            mode: ImageMode::PadSquare,
            filter: Filter::Bicubic,
            crop: CropCenter::Down,
        }
    }

    /// The same settings in another mode.
    pub fn with_mode(self, mode: ImageMode) -> Self {
        Self { mode, ..self }
    }

    /// Read the settings of the checkpoint in `dir`: `image_processor` in `processor_config.json`, else
    /// `preprocessor_config.json`; without either, [`clip`](Self::clip) with the image size that `config.json` gives (see
    /// [`take_notes`](crate::take_notes)). The mode is [`ImageMode::PadSquare`] in both cases, because the file cannot express it.
    ///
    /// # Errors
    /// [`LoadError::Json`]; [`LoadError::Config`] for settings that this pipeline does not have (another filter, a
    /// step turned off, a crop larger than the resized image); [`LoadError::MissingFile`] without either file.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        match read_image_settings::<RawProcessor>(dir)? {
            Some((path, raw)) => raw.resolve(&path),
            None => {
                let processor = Self::from_model_config(&dir.join("config.json"))?;
                note_default_images(
                    dir,
                    &format!("CLIP's settings for {0} by {0} pixels are", processor.size),
                );
                Ok(processor)
            }
        }
    }

    /// Read the settings of a classifier in `dir`, from the same files; without them, `fallback`.
    ///
    /// # Errors
    /// As [`from_dir`](Self::from_dir), and [`LoadError::Config`] for images of another size than `fallback`'s.
    pub(crate) fn for_classifier(dir: &Path, fallback: Self) -> Result<Self, LoadError> {
        match read_image_settings::<RawProcessor>(dir)? {
            Some((path, raw)) => raw.resolve_classifier(&path, &fallback),
            None => {
                note_default_images(dir, "the defaults of the classifier's kind are");
                Ok(fallback)
            }
        }
    }

    fn from_model_config(path: &Path) -> Result<Self, LoadError> {
        let model: Value = read_json(path, "a model configuration")?;
        let size = model
            .pointer("/vision_config/image_size")
            .cloned()
            .unwrap_or(Value::from(336));
        let side = size
            .as_u64()
            .and_then(|size| u32::try_from(size).ok())
            .filter(|&size| size > 0);
        side.map(Self::clip)
            .ok_or_else(|| refuse(path, "vision_config.image_size", &size, "a positive number"))
    }

    /// The 8-bit pixels that normalisation starts from, `size` by `size`.
    ///
    /// # Panics
    /// If the image has no pixels.
    pub fn pixels8(&self, image: &RgbImage) -> RgbImage {
        let (width, height) = match self.mode {
            ImageMode::PadSquare => (self.shortest_edge, self.shortest_edge),
            ImageMode::CenterCrop => self.resized(image.width(), image.height()),
        };
        let canvas = match self.mode {
            ImageMode::PadSquare => Canvas::square(image, self.background()),
            ImageMode::CenterCrop => Canvas::of(image),
        };
        let (x, y) = (self.offset(width - self.size), self.offset(height - self.size));
        canvas.with_filter(self.filter).resize(
            width,
            height,
            Crop {
                x,
                y,
                width: self.size,
                height: self.size,
            },
        )
    }

    /// Preprocess a batch of images.
    ///
    /// # Shapes
    /// - output: `[b, 3, size, size]`, f32
    ///
    /// # Panics
    /// If an image has no pixels.
    pub fn preprocess(&self, images: &[RgbImage], device: &Device) -> Tensor<4> {
        let pictures: Vec<RgbImage> = images.par_iter().map(|image| self.pixels8(image)).collect();
        self.normalise(&pictures, device)
    }

    /// Pictures of `size` by `size` pixels as numbers.
    ///
    /// # Shapes
    /// - output: `[pictures, 3, size, size]`, f32
    pub(super) fn normalise(&self, pictures: &[RgbImage], device: &Device) -> Tensor<4> {
        let side = self.size as usize;
        let levels = levels(self.mean, self.std);
        let mut values = vec![0.0; pictures.len() * 3 * side * side];
        values
            .par_chunks_mut(3 * side * side)
            .zip(pictures)
            .for_each(|(out, picture)| {
                let pixels = picture.as_raw().as_chunks::<3>().0;
                for (channel, (plane, levels)) in out.chunks_exact_mut(side * side).zip(&levels).enumerate() {
                    for (value, pixel) in plane.iter_mut().zip(pixels) {
                        *value = levels[usize::from(pixel[channel])];
                    }
                }
            });
        Tensor::from_data(TensorData::new(values, [pictures.len(), 3, side, side]), device)
    }

    /// The part of what is cut off that goes at the beginning.
    fn offset(&self, rest: u32) -> u32 {
        match self.crop {
            CropCenter::Down => rest / 2,
            CropCenter::Nearest => (f64::from(rest) / 2.0).round_ties_even() as u32,
        }
    }

    /// Size after resizing, before the crop.
    fn resized(&self, width: u32, height: u32) -> (u32, u32) {
        let edge = self.shortest_edge;
        if !self.keep_ratio {
            return (edge, edge);
        }
        let (short, long) = (width.min(height).max(1), width.max(height));
        let scaled = u64::from(edge) * u64::from(long) / u64::from(short);
        let scaled = u32::try_from(scaled).unwrap_or(u32::MAX);
        if width <= height {
            (edge, scaled)
        } else {
            (scaled, edge)
        }
    }

    /// The mean as a colour, rounded towards zero.
    fn background(&self) -> Rgb<u8> {
        background(self.mean)
    }
}

/// A mean as a colour, rounded towards zero.
pub(super) fn background(mean: [f32; 3]) -> Rgb<u8> {
    Rgb(mean.map(|mean| (255.0 * decimal(mean)) as u8))
}

/// The normalised value of each of the 256 levels, per channel.
pub(super) fn levels(mean: [f32; 3], std: [f32; 3]) -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| {
        std::array::from_fn(|level| {
            let share = (level as f64 * (1.0 / 255.0)) as f32;
            (share - mean[channel]) / std[channel]
        })
    })
}

/// The shortest decimal number that reads back as `x`: what the file said before it was rounded to f32.
fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

pub(super) fn refuse(path: &Path, field: &str, found: impl ToString, wanted: &str) -> LoadError {
    LoadError::Config {
        path: path.into(),
        field: field.into(),
        found: found.to_string(),
        wanted: wanted.into(),
        remedy: "use the checkpoint's published file; other pipelines are not implemented".into(),
    }
}

/// The fields as the file may have them.
#[derive(Debug, Deserialize)]
struct RawProcessor {
    size: Option<RawSize>,
    crop_size: Option<RawSize>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    do_resize: Option<bool>,
    do_center_crop: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    rescale_factor: Option<f64>,
    resample: Option<i64>,
}

/// A size in the file: one number in old files, an object in newer ones.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum RawSize {
    Side(u32),
    ShortestEdge { shortest_edge: u32 },
    Sides { height: u32, width: u32 },
}

impl RawProcessor {
    fn resolve(self, path: &Path) -> Result<ImageProcessor, LoadError> {
        self.check_steps(path)?;
        let (shortest_edge, keep_ratio) = match self.size {
            None => (336, true),
            Some(RawSize::Side(edge) | RawSize::ShortestEdge { shortest_edge: edge }) => (edge, true),
            Some(RawSize::Sides { height, width }) if height == width => (height, false),
            Some(RawSize::Sides { height, width }) => {
                return Err(refuse(path, "size", format!("{height} by {width}"), "a square"));
            }
        };
        let size = match self.crop_size {
            None => shortest_edge,
            Some(RawSize::Side(side) | RawSize::ShortestEdge { shortest_edge: side }) => side,
            Some(RawSize::Sides { height, width }) if height == width => height,
            Some(RawSize::Sides { height, width }) => {
                return Err(refuse(
                    path,
                    "crop_size",
                    format!("{height} by {width}"),
                    "a square",
                ));
            }
        };
        if size == 0 || size > shortest_edge {
            let wanted = format!("a positive number not above the resized side {shortest_edge}");
            return Err(refuse(path, "crop_size", size, &wanted));
        }
        let mean = self.image_mean.unwrap_or(CLIP_MEAN);
        let std = self.image_std.unwrap_or(CLIP_STD);
        if std.iter().any(|std| *std <= 0.0) {
            return Err(refuse(path, "image_std", format!("{std:?}"), "positive numbers"));
        }
        Ok(ImageProcessor {
            size,
            shortest_edge,
            keep_ratio,
            mean,
            std,
            mode: ImageMode::PadSquare,
            filter: Filter::Bicubic,
            crop: CropCenter::Down,
        })
    }

    /// The settings of a classifier's file: numbers are sides of squares, absent fields those of `fallback`.
    fn resolve_classifier(self, path: &Path, fallback: &ImageProcessor) -> Result<ImageProcessor, LoadError> {
        let cropped = self.do_center_crop.unwrap_or(self.crop_size.is_some());
        let filter = match self.resample {
            None => fallback.filter,
            Some(2) => Filter::Bilinear,
            Some(3) => Filter::Bicubic,
            Some(other) => return Err(refuse(path, "resample", other, "2 (bilinear) or 3 (bicubic)")),
        };
        let squashed = !matches!(self.size, Some(RawSize::ShortestEdge { .. }));
        let raw = Self {
            size: Some(self.size.unwrap_or(RawSize::Side(fallback.shortest_edge))),
            crop_size: self.crop_size.filter(|_| cropped),
            image_mean: Some(self.image_mean.unwrap_or(fallback.mean)),
            image_std: Some(self.image_std.unwrap_or(fallback.std)),
            do_center_crop: None,
            resample: None,
            ..self
        };
        let processor = ImageProcessor {
            filter,
            keep_ratio: !squashed,
            mode: ImageMode::CenterCrop,
            ..raw.resolve(path)?
        };
        if processor.size == fallback.size {
            Ok(processor)
        } else {
            let field = if cropped { "crop_size" } else { "size" };
            Err(refuse(
                path,
                field,
                processor.size,
                &format!("{}, as config.json says", fallback.size),
            ))
        }
    }

    fn check_steps(&self, path: &Path) -> Result<(), LoadError> {
        let steps = [
            ("do_resize", self.do_resize),
            ("do_center_crop", self.do_center_crop),
            ("do_rescale", self.do_rescale),
            ("do_normalize", self.do_normalize),
        ];
        check_steps(path, &steps, self.resample, self.rescale_factor)
    }
}

/// Refuses files that turn a step off, change its filter or scale to another range than 0 to 1.
pub(super) fn check_steps(
    path: &Path,
    steps: &[(&str, Option<bool>)],
    resample: Option<i64>,
    rescale_factor: Option<f64>,
) -> Result<(), LoadError> {
    if let Some((field, _)) = steps.iter().find(|(_, step)| *step == Some(false)) {
        return Err(refuse(path, field, false, "true"));
    }
    if let Some(filter) = resample.filter(|&filter| filter != 3) {
        return Err(refuse(path, "resample", filter, "3 (bicubic)"));
    }
    match rescale_factor.filter(|factor| (factor * 255.0 - 1.0).abs() > 1e-9) {
        Some(factor) => Err(refuse(path, "rescale_factor", factor, "1/255")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_is_the_mean_rounded_down() {
        assert_eq!(ImageProcessor::clip(336).background(), Rgb([122, 116, 104]));
        let half = ImageProcessor {
            mean: [0.6, 0.2, 1.0],
            ..ImageProcessor::clip(8)
        };
        assert_eq!(half.background(), Rgb([153, 51, 255]));
    }

    #[test]
    fn long_sides_are_rounded_down() {
        let processor = ImageProcessor::clip(336);
        assert_eq!(processor.resized(640, 427), (503, 336));
        assert_eq!(processor.resized(97, 211), (336, 730));
        assert_eq!(processor.resized(20000, 10), (672_000, 336));
    }

    #[test]
    fn extreme_shapes_cost_no_more_than_themselves() {
        for mode in [ImageMode::CenterCrop, ImageMode::PadSquare] {
            let processor = ImageProcessor::clip(56).with_mode(mode);
            for (width, height) in [(1, 1), (20000, 10), (10, 20000), (40000, 1)] {
                let image = RgbImage::from_pixel(width, height, Rgb([10, 20, 30]));
                assert_eq!(processor.pixels8(&image).dimensions(), (56, 56));
                assert_eq!(
                    processor.preprocess(&[image], &Device::flex()).dims(),
                    [1, 3, 56, 56]
                );
            }
        }
    }

    #[test]
    fn old_and_new_spellings_of_sizes_are_read() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("preprocessor_config.json");
        for (text, wanted) in [
            (r#"{"size": 224, "crop_size": 224}"#, (224, 224, true)),
            (
                r#"{"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}"#,
                (224, 256, true),
            ),
            (r#"{"size": {"height": 64, "width": 64}}"#, (64, 64, false)),
        ] {
            std::fs::write(&path, text)?;
            let read = ImageProcessor::from_dir(&dir)?;
            assert_eq!((read.size, read.shortest_edge, read.keep_ratio), wanted);
        }
        for text in [
            r#"{"resample": 2}"#,
            r#"{"do_normalize": false}"#,
            r#"{"size": 224, "crop_size": 336}"#,
        ] {
            std::fs::write(&path, text)?;
            assert!(
                matches!(ImageProcessor::from_dir(&dir), Err(LoadError::Config { .. })),
                "{text}"
            );
        }
        let nested = dir.path().join("processor_config.json");
        std::fs::write(
            &nested,
            r#"{"image_token": "<image>", "image_processor": {"size": {"shortest_edge": 56},
                "crop_size": {"height": 56, "width": 56}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}}"#,
        )?;
        let read = ImageProcessor::from_dir(&dir)?;
        assert_eq!((read.size, read.mean, read.std), (56, [0.5; 3], [0.5; 3]));
        std::fs::write(&nested, r#"{"image_processor": {"size": "wide"}}"#)?;
        assert!(
            matches!(ImageProcessor::from_dir(&dir), Err(LoadError::Json { path, .. }) if path == nested),
            "the file is named"
        );
        std::fs::remove_file(&nested)?;
        std::fs::remove_file(&path)?;
        assert!(matches!(
            ImageProcessor::from_dir(&dir),
            Err(LoadError::MissingFile { .. })
        ));
        std::fs::write(
            dir.path().join("config.json"),
            r#"{"vision_config": {"image_size": 70}}"#,
        )?;
        crate::take_notes();
        assert_eq!(ImageProcessor::from_dir(&dir)?, ImageProcessor::clip(70));
        assert_eq!(crate::take_notes().len(), 1);
        Ok(())
    }
}
