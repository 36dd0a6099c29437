//! The network of LLaVA-NeXT, without files and texts, and its weights in the hub's layout.

use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{DType, Device, Tensor};

use crate::llava15::{load_table, with_stored_head};
use crate::weights::{Table, save_checkpoint};
use crate::{LlavaModel, LlavaNextConfig, LoadError, WeightFiles};

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
        let files = WeightFiles::open(dir)?;
        let llava = with_stored_head(&self.llava, &files)?;
        let mut model = Self {
            llava,
            ..self.clone()
        }
        .init(device);
        load_table(model.table(), &files, "LLaVA-NeXT", dtype, device)?;
        Ok(model)
    }

    /// A model with random weights held as `dtype`, drawn one parameter after the other; see
    /// [`LlavaConfig::init_random`](crate::LlavaConfig::init_random).
    ///
    /// # Errors
    /// When [`validate`](Self::validate) refuses the sizes, or `dtype` is not a float type of 16 bits or more.
    pub fn init_random(&self, dtype: DType, seed: u64, device: &Device) -> Result<LlavaNextModel, LoadError> {
        self.validate()?;
        let mut model = self.init(device);
        model.table().fill(dtype, seed, device)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::optim::GradientsParams;
    use diffprune_pruner::{Layout, PositionRule};

    use crate::{AnyRes, Newlines, NextTokens, Packing, TextBatch, VisualInput, VisualSequence};

    const IMAGE: u32 = 60;

    /// The sequence of one image of which every third token is kept, and the kept tokens.
    fn sequence() -> (VisualSequence, usize) {
        let anyres = AnyRes::new(&LlavaNextConfig::tiny()).unwrap();
        let (width, height) = (90, 50);
        let packing = Packing::new(width, height, anyres.grid(width, height), 4, NextTokens::Unpadded);
        let layout: Layout = packing.layout(width, height, &anyres);
        let keep: Vec<usize> = (0..layout.n_tokens()).step_by(3).collect();
        let sequence = Newlines::All.sequence(&layout, &keep, PositionRule::Keep);
        (sequence, keep.len())
    }

    #[test]
    fn the_newline_learns_with_all_that_is_used() {
        let model = LlavaNextConfig::tiny().init(&Device::flex()).train();
        let device = Device::flex().autodiff();
        let (sequence, n_kept) = sequence();
        let pixels = Tensor::<4>::ones([1, 3, 56, 56], &device);
        let states = model.llava.vision.hidden_states(pixels);
        let pooled = model.llava.vision.pool(states[states.len() - 1].clone());
        let tokens = model.llava.select_tokens(states[states.len() - 2].clone());
        let features = Tensor::cat(vec![model.llava.projector.forward(tokens); 3], 1);
        let visual = VisualInput {
            features: features.narrow(1, 0, n_kept),
            sequences: vec![sequence],
            separator: Some(model.image_newline.val()),
        };
        let batch = TextBatch {
            ids: vec![vec![1, IMAGE, 7, 8]],
            targets: vec![vec![false, false, true, true]],
        };
        let loss = model.llava.reader().loss(&batch, Some(&visual)).unwrap() + pooled.square().sum();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        assert!(grads.get::<1>(model.image_newline.id).is_some());
        assert_eq!(grads.len(), burn::module::list_param_ids(&model).len());
    }

    #[test]
    fn random_weights_are_those_of_the_seed() {
        let config = LlavaNextConfig::tiny();
        let draw = |seed| {
            let model = config.init_random(DType::F32, seed, &Device::flex()).unwrap();
            model.image_newline.val().into_data()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
