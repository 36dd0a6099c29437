//! Pictures with one class each.

use std::path::Path;

use diffprune_eval::ImageNet;
use diffprune_mini::{ClassScenes, Split, WorldConfig, class_names, render};
use diffprune_vlm_adapters::load_image;
use image::RgbImage;

use crate::PilotError;

/// Pictures, each with its class, and where they come from.
#[derive(Debug, Clone)]
pub struct LabelledImages {
    /// The pictures.
    pub images: Vec<RgbImage>,
    /// For each picture the index of its class among the classifier's outputs.
    pub classes: Vec<usize>,
    /// Number of classes.
    pub n_classes: usize,
    /// A few words on their origin, for captions.
    pub source: String,
}

impl LabelledImages {
    /// The first `count` test pictures of the small world's classifier.
    ///
    /// # Errors
    /// When no picture can be drawn.
    pub fn generated(count: usize, seed: u64) -> Result<Self, PilotError> {
        let scenes = ClassScenes::new(WorldConfig::default(), seed, Split::Test)?;
        let drawn = (0..count as u64).map(|index| scenes.get(index));
        let (images, classes) = drawn.map(|of| (render(&of.scene), of.class)).unzip();
        Ok(Self {
            images,
            classes,
            n_classes: class_names().len(),
            source: format!("{count} generated test pictures, seed {seed}"),
        })
    }

    /// At most `count` pictures of an ImageNet validation folder, evenly spread over it.
    ///
    /// # Errors
    /// When the folder has another layout, or a picture of the selection cannot be read.
    pub fn imagenet(root: &Path, count: usize) -> Result<Self, PilotError> {
        let data = ImageNet::read(root, false)?;
        let total = data.samples.len();
        let chosen: Vec<_> = (0..count.min(total))
            .map(|place| &data.samples[place * total / count.min(total)])
            .collect();
        let images = chosen
            .iter()
            .map(|sample| load_image(&sample.image))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            images,
            classes: chosen.iter().map(|sample| sample.class).collect(),
            n_classes: data.classes.len(),
            source: format!(
                "{} of {total} pictures of an ImageNet validation folder ({} unusable ones left out)",
                chosen.len(),
                data.problems.len()
            ),
        })
    }

    /// The same pictures, for a classifier of so many classes.
    ///
    /// # Errors
    /// When they have another number of classes.
    pub fn for_classes(self, n_classes: usize) -> Result<Self, PilotError> {
        match self.n_classes == n_classes {
            true => Ok(self),
            false => Err(PilotError::Plan {
                field: "classifier",
                found: format!("{n_classes} classes"),
                expected: format!(
                    "the {} of the pictures; give --classifier and --imagenet together",
                    self.n_classes
                ),
            }),
        }
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// True without pictures.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}
