//! Writing a classifier as timm or `transformers` would.

use std::path::Path;

use burn::tensor::DType;
use serde_json::{Map, Value, json};

use super::VitModel;
use super::weights::table;
use crate::weights::{save_checkpoint, write_atomic};
use crate::{Activation, LoadError, VitConfig, VitLayout, VitPool};

impl VitModel {
    /// Writes `config.json` and `model.safetensors` in the layout that `config` names, so that timm or `transformers` reads
    /// them, and the preprocessing: pictures squashed to the square by bicubic interpolation, mean and deviation one half.
    ///
    /// `labels` name the classes in order; timm's file has no place for them beside a list of its own.
    ///
    /// # Errors
    /// [`LoadError::Io`]; [`LoadError::TensorDtype`] for values that do not fit `dtype`; [`LoadError::Config`] for sizes that
    /// the layout cannot say.
    pub fn save_pretrained(
        &self,
        config: &VitConfig,
        labels: &[String],
        dir: impl AsRef<Path>,
        dtype: DType,
    ) -> Result<(), LoadError> {
        let dir = dir.as_ref();
        let description = match config.layout {
            VitLayout::Timm => timm(config, labels, &dir.join("config.json"))?,
            VitLayout::TransformersVit => transformers(config, labels, "vit"),
            VitLayout::TransformersDeit => transformers(config, labels, "deit"),
        };
        let mut model = self.clone();
        save_checkpoint(dir, &description, table(&mut model, config).into_tensors(), dtype)?;
        if config.layout == VitLayout::Timm {
            return Ok(());
        }
        let path = dir.join("preprocessor_config.json");
        let text = serde_json::to_vec_pretty(&preprocessor(config)).map_err(|source| LoadError::Json {
            path: path.clone(),
            wanted: "preprocessing settings that can be written".into(),
            remedy: "report this as a bug".into(),
            source,
        })?;
        write_atomic(path, &text)
    }
}

fn transformers(config: &VitConfig, labels: &[String], kind: &str) -> Value {
    let architecture = match (kind, config.distillation_head) {
        ("vit", _) => "ViTForImageClassification",
        (_, false) => "DeiTForImageClassification",
        (_, true) => "DeiTForImageClassificationWithTeacher",
    };
    let by_number = |(i, label): (usize, &String)| (i.to_string(), Value::from(label.as_str()));
    let by_name = |(i, label): (usize, &String)| (label.clone(), Value::from(i));
    let blocks = &config.blocks;
    json!({
        "architectures": [architecture],
        "model_type": kind,
        "hidden_size": blocks.hidden_size,
        "intermediate_size": blocks.intermediate_size,
        "num_hidden_layers": blocks.num_hidden_layers,
        "num_attention_heads": blocks.num_attention_heads,
        "num_channels": 3,
        "image_size": blocks.image_size,
        "patch_size": blocks.patch_size,
        "hidden_act": activation(blocks.hidden_act),
        "layer_norm_eps": blocks.layer_norm_eps,
        "qkv_bias": config.qkv_bias,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "id2label": labels.iter().enumerate().map(by_number).collect::<Map<_, _>>(),
        "label2id": labels.iter().enumerate().map(by_name).collect::<Map<_, _>>(),
    })
}

/// timm knows an architecture by name; the sizes that differ from the name's are arguments.
fn timm(config: &VitConfig, labels: &[String], path: &Path) -> Result<Value, LoadError> {
    let blocks = &config.blocks;
    if blocks.hidden_act != Activation::Gelu {
        return Err(LoadError::Config {
            path: path.into(),
            field: "hidden_act".into(),
            found: activation(blocks.hidden_act).into(),
            wanted: "gelu: timm's models have no other".into(),
            remedy: "write the layout of transformers".into(),
        });
    }
    let architecture = match config.distillation_token {
        true => "deit_tiny_distilled_patch16_224",
        false => "vit_tiny_patch16_224",
    };
    let pool = match config.pool {
        VitPool::ClassToken => "token",
        VitPool::Patches => "avg",
    };
    let (side, ratio) = (
        blocks.image_size,
        blocks.intermediate_size as f64 / blocks.hidden_size as f64,
    );
    Ok(json!({
        "architecture": architecture,
        "num_classes": config.n_classes,
        "num_features": blocks.hidden_size,
        "global_pool": pool,
        "model_args": {
            "img_size": side,
            "patch_size": blocks.patch_size,
            "embed_dim": blocks.hidden_size,
            "depth": blocks.num_hidden_layers,
            "num_heads": blocks.num_attention_heads,
            "mlp_ratio": ratio,
            "qkv_bias": config.qkv_bias,
        },
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": config.n_classes,
            "label_names": labels,
        },
    }))
}

fn preprocessor(config: &VitConfig) -> Value {
    let (side, kind) = match config.layout {
        VitLayout::TransformersVit => (config.blocks.image_size, "ViTImageProcessor"),
        _ => (config.blocks.image_size, "DeiTImageProcessor"),
    };
    json!({
        "image_processor_type": kind,
        "do_resize": true,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_center_crop": false,
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    })
}

fn activation(activation: Activation) -> &'static str {
    match activation {
        Activation::Gelu => "gelu",
        Activation::QuickGelu => "quick_gelu",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClipVisionConfig, Vit};
    use burn::tensor::{Device, Tensor, Tolerance};

    #[test]
    fn every_layout_reads_back() -> Result<(), Box<dyn std::error::Error>> {
        for (layout, distilled) in [
            (VitLayout::Timm, true),
            (VitLayout::Timm, false),
            (VitLayout::TransformersDeit, true),
            (VitLayout::TransformersVit, false),
        ] {
            let config = VitConfig {
                blocks: ClipVisionConfig {
                    hidden_act: Activation::Gelu,
                    layer_norm_eps: 1e-6,
                    ..ClipVisionConfig::tiny()
                },
                qkv_bias: true,
                distillation_token: distilled,
                distillation_head: distilled,
                pool: VitPool::ClassToken,
                n_classes: 3,
                layout,
            };
            let device = Device::flex();
            let model = config.init(&device);
            let labels = ["a", "b", "c"].map(String::from);
            let dir = tempfile::tempdir()?;
            model.save_pretrained(&config, &labels, &dir, DType::F32)?;
            let read = Vit::load(&dir, &device)?;
            assert_eq!(read.config, config);
            let side = config.blocks.image_size;
            assert_eq!(read.processor.size as usize, side);
            let pixels = Tensor::<4>::ones([1, 3, side, side], &device);
            read.model
                .forward(pixels.clone())
                .into_data()
                .assert_approx_eq::<f32>(&model.forward(pixels).into_data(), Tolerance::absolute(1e-6));
        }
        Ok(())
    }
}
