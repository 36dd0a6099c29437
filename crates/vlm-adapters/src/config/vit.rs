//! `config.json` of ViT and DeiT classifiers, as timm and as `transformers` write it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Activation, ClipVisionConfig, MAX_VOCAB, Problem, RESTORE, must_be, read_json, size};
use crate::LoadError;

/// The input of a classifier's first head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VitPool {
    /// The `[CLS]` token.
    #[default]
    ClassToken,
    /// The mean of the patches, as in fine-tuned masked autoencoders (timm's `global_pool` = `avg`).
    Patches,
}

/// Whose names the weights have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VitLayout {
    /// timm.
    Timm,
    /// `transformers`, model type `vit`.
    TransformersVit,
    /// `transformers`, model type `deit`.
    TransformersDeit,
}

/// The whole configuration of a ViT or DeiT classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct VitConfig {
    /// Sizes of the patches and the blocks, which are those of CLIP.
    pub blocks: ClipVisionConfig,
    /// `true` if queries, keys and values have biases.
    pub qkv_bias: bool,
    /// `true` if a distillation token follows `[CLS]`.
    pub distillation_token: bool,
    /// `true` if that token has its own head.
    pub distillation_head: bool,
    /// The input of the first head.
    pub pool: VitPool,
    /// Number of classes.
    pub n_classes: usize,
    /// Whose names the weights have.
    pub layout: VitLayout,
}

/// Epsilon of timm's norms; its files do not repeat it.
const TIMM_EPSILON: f64 = 1e-6;

impl VitConfig {
    /// Reads `config.json` in `dir`.
    ///
    /// # Errors
    /// [`LoadError::MissingFile`], [`LoadError::Json`], [`LoadError::UnsupportedArchitecture`] and
    /// [`LoadError::Config`], each naming the file.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = dir.as_ref().join("config.json");
        let value: Value = read_json(&path, "a model configuration")?;
        let config = match value.get("model_type").and_then(Value::as_str) {
            Some("vit" | "deit") => parse::<RawTransformers>(&path, &value)?.resolve(&path)?,
            Some(other) => return Err(unsupported(&path, other)),
            None if value.get("architecture").is_some() => parse::<RawTimm>(&path, &value)?.resolve(&path)?,
            None => return Err(unsupported(&path, "none (neither model_type nor architecture)")),
        };
        config.check().map_err(|problem| problem.at(&path))?;
        Ok(config)
    }

    /// Refuses sizes that no model can have.
    ///
    /// # Errors
    /// [`LoadError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoadError> {
        self.check()
            .map_err(|problem| problem.at(&PathBuf::from("VitConfig")))
    }

    /// Tokens before the patches.
    pub fn n_prefix(&self) -> usize {
        1 + usize::from(self.distillation_token)
    }

    fn check(&self) -> Result<(), Problem> {
        self.blocks.check()?;
        size("num_classes", self.n_classes, MAX_VOCAB)?;
        must_be(
            "distillation_head",
            Some(self.distillation_head && !self.distillation_token),
            false,
        )
    }
}

const SUPPORTED: &str = "vit_* and deit_* of timm (`vit_base_patch16_224` and the like), \
    ViTForImageClassification, DeiTForImageClassification, DeiTForImageClassificationWithTeacher";

fn unsupported(path: &Path, found: &str) -> LoadError {
    LoadError::UnsupportedArchitecture {
        path: path.into(),
        found: found.into(),
        supported: SUPPORTED.into(),
        remedy: "use a classifier of one of these kinds".into(),
    }
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path, value: &Value) -> Result<T, LoadError> {
    T::deserialize(value).map_err(|source| LoadError::Json {
        path: path.into(),
        wanted: "a ViT configuration".into(),
        remedy: RESTORE.into(),
        source,
    })
}

/// The fields of timm's file.
#[derive(Deserialize)]
struct RawTimm {
    architecture: String,
    num_classes: Option<usize>,
    num_features: Option<usize>,
    global_pool: Option<String>,
    #[serde(default)]
    model_args: Map<String, Value>,
}

impl RawTimm {
    fn resolve(self, path: &Path) -> Result<VitConfig, LoadError> {
        let mut config = by_name(&self.architecture).ok_or_else(|| unsupported(path, &self.architecture))?;
        self.adapt(&mut config).map_err(|problem| problem.at(path))?;
        Ok(config)
    }

    fn adapt(self, config: &mut VitConfig) -> Result<(), Problem> {
        let mut ratio = 4.0;
        let mut pool = self.global_pool;
        config.n_classes = self.num_classes.unwrap_or(1000);
        let blocks = &mut config.blocks;
        for (key, value) in &self.model_args {
            let field = format!("model_args.{key}");
            let refuse = |wanted: &str| Problem::new(&field, value, wanted);
            let number = || {
                let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
                number.ok_or_else(|| refuse("a whole number"))
            };
            match key.as_str() {
                "img_size" => {
                    blocks.image_size = side(value).ok_or_else(|| refuse("the side of a square"))?
                }
                "patch_size" => {
                    blocks.patch_size = side(value).ok_or_else(|| refuse("the side of a square"))?
                }
                "embed_dim" => blocks.hidden_size = number()?,
                "depth" => blocks.num_hidden_layers = number()?,
                "num_heads" => blocks.num_attention_heads = number()?,
                "num_classes" => config.n_classes = number()?,
                "mlp_ratio" => ratio = value.as_f64().ok_or_else(|| refuse("a number"))?,
                "qkv_bias" => config.qkv_bias = value.as_bool().ok_or_else(|| refuse("true or false"))?,
                "global_pool" => pool = Some(value.as_str().ok_or_else(|| refuse("a name"))?.into()),
                "in_chans" if number()? == 3 => {}
                // Dropout does nothing in inference.
                _ if value.is_null() || key.contains("drop") => {}
                _ => return Err(refuse("only arguments that change sizes")),
            }
        }
        blocks.intermediate_size = (blocks.hidden_size as f64 * ratio) as usize;
        config.pool = match pool.as_deref() {
            None | Some("token") => VitPool::ClassToken,
            Some("avg") => VitPool::Patches,
            Some(other) => return Err(Problem::new("global_pool", other, "token or avg")),
        };
        match self.num_features {
            Some(found) if found != blocks.hidden_size => {
                let wanted = format!("the width of the blocks, {}", blocks.hidden_size);
                Err(Problem::new("num_features", found, &wanted))
            }
            _ => Ok(()),
        }
    }
}

/// One number, or twice the same in a list.
fn side(value: &Value) -> Option<usize> {
    let side = match value.as_array() {
        None => value,
        Some(sides) => sides
            .first()
            .filter(|first| sides.iter().all(|other| other == *first))?,
    };
    usize::try_from(side.as_u64()?).ok()
}

/// The sizes that timm's names stand for: `{vit,deit}_{size}[_distilled]_patch{side}_{image}`.
fn by_name(name: &str) -> Option<VitConfig> {
    let parts: Vec<&str> = name.split('_').collect();
    let (distilled, parts) = match parts.as_slice() {
        ["deit", size, "distilled", rest @ ..] => (true, [&[*size], rest].concat()),
        ["vit" | "deit", rest @ ..] => (false, rest.to_vec()),
        _ => return None,
    };
    let [size, patch, image] = parts.as_slice() else {
        return None;
    };
    let (width, depth, heads) = match *size {
        "tiny" => (192, 12, 3),
        "small" => (384, 12, 6),
        "base" => (768, 12, 12),
        "large" => (1024, 24, 16),
        "huge" => (1280, 32, 16),
        _ => return None,
    };
    Some(VitConfig {
        blocks: ClipVisionConfig {
            hidden_size: width,
            intermediate_size: 4 * width,
            num_hidden_layers: depth,
            num_attention_heads: heads,
            image_size: image.parse().ok()?,
            patch_size: patch.strip_prefix("patch")?.parse().ok()?,
            hidden_act: Activation::Gelu,
            layer_norm_eps: TIMM_EPSILON,
        },
        qkv_bias: true,
        distillation_token: distilled,
        distillation_head: distilled,
        pool: VitPool::ClassToken,
        n_classes: 1000,
        layout: VitLayout::Timm,
    })
}

/// The fields of the file of `transformers`, with the defaults of its classes.
#[derive(Deserialize)]
struct RawTransformers {
    model_type: String,
    #[serde(default)]
    architectures: Vec<String>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_channels: Option<usize>,
    image_size: Option<Value>,
    patch_size: Option<Value>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    qkv_bias: Option<bool>,
    num_labels: Option<usize>,
    id2label: Option<Map<String, Value>>,
}

impl RawTransformers {
    fn resolve(self, path: &Path) -> Result<VitConfig, LoadError> {
        let is_deit = self.model_type == "deit";
        let with_teacher = match (is_deit, self.architectures.first().map(String::as_str)) {
            (false, None | Some("ViTForImageClassification")) => false,
            (true, None | Some("DeiTForImageClassification")) => false,
            (true, Some("DeiTForImageClassificationWithTeacher")) => true,
            (_, Some(other)) => return Err(unsupported(path, other)),
        };
        self.sizes(is_deit, with_teacher)
            .map_err(|problem| problem.at(path))
    }

    fn sizes(self, is_deit: bool, with_teacher: bool) -> Result<VitConfig, Problem> {
        let square = |field: &str, value: Option<Value>, default: usize| match value {
            None => Ok(default),
            Some(value) => side(&value).ok_or_else(|| Problem::new(field, value, "the side of a square")),
        };
        if let Some(found) = self.num_channels.filter(|&found| found != 3) {
            return Err(Problem::new("num_channels", found, "3"));
        }
        let labels = self.id2label.map(|labels| labels.len());
        Ok(VitConfig {
            blocks: ClipVisionConfig {
                hidden_size: self.hidden_size.unwrap_or(768),
                intermediate_size: self.intermediate_size.unwrap_or(3072),
                num_hidden_layers: self.num_hidden_layers.unwrap_or(12),
                num_attention_heads: self.num_attention_heads.unwrap_or(12),
                image_size: square("image_size", self.image_size, 224)?,
                patch_size: square("patch_size", self.patch_size, 16)?,
                hidden_act: Activation::from_name(
                    "hidden_act",
                    self.hidden_act.as_deref().unwrap_or("gelu"),
                )?,
                layer_norm_eps: self.layer_norm_eps.unwrap_or(1e-12),
            },
            qkv_bias: self.qkv_bias.unwrap_or(true),
            distillation_token: is_deit,
            distillation_head: with_teacher,
            pool: VitPool::ClassToken,
            n_classes: labels.or(self.num_labels).unwrap_or(2),
            layout: if is_deit {
                VitLayout::TransformersDeit
            } else {
                VitLayout::TransformersVit
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<VitConfig, LoadError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("config.json"), text).expect("a writable folder");
        VitConfig::from_dir(&dir)
    }

    #[test]
    fn names_of_timm_stand_for_sizes() -> Result<(), LoadError> {
        let config = read(r#"{"architecture": "deit_small_distilled_patch16_224", "num_features": 384}"#)?;
        assert_eq!((config.blocks.num_attention_heads, config.n_prefix()), (6, 2));
        assert_eq!((config.n_classes, config.blocks.n_patches()), (1000, 196));
        let config = read(r#"{"architecture": "vit_large_patch14_clip", "model_args": {}}"#);
        assert!(matches!(config, Err(LoadError::UnsupportedArchitecture { .. })));
        let config = read(
            r#"{"architecture": "vit_base_patch16_224", "global_pool": "avg", "num_classes": 10,
                "model_args": {"img_size": [64, 64], "mlp_ratio": 2.5, "qkv_bias": false, "drop_rate": 0.1}}"#,
        )?;
        assert_eq!(config.pool, VitPool::Patches);
        assert_eq!(
            (config.blocks.image_size, config.blocks.intermediate_size),
            (64, 1920)
        );
        assert!(!config.qkv_bias);
        Ok(())
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (text, field) in [
            (
                r#"{"architecture": "vit_base_patch16_224", "model_args": {"class_token": false}}"#,
                "model_args.class_token",
            ),
            (
                r#"{"architecture": "vit_base_patch16_224", "global_pool": "map"}"#,
                "global_pool",
            ),
            (
                r#"{"architecture": "vit_base_patch16_224", "num_features": 5}"#,
                "num_features",
            ),
            (
                r#"{"architecture": "vit_base_patch16_224", "num_classes": 0}"#,
                "num_classes",
            ),
            (r#"{"model_type": "vit", "num_channels": 1}"#, "num_channels"),
            (r#"{"model_type": "vit", "image_size": [224, 112]}"#, "image_size"),
            (r#"{"model_type": "deit", "hidden_act": "relu"}"#, "hidden_act"),
            (
                r#"{"model_type": "vit", "num_attention_heads": 7}"#,
                "num_attention_heads",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert!(matches!(error, LoadError::Config { .. }), "{error}");
            assert!(error.to_string().contains(field), "{error}");
        }
        for text in [
            r#"{"model_type": "dinov2"}"#,
            r#"{"model_type": "vit", "architectures": ["ViTForMaskedImageModeling"]}"#,
            r#"{"model_type": "vit", "architectures": ["DeiTForImageClassification"]}"#,
            "{}",
        ] {
            assert!(
                matches!(read(text), Err(LoadError::UnsupportedArchitecture { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_teacher_adds_a_head() -> Result<(), LoadError> {
        let alone = read(r#"{"model_type": "deit", "architectures": ["DeiTForImageClassification"]}"#)?;
        assert!(alone.distillation_token && !alone.distillation_head);
        let taught = r#"{"model_type": "deit", "architectures": ["DeiTForImageClassificationWithTeacher"]}"#;
        assert!(read(taught)?.distillation_head);
        Ok(())
    }
}
