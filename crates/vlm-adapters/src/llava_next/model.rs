//! The network of LLaVA-NeXT, without files and texts, and its weights in the hub's layout.

use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{DType, Device, Tensor};

use crate::llava15::load_table;
use crate::weights::{Table, save_checkpoint};
use crate::{LlavaModel, LlavaNextConfig, LoadError};

/// The network of LLaVA-NeXT: that of LLaVA-1.5, and a vector that ends the rows of an image's map.
#[derive(Module, Debug)]
pub struct LlavaNextModel {
    /// Vision encoder, projector and language model.
    pub llava: LlavaModel,
    /// The newline vector, `[d_model]`.
    pub image_newline: Param<Tensor<1>>,
}

impl LlavaNextConfig {
    /// A model with random weights.
    ///
    /// # Panics
    /// When [`LlavaNextConfig::validate`] would refuse the sizes.
    pub fn init(&self, device: &Device) -> LlavaNextModel {
        let d_model = self.llava.text.hidden_size;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: (d_model as f64).powf(-0.5),
        };
        LlavaNextModel {
            llava: self.llava.init(device),
            image_newline: normal.init([d_model], device),
        }
    }

    /// Reads the weights of a checkpoint folder. Parameters are held as `dtype` (f32, or f16 and bf16 to save memory).
    ///
    /// # Errors
    /// As [`LlavaConfig::load_weights`](crate::LlavaConfig::load_weights).
    pub fn load_weights(
        &self,
        dir: impl AsRef<Path>,
        dtype: DType,
        device: &Device,
    ) -> Result<LlavaNextModel, LoadError> {
        self.validate()?;
        let mut model = self.init(device);
        load_table(model.table(), &self.llava, dir, "LLaVA-NeXT", dtype, device)?;
        Ok(model)
    }
}

impl LlavaNextModel {
    /// Writes `config.json` and `model.safetensors` in the hub's layout; each file appears whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written, or values do not fit `dtype`.
    pub fn save_pretrained(
        &self,
        config: &LlavaNextConfig,
        dir: impl AsRef<Path>,
        dtype: DType,
    ) -> Result<(), LoadError> {
        let mut model = self.clone();
        save_checkpoint(dir.as_ref(), config, model.table().into_tensors(), dtype)
    }

    /// The tensors of LLaVA-1.5 and `image_newline`.
    fn table(&mut self) -> Table<'_> {
        let mut table = Table::of(&mut self.llava);
        table.vector("image_newline", &mut self.image_newline);
        table
    }
}
