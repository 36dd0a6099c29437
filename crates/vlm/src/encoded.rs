//! Images and texts on their way into a model.

use burn::tensor::{Bool, Int, Tensor, TensorData};
use diffprune_pruner::{Grid, Layout, Observed};
use image::RgbImage;

use crate::{GenerateOptions, VisualInput, VlmError};

/// A batch of images as the vision encoder takes them.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// All rows of all images: views `[views, 3, side, side]`, or patches `[patches, 3 * 2, 14, 14]` in Qwen2.5-VL.
    pub values: Tensor<4>,
    /// The images, in the order of their rows.
    pub images: Vec<ImageShape>,
}

/// The shape that preprocessing gave an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Width of the original, in pixels.
    pub width: u32,
    /// Height of the original, in pixels.
    pub height: u32,
    /// Rows of [`Pixels::values`] that belong to the image.
    pub rows: usize,
    /// The grid of the rows: the tiles of LLaVA-NeXT, the patches of Qwen2.5-VL; 1 by 1 in LLaVA-1.5.
    pub grid: Grid,
}

impl ImageShape {
    /// An image that the encoder takes as a single view.
    pub fn single_view(image: &RgbImage) -> Self {
        Self {
            width: image.width(),
            height: image.height(),
            rows: 1,
            grid: Grid { rows: 1, cols: 1 },
        }
    }
}

/// Refuses images without pixels.
///
/// # Errors
/// [`VlmError::Image`] about the first one.
pub fn check_images(images: &[RgbImage]) -> Result<(), VlmError> {
    let empty = |image: &RgbImage| image.width() == 0 || image.height() == 0;
    match images.iter().position(empty) {
        None => Ok(()),
        Some(index) => Err(VlmError::Image {
            index,
            found: format!("{} by {} pixels", images[index].width(), images[index].height()),
            wanted: "at least one pixel".into(),
        }),
    }
}

/// The output of the vision encoder for a batch of images.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Visual tokens as the projector takes them, `[b, n, d_vision]`, f32; short rows are padded at the end.
    pub tokens: Tensor<3>,
    /// Real tokens, `[b, n]`, true = real; `None` when every row is full.
    pub mask: Option<Tensor<2, Bool>>,
    /// The layout of each image's tokens.
    pub layouts: Vec<Layout>,
    /// The signals that were asked for beside the tokens.
    pub observed: Observed,
}

impl Encoded {
    /// Number of real tokens of each image.
    pub fn counts(&self) -> Vec<usize> {
        self.layouts.iter().map(Layout::n_tokens).collect()
    }

    /// Chosen images, in the order given; an image may be chosen more than once.
    ///
    /// # Panics
    /// When there is no image of that number.
    pub fn rows(&self, images: &[usize]) -> Self {
        let places: Vec<i64> = images.iter().map(|&image| image as i64).collect();
        let places = TensorData::new(places, [images.len()]);
        let places = Tensor::<1, Int>::from_data(places, &self.tokens.device());
        Self {
            tokens: self.tokens.clone().select(0, places.clone()),
            mask: self.mask.clone().map(|mask| mask.select(0, places)),
            layouts: images.iter().map(|&image| self.layouts[image].clone()).collect(),
            observed: self.observed.rows(images),
        }
    }

    /// Every token of each image.
    pub fn all_indices(&self) -> Vec<Vec<usize>> {
        self.counts()
            .into_iter()
            .map(|count| (0..count).collect())
            .collect()
    }
}

/// A batch of token sequences with the tokens whose prediction is scored.
#[derive(Debug, Clone)]
pub struct TextBatch {
    /// Ids of each sequence, with one image placeholder per image (not expanded).
    pub ids: Vec<Vec<u32>>,
    /// For each id, true when it is a target of the loss (the first id never is).
    pub targets: Vec<Vec<bool>>,
}

/// Prompts to continue, as [`Vlm::generate_with`](crate::Vlm::generate_with) takes them.
#[derive(Debug, Clone, Copy)]
pub struct Prompts<'a> {
    /// The ids of each prompt, with one placeholder per image.
    pub ids: &'a [Vec<u32>],
    /// The images of all prompts, consumed by the placeholders in order; without them placeholders are dropped.
    pub visual: Option<&'a VisualInput>,
    /// Length, stop ids and sampling.
    pub options: &'a GenerateOptions,
}

impl<'a> Prompts<'a> {
    /// These ids with these images, to be continued with these options.
    pub const fn new(
        ids: &'a [Vec<u32>],
        visual: Option<&'a VisualInput>,
        options: &'a GenerateOptions,
    ) -> Self {
        Self { ids, visual, options }
    }
}
