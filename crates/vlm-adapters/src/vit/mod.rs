//! Vision transformers that classify: ViT and DeiT, as timm and `transformers` publish them.

mod model;
mod processor;
mod save;
mod weights;

use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use diffprune_pruner::{Grid, Layout, Observed, Signals};
use image::RgbImage;

pub use model::{VitEncoding, VitModel};
pub use weights::canonical_vit_name;

use crate::{Encoded, ImageProcessor, LoadError, VitConfig};

/// A classifier with its image processor, frozen.
#[derive(Debug, Clone)]
pub struct Vit {
    /// Sizes.
    pub config: VitConfig,
    /// The network.
    pub model: VitModel,
    /// Image processor, as the checkpoint's files ask for it.
    pub processor: ImageProcessor,
}

impl Vit {
    /// Reads a checkpoint folder in the layout of timm or of `transformers`, with weights held as f32.
    ///
    /// # Errors
    /// When a file is absent or damaged, the architecture is another one, or a tensor is missing, unknown or of
    /// another shape than the configuration implies.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<Self, LoadError> {
        Self::load_with(dir, DType::F32, device)
    }

    /// Like [`Self::load`], with weights held as `dtype` (f32, f16 or bf16).
    ///
    /// # Errors
    /// As [`Self::load`], and when a value does not fit `dtype`.
    pub fn load_with(dir: impl AsRef<Path>, dtype: DType, device: &Device) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        let config = VitConfig::from_dir(dir)?;
        Ok(Self {
            processor: processor::from_dir(dir, &config)?,
            model: config.load_weights(dir, dtype, &device.clone().without_autodiff())?,
            config,
        })
    }

    /// Images to pixels `[b, 3, image_size, image_size]` on the device of the weights.
    pub fn preprocess(&self, images: &[RgbImage]) -> Tensor<4> {
        self.processor.preprocess(images, &self.model.device())
    }

    /// Scores of the classes, `[b, n_classes]`, f32. See [`VitModel::forward`].
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        self.model.forward(pixels).cast(DType::F32)
    }

    /// Scores of the classes when the encoder sees only some patches, `[b, n_classes]`, f32. See
    /// [`VitModel::forward_keep`].
    ///
    /// # Panics
    /// When there is not one list per image, or an index is not below the number of patches.
    pub fn forward_keep(&self, pixels: Tensor<4>, keep_indices: &[Vec<usize>]) -> Tensor<2> {
        self.model.forward_keep(pixels, keep_indices).cast(DType::F32)
    }

    /// The input of a pruning method: the patches in the last block's output (before the final norm) as one raster of the
    /// square that the network sees and, when asked for, the last block's `[CLS]` attention over the patches and the
    /// hidden state of `[CLS]`. Other signals are not computed.
    pub fn encode(&self, pixels: Tensor<4>, signals: Signals) -> Encoded {
        let [batch, ..] = pixels.dims();
        let encoding = self.model.encode(pixels, -1, signals.cls_attention);
        let (rows, cols) = (self.config.blocks.grid_side(), self.config.blocks.grid_side());
        let class = signals
            .class_tokens
            .then(|| encoding.hidden.clone().narrow(1, 0, 1));
        Encoded {
            tokens: self.model.patches(encoding.hidden).cast(DType::F32),
            mask: None,
            layouts: vec![Layout::from(Grid { rows, cols }); batch],
            observed: Observed {
                cls_attention: encoding.cls_attention.map(|row| row.cast(DType::F32)),
                class_tokens: class.map(|class| class.cast(DType::F32)),
                ..Observed::default()
            },
        }
    }
}
