//! Reading and writing the weights of Qwen2.5-VL in the hub's layout.

use std::path::Path;

use burn::tensor::{DType, Device};

use super::{Qwen25VlModel, QwenMerger, QwenVision, canonical_qwen_name};
use crate::weights::{Table, has_own_head, save_checkpoint};
use crate::{LoadError, Qwen25VlConfig, WeightFiles};

/// Name of the head.
const HEAD: &str = "lm_head.weight";

impl Qwen25VlConfig {
    /// Reads the weights of a checkpoint folder. Parameters are held as `dtype` (f32, or f16 and bf16 to save memory).
    ///
    /// # Errors
    /// When files are absent or damaged, or a tensor is missing or of another shape than the configuration implies. Tensors
    /// that the model has no place for are passed over (see [`take_notes`](crate::take_notes)); a stored head that is not
    /// the embedding matrix is used, whatever the configuration says about tying the two.
    pub fn load_weights(
        &self,
        dir: impl AsRef<Path>,
        dtype: DType,
        device: &Device,
    ) -> Result<Qwen25VlModel, LoadError> {
        self.validate()?;
        let files = WeightFiles::open(dir)?;
        let mut config = self.clone();
        let tied = &mut config.text.tie_word_embeddings;
        *tied = *tied && !has_own_head(&files, canonical_qwen_name, HEAD, "model.embed_tokens.weight")?;
        let mut model = config.init(device);
        // A tied checkpoint may repeat the embedding matrix under the name of the head.
        let repeated = config.text.tie_word_embeddings.then_some(HEAD);
        let names = |name: &str| canonical_qwen_name(name).filter(|name| Some(name.as_str()) != repeated);
        table(&mut model).load(&files, names, "Qwen2.5-VL", dtype, device)?;
        Ok(model)
    }

    /// A model with random weights held as `dtype`, drawn one parameter after the other, so that the memory needed is
    /// that of the weights: for measuring costs at published sizes without their files. It answers nonsense, in finite
    /// numbers. [`init`](Self::init) is for models that are to be trained.
    ///
    /// # Errors
    /// When [`validate`](Self::validate) refuses the sizes, or `dtype` is not a float type of 16 bits or more.
    pub fn init_random(&self, dtype: DType, seed: u64, device: &Device) -> Result<Qwen25VlModel, LoadError> {
        self.validate()?;
        let mut model = self.init(device);
        table(&mut model).fill(dtype, seed, device)?;
        Ok(model)
    }
}

impl Qwen25VlModel {
    /// Writes `config.json` and `model.safetensors` in the hub's layout; each file appears whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written, or values do not fit `dtype`.
    pub fn save_pretrained(
        &self,
        config: &Qwen25VlConfig,
        dir: impl AsRef<Path>,
        dtype: DType,
    ) -> Result<(), LoadError> {
        let mut model = self.clone();
        let tensors = table(&mut model).into_tensors();
        save_checkpoint(dir.as_ref(), config, tensors, dtype)
    }
}

/// The one list of names. `{i}` counts blocks or layers.
///
/// | hub | module |
/// |---|---|
/// | `visual.patch_embed.proj` | `vision.patch_embed` |
/// | `visual.blocks.{i}.norm{1,2}`, `.attn.{qkv,proj}`, `.mlp.{gate,up,down}_proj` | `vision.blocks[i]` |
/// | `visual.merger.ln_q`, `visual.merger.mlp.{0,2}` | `merger.ln_q`, `merger.linear_{1,2}` |
/// | `model.embed_tokens`, `model.norm`, `lm_head` (absent when tied) | `language.*` |
/// | `model.layers.{i}.*` | `language.layers[i]` |
fn table(model: &mut Qwen25VlModel) -> Table<'_> {
    let mut table = Table::default();
    vision(&mut table, &mut model.vision);
    merger(&mut table, &mut model.merger);
    table.language("model", "lm_head", &mut model.language);
    table
}

fn vision<'a>(table: &mut Table<'a>, vision: &'a mut QwenVision) {
    let kernel = vision.kernel();
    table.patches("visual.patch_embed.proj", &mut vision.patch_embed, &kernel);
    for (i, block) in vision.blocks.iter_mut().enumerate() {
        let root = format!("visual.blocks.{i}");
        table.gain(format!("{root}.norm1.weight"), &mut block.norm1.gamma);
        table.linear(&format!("{root}.attn.qkv"), &mut block.qkv);
        table.linear(&format!("{root}.attn.proj"), &mut block.proj);
        table.gain(format!("{root}.norm2.weight"), &mut block.norm2.gamma);
        table.linear(&format!("{root}.mlp.gate_proj"), &mut block.gate_proj);
        table.linear(&format!("{root}.mlp.up_proj"), &mut block.up_proj);
        table.linear(&format!("{root}.mlp.down_proj"), &mut block.down_proj);
    }
}

fn merger<'a>(table: &mut Table<'a>, merger: &'a mut QwenMerger) {
    table.gain("visual.merger.ln_q.weight", &mut merger.ln_q.gamma);
    table.linear("visual.merger.mlp.0", &mut merger.linear_1);
    table.linear("visual.merger.mlp.2", &mut merger.linear_2);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::save_safetensors;
    use burn::tensor::TensorData;
    use std::collections::BTreeMap;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn tensors_that_do_not_fit_are_named() -> Outcome {
        let config = Qwen25VlConfig::tiny();
        let dir = tempfile::tempdir()?;
        config
            .init(&Device::flex())
            .save_pretrained(&config, &dir, DType::F32)?;
        let files = WeightFiles::open(&dir)?;
        let mut tensors = BTreeMap::new();
        for name in files.names() {
            tensors.insert(name.to_string(), files.tensor_data(name, DType::F32)?);
        }
        let reload = |tensors: BTreeMap<String, TensorData>| -> Result<Qwen25VlModel, LoadError> {
            save_safetensors(dir.path().join("model.safetensors"), tensors, DType::F32)?;
            config.load_weights(&dir, DType::F32, &Device::flex())
        };
        assert!(reload(tensors.clone()).is_ok());

        for name in [
            "visual.blocks.2.attn.qkv.bias",
            "model.layers.1.self_attn.q_proj.bias",
            "lm_head.weight",
        ] {
            let mut fewer = tensors.clone();
            fewer.remove(name);
            let error = reload(fewer).unwrap_err();
            assert!(
                matches!(&error, LoadError::MissingTensor { name: found, .. } if found == name),
                "{error}"
            );
        }
        let mut wrong = tensors.clone();
        wrong.insert(
            "visual.patch_embed.proj.weight".into(),
            TensorData::zeros::<f32, _>([16, 96]),
        );
        let error = reload(wrong).unwrap_err();
        assert!(
            matches!(&error, LoadError::TensorShape { wanted, .. } if *wanted == [16, 3, 2, 4, 4]),
            "{error}"
        );
        // The output of the attention has no bias.
        for name in [
            "model.layers.0.self_attn.o_proj.bias",
            "visual.blocks.3.norm1.weight",
        ] {
            let mut more = tensors.clone();
            more.insert(name.into(), TensorData::zeros::<f32, _>([16]));
            assert!(reload(more).is_ok());
            let notes = crate::take_notes();
            assert!(notes.iter().any(|note| note.contains(name)), "{notes:?}");
        }
        Ok(())
    }

    #[test]
    fn a_tied_head_is_not_stored_and_may_be_repeated() -> Outcome {
        let mut config = Qwen25VlConfig::tiny();
        config.text.tie_word_embeddings = true;
        let dir = tempfile::tempdir()?;
        let model = config.init(&Device::flex());
        model.save_pretrained(&config, &dir, DType::F32)?;
        assert_eq!(Qwen25VlConfig::from_dir(&dir)?, config);
        let files = WeightFiles::open(&dir)?;
        let mut tensors = BTreeMap::new();
        for name in files.names() {
            tensors.insert(name.to_string(), files.tensor_data(name, DType::F32)?);
        }
        assert!(!tensors.contains_key("lm_head.weight"));
        tensors.insert(
            "lm_head.weight".into(),
            tensors["model.embed_tokens.weight"].clone(),
        );
        let path = dir.path().join("model.safetensors");
        save_safetensors(&path, tensors.clone(), DType::F32)?;
        let again = config.load_weights(&dir, DType::F32, &Device::flex())?;
        assert!(again.language.lm_head.is_none());
        // Another matrix under the name of the head is the head.
        let own = TensorData::ones::<f32, _>(tensors["lm_head.weight"].shape().clone());
        tensors.insert("lm_head.weight".into(), own);
        save_safetensors(&path, tensors, DType::F32)?;
        let again = config.load_weights(&dir, DType::F32, &Device::flex())?;
        let weight = again.language.lm_head.as_ref().ok_or("no head")?.weight.val();
        assert_eq!(weight.mean().into_scalar::<f32>(), 1.0);
        let notes = crate::take_notes();
        assert!(
            notes.iter().any(|note| note.contains("lm_head.weight")),
            "{notes:?}"
        );
        Ok(())
    }

    #[test]
    fn random_weights_are_decided_by_the_seed() -> Outcome {
        let config = Qwen25VlConfig::tiny();
        let device = Device::flex();
        let grids = [diffprune_pruner::Grid { rows: 4, cols: 6 }];
        let patches = burn::tensor::Tensor::<4>::ones([24, 6, 4, 4], &device);
        let features = |seed| -> Result<Vec<f32>, Box<dyn std::error::Error>> {
            let model = config.init_random(DType::F16, seed, &device)?;
            assert_eq!(model.merger.ln_q.gamma.val().dtype(), DType::F16);
            let (tokens, _) = model.tokens(patches.clone(), &grids);
            let features = model.merger.forward(tokens).cast(DType::F32);
            Ok(features.into_data().try_to_vec()?)
        };
        let (first, again, other) = (features(1)?, features(1)?, features(2)?);
        assert!(first.iter().all(|x| x.is_finite()) && first == again && first != other);
        assert!(config.init_random(DType::I32, 1, &device).is_err());
        Ok(())
    }
}
