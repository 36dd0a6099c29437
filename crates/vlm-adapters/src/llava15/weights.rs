//! Reading and writing the weights of LLaVA-1.5 in the hub's layout.

use std::path::Path;

use burn::tensor::{DType, Device};

use super::LlavaModel;
use crate::weights::{Table, has_own_head, save_checkpoint};
use crate::{ClipVision, Llama, LlavaConfig, LoadError, Projector, WeightFiles, canonical_llava_name};

impl LlavaConfig {
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
    ) -> Result<LlavaModel, LoadError> {
        self.validate()?;
        let files = WeightFiles::open(dir)?;
        let mut model = with_stored_head(self, &files)?.init(device);
        load_table(Table::of(&mut model), &files, "LLaVA-1.5", dtype, device)?;
        Ok(model)
    }

    /// A model with random weights held as `dtype`, drawn one parameter after the other, so that the memory needed is
    /// that of the weights: for measuring costs at published sizes without their files. It answers nonsense, in finite
    /// numbers. [`init`](Self::init) is for models that are to be trained.
    ///
    /// # Errors
    /// When [`validate`](Self::validate) refuses the sizes, or `dtype` is not a float type of 16 bits or more.
    pub fn init_random(&self, dtype: DType, seed: u64, device: &Device) -> Result<LlavaModel, LoadError> {
        self.validate()?;
        let mut model = self.init(device);
        Table::of(&mut model).fill(dtype, seed, device)?;
        Ok(model)
    }
}

/// Name of the head.
const HEAD: &str = "language_model.lm_head.weight";
/// Name of the embedding matrix.
const EMBEDDING: &str = "language_model.model.embed_tokens.weight";

/// The configuration of what the files hold: a head of its own is not tied.
pub(crate) fn with_stored_head(config: &LlavaConfig, files: &WeightFiles) -> Result<LlavaConfig, LoadError> {
    let mut config = config.clone();
    let tied = &mut config.text.tie_word_embeddings;
    *tied = *tied && !has_own_head(files, canonical_llava_name, HEAD, EMBEDDING)?;
    Ok(config)
}

/// Reads the tensors of a LLaVA of any version.
pub(crate) fn load_table(
    table: Table<'_>,
    files: &WeightFiles,
    family: &str,
    dtype: DType,
    device: &Device,
) -> Result<(), LoadError> {
    // A tied checkpoint may repeat the embedding matrix under the name of the head.
    let repeated = (!table.has(HEAD)).then_some(HEAD);
    let names = |name: &str| canonical_llava_name(name).filter(|name| Some(name.as_str()) != repeated);
    table.load(files, names, family, dtype, device)
}

impl LlavaModel {
    /// Writes `config.json` and `model.safetensors` in the hub's layout; each file appears whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written, or values do not fit `dtype`.
    pub fn save_pretrained(
        &self,
        config: &LlavaConfig,
        dir: impl AsRef<Path>,
        dtype: DType,
    ) -> Result<(), LoadError> {
        let mut model = self.clone();
        let tensors = Table::of(&mut model).into_tensors();
        save_checkpoint(dir.as_ref(), config, tensors, dtype)
    }
}

/// The one list of names. `{i}` counts layers.
///
/// | hub | module |
/// |---|---|
/// | `vision_tower.vision_model.embeddings.*`, `.pre_layrnorm` (sic), `.post_layernorm` | `vision.*` |
/// | `vision_tower.vision_model.encoder.layers.{i}.*` | `vision.layers[i]` |
/// | `multi_modal_projector.linear_{1,2}` | `projector.linear_{1,2}` |
/// | `language_model.model.embed_tokens`, `.norm`, `language_model.lm_head` | `language.*` |
/// | `language_model.model.layers.{i}.*` | `language.layers[i]` |
impl<'a> Table<'a> {
    pub(crate) fn of(model: &'a mut LlavaModel) -> Self {
        let mut table = Self::default();
        table.vision("vision_tower.vision_model", &mut model.vision);
        table.projector(&mut model.projector);
        table.language(
            "language_model.model",
            "language_model.lm_head",
            &mut model.language,
        );
        table
    }

    pub(crate) fn vision(&mut self, root: &str, vision: &'a mut ClipVision) {
        let patch_size = vision.patch_size();
        self.vector(
            format!("{root}.embeddings.class_embedding"),
            &mut vision.class_embedding,
        );
        self.matrix(
            format!("{root}.embeddings.position_embedding.weight"),
            &mut vision.position_embedding,
        );
        self.patches(
            &format!("{root}.embeddings.patch_embedding"),
            &mut vision.patch_embedding,
            &[3, patch_size, patch_size],
        );
        self.layer_norm(&format!("{root}.pre_layrnorm"), &mut vision.pre_layernorm);
        self.layer_norm(&format!("{root}.post_layernorm"), &mut vision.post_layernorm);
        for (i, layer) in vision.layers.iter_mut().enumerate() {
            let root = format!("{root}.encoder.layers.{i}");
            self.layer_norm(&format!("{root}.layer_norm1"), &mut layer.layer_norm1);
            self.linear(&format!("{root}.self_attn.q_proj"), &mut layer.q_proj);
            self.linear(&format!("{root}.self_attn.k_proj"), &mut layer.k_proj);
            self.linear(&format!("{root}.self_attn.v_proj"), &mut layer.v_proj);
            self.linear(&format!("{root}.self_attn.out_proj"), &mut layer.out_proj);
            self.layer_norm(&format!("{root}.layer_norm2"), &mut layer.layer_norm2);
            self.linear(&format!("{root}.mlp.fc1"), &mut layer.fc1);
            self.linear(&format!("{root}.mlp.fc2"), &mut layer.fc2);
        }
    }

    pub(crate) fn projector(&mut self, projector: &'a mut Projector) {
        self.linear("multi_modal_projector.linear_1", &mut projector.linear_1);
        self.linear("multi_modal_projector.linear_2", &mut projector.linear_2);
    }

    pub(crate) fn language(&mut self, root: &str, head: &str, language: &'a mut Llama) {
        self.matrix(
            format!("{root}.embed_tokens.weight"),
            &mut language.embed_tokens.weight,
        );
        self.gain(format!("{root}.norm.weight"), &mut language.norm.gamma);
        if let Some(layer) = &mut language.lm_head {
            self.linear(head, layer);
        }
        for (i, layer) in language.layers.iter_mut().enumerate() {
            let root = format!("{root}.layers.{i}");
            let after = &mut layer.post_attention_layernorm.gamma;
            self.gain(
                format!("{root}.input_layernorm.weight"),
                &mut layer.input_layernorm.gamma,
            );
            self.linear(&format!("{root}.self_attn.q_proj"), &mut layer.self_attn.q_proj);
            self.linear(&format!("{root}.self_attn.k_proj"), &mut layer.self_attn.k_proj);
            self.linear(&format!("{root}.self_attn.v_proj"), &mut layer.self_attn.v_proj);
            self.linear(&format!("{root}.self_attn.o_proj"), &mut layer.self_attn.o_proj);
            self.gain(format!("{root}.post_attention_layernorm.weight"), after);
            self.linear(&format!("{root}.mlp.gate_proj"), &mut layer.mlp.gate_proj);
            self.linear(&format!("{root}.mlp.up_proj"), &mut layer.mlp.up_proj);
            self.linear(&format!("{root}.mlp.down_proj"), &mut layer.mlp.down_proj);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::save_safetensors;
    use burn::tensor::{Tensor, TensorData};

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// A tiny model saved to a folder, and its tensors.
    fn saved(config: &LlavaConfig) -> Result<(tempfile::TempDir, BTreeMap<String, TensorData>), LoadError> {
        let dir =
            tempfile::tempdir().map_err(|source| LoadError::write(Path::new("temporary folder"), source))?;
        config
            .init(&Device::flex())
            .save_pretrained(config, &dir, DType::F32)?;
        let files = WeightFiles::open(&dir)?;
        let tensor = |name: &str| Ok((name.to_string(), files.tensor_data(name, DType::F32)?));
        let tensors = files.names().map(tensor).collect::<Result<_, LoadError>>()?;
        Ok((dir, tensors))
    }

    fn reload(
        config: &LlavaConfig,
        dir: &tempfile::TempDir,
        tensors: BTreeMap<String, TensorData>,
    ) -> Result<LlavaModel, LoadError> {
        save_safetensors(dir.path().join("model.safetensors"), tensors, DType::F32)?;
        config.load_weights(dir, DType::F32, &Device::flex())
    }

    #[test]
    fn tensors_that_do_not_fit_are_named() -> Outcome {
        let config = LlavaConfig::tiny();
        let (dir, tensors) = saved(&config)?;
        assert!(reload(&config, &dir, tensors.clone()).is_ok());
        let name = "language_model.model.layers.1.mlp.up_proj.weight";

        let mut fewer = tensors.clone();
        fewer.remove(name);
        let error = reload(&config, &dir, fewer).unwrap_err();
        assert!(
            matches!(&error, LoadError::MissingTensor { name: found, .. } if found == name),
            "{error}"
        );

        let mut wrong = tensors.clone();
        wrong.insert(name.into(), TensorData::zeros::<f32, _>([16, 32]));
        let error = reload(&config, &dir, wrong).unwrap_err();
        assert!(
            matches!(&error, LoadError::TensorShape { wanted, .. } if *wanted == [32, 16]),
            "{error}"
        );

        let mut more = tensors.clone();
        more.insert(
            "language_model.model.layers.2.mlp.up_proj.weight".into(),
            TensorData::zeros::<f32, _>([1]),
        );
        assert!(reload(&config, &dir, more).is_ok());
        let notes = crate::take_notes();
        assert!(
            notes.iter().any(|note| note.contains("layers.2.mlp.up_proj")),
            "{notes:?}"
        );

        let mut buffers = tensors;
        let name = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq";
        buffers.insert(name.into(), TensorData::zeros::<f32, _>([4]));
        assert!(
            reload(&config, &dir, buffers).is_ok(),
            "known buffers are ignored"
        );
        Ok(())
    }

    #[test]
    fn a_tied_head_is_not_stored_and_may_be_repeated() -> Outcome {
        let mut config = LlavaConfig::tiny();
        config.text.tie_word_embeddings = true;
        let (dir, mut tensors) = saved(&config)?;
        let head = "language_model.lm_head.weight";
        assert!(!tensors.contains_key(head));
        assert!(LlavaConfig::from_dir(&dir)?.text.tie_word_embeddings);
        tensors.insert(
            head.into(),
            tensors["language_model.model.embed_tokens.weight"].clone(),
        );
        assert!(reload(&config, &dir, tensors.clone())?.language.lm_head.is_none());
        assert!(crate::take_notes().is_empty());
        // Another matrix under the name of the head is the head.
        let own = TensorData::ones::<f32, _>(tensors[head].shape().clone());
        tensors.insert(head.into(), own);
        let model = reload(&config, &dir, tensors)?;
        let weight = model.language.lm_head.as_ref().ok_or("no head")?.weight.val();
        assert_eq!(weight.mean().into_scalar::<f32>(), 1.0);
        let notes = crate::take_notes();
        assert!(notes.iter().any(|note| note.contains(head)), "{notes:?}");
        model.save_pretrained(&config, &dir, DType::F32)?;
        let again = config.load_weights(&dir, DType::F32, &Device::flex())?;
        assert!(again.language.lm_head.is_some(), "what is written reads back");
        Ok(())
    }

    #[test]
    fn reloaded_weights_compute_the_same() -> Outcome {
        let config = LlavaConfig::tiny();
        let model = config.init(&Device::flex());
        let dir = tempfile::tempdir()?;
        model.save_pretrained(&config, &dir, DType::F32)?;
        let again = config.load_weights(&dir, DType::F32, &Device::flex())?;
        let pixels = Tensor::<4>::ones([1, 3, 56, 56], &Device::flex());
        let features = |model: &LlavaModel| model.projector.forward(model.tokens(pixels.clone()));
        let logits = |model: &LlavaModel| {
            let visual = crate::VisualInput::full(features(model));
            let text = crate::TextBatch {
                ids: vec![vec![60, 1, 2]],
                targets: vec![vec![false, true, true]],
            };
            model
                .reader()
                .loss(&text, Some(&visual))
                .map(|loss| loss.into_scalar::<f32>())
        };
        let (before, after) = (logits(&model)?, logits(&again)?);
        assert!((before - after).abs() < 1e-5, "{before} is not {after}");
        Ok(())
    }

    #[test]
    fn random_weights_answer_in_finite_numbers_that_the_seed_decides() -> Outcome {
        let config = LlavaConfig::tiny();
        let device = Device::flex();
        let loss = |seed| -> Result<f32, Box<dyn std::error::Error>> {
            let model = config.init_random(DType::F16, seed, &device)?;
            assert_eq!(model.language.norm.gamma.val().dtype(), DType::F16);
            assert_eq!(
                model
                    .language
                    .norm
                    .gamma
                    .val()
                    .min()
                    .cast(DType::F32)
                    .into_scalar::<f32>(),
                1.0
            );
            let features = model
                .projector
                .forward(model.tokens(Tensor::ones([1, 3, 56, 56], &device)));
            let text = crate::TextBatch {
                ids: vec![vec![60, 1, 2]],
                targets: vec![vec![false, true, true]],
            };
            let loss = model
                .reader()
                .loss(&text, Some(&crate::VisualInput::full(features)))?;
            Ok(loss.cast(DType::F32).into_scalar::<f32>())
        };
        let (first, again, other) = (loss(1)?, loss(1)?, loss(2)?);
        assert!(
            first.is_finite() && first == again && first != other,
            "{first} {again} {other}"
        );
        assert!(config.init_random(DType::I32, 1, &device).is_err());
        Ok(())
    }
}
