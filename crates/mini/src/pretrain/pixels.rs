//! Scenes as a vision tower takes them.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use rayon::prelude::*;

use super::body::Body;
use super::labels::SceneLabels;
use crate::{MiniError, Scene, render};

/// A few scenes, their pixels and the truth about them.
pub struct Pictures {
    /// What can be asked about each scene.
    pub labels: Vec<SceneLabels>,
    pixels: TensorData,
}

impl Pictures {
    /// Draws scenes.
    ///
    /// # Errors
    /// When the model cannot take pictures of this size.
    pub fn draw(body: &Body, scenes: &[Scene]) -> Result<Self, MiniError> {
        let images: Vec<RgbImage> = scenes.par_iter().map(render).collect();
        Ok(Self {
            labels: scenes.par_iter().map(|scene| body.labels(scene)).collect(),
            pixels: body.pixels(&images)?,
        })
    }

    /// Number of scenes.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Pixels as the family's tower takes them.
    pub fn pixels(&self, device: &Device) -> Tensor<4> {
        Tensor::from_data(self.pixels.clone(), device)
    }
}
