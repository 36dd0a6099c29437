//! Scenes as the vision tower takes them.

use burn::tensor::{Device, Tensor, TensorData};
use diffprune_vlm::ImageProcessor;

use crate::{Scene, SceneDataset, render_into};

/// A few scenes and their normalised pixels.
pub struct Pictures {
    /// The scenes.
    pub scenes: Vec<Scene>,
    pixels: Vec<f32>,
    side: usize,
}

impl Pictures {
    /// Draws scenes `first .. first + n` of a dataset.
    pub fn draw(dataset: &SceneDataset, first: u64, n: usize) -> Self {
        let scenes: Vec<Scene> = (first..first + n as u64)
            .map(|index| dataset.get(index))
            .collect();
        let side = dataset.config().image_size as usize;
        let processor = ImageProcessor::clip(dataset.config().image_size);
        let mut bytes = vec![0u8; 3 * side * side];
        let mut pixels = vec![0f32; n * 3 * side * side];
        for (scene, out) in scenes.iter().zip(pixels.chunks_exact_mut(3 * side * side)) {
            render_into(scene, &mut bytes);
            normalise(&bytes, &processor, out);
        }
        Self { scenes, pixels, side }
    }

    /// Pixels, `[n, 3, side, side]`.
    pub fn pixels(&self, device: &Device) -> Tensor<4> {
        let shape = [self.scenes.len(), 3, self.side, self.side];
        Tensor::from_data(TensorData::new(self.pixels.clone(), shape), device)
    }
}

/// Interleaved bytes to normalised planes.
fn normalise(bytes: &[u8], processor: &ImageProcessor, out: &mut [f32]) {
    let n = bytes.len() / 3;
    for (channel, plane) in out.chunks_exact_mut(n).enumerate() {
        let (scale, shift) = (
            1.0 / (255.0 * processor.std[channel]),
            processor.mean[channel] / processor.std[channel],
        );
        for (value, pixel) in plane.iter_mut().zip(bytes.chunks_exact(3)) {
            *value = f32::from(pixel[channel]) * scale - shift;
        }
    }
}
