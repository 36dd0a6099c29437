//! The CLIP vision tower's part of `config.json`.

use serde::{Deserialize, Serialize};

use super::{Activation, MAX_IMAGE, MAX_LAYERS, MAX_PATCH, MAX_WIDTH, Problem, positive_real, size};

/// Sizes of a CLIP vision transformer.
///
/// Reading fills absent fields with the defaults of the CLIP class (base size, 32-pixel patches), as the
/// published files presume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawClip", into = "RawClip")]
pub struct ClipVisionConfig {
    /// Width of a token.
    pub hidden_size: usize,
    /// Width of the hidden layer of an MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads per layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Side of the square input image, in pixels.
    pub image_size: usize,
    /// Side of a square patch, in pixels.
    pub patch_size: usize,
    /// Activation of the MLPs.
    pub hidden_act: Activation,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
}

impl ClipVisionConfig {
    /// CLIP ViT-L/14 at 336 pixels, the tower of LLaVA-1.5.
    pub fn vit_l_14_336() -> Self {
        Self {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            image_size: 336,
            patch_size: 14,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }

    /// A tower of a few thousand parameters with a 4 by 4 grid, for tests.
    pub fn tiny() -> Self {
        Self {
            hidden_size: 16,
            intermediate_size: 32,
            num_hidden_layers: 3,
            num_attention_heads: 2,
            image_size: 56,
            patch_size: 14,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }

    /// Patches along one side of the image.
    pub fn grid_side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Patches of one image (without the class token).
    pub fn n_patches(&self) -> usize {
        self.grid_side() * self.grid_side()
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        size("hidden_size", self.hidden_size, MAX_WIDTH)?;
        size("intermediate_size", self.intermediate_size, MAX_WIDTH)?;
        size("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS)?;
        size("num_attention_heads", self.num_attention_heads, MAX_WIDTH)?;
        size("patch_size", self.patch_size, MAX_PATCH)?;
        size("image_size", self.image_size, MAX_IMAGE)?;
        positive_real("layer_norm_eps", self.layer_norm_eps)?;
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let wanted = format!("a divisor of hidden_size {}", self.hidden_size);
            return Err(Problem::new(
                "num_attention_heads",
                self.num_attention_heads,
                &wanted,
            ));
        }
        if self.image_size < self.patch_size || !self.image_size.is_multiple_of(self.patch_size) {
            let wanted = format!("a positive multiple of patch_size {}", self.patch_size);
            return Err(Problem::new("image_size", self.image_size, &wanted));
        }
        Ok(())
    }
}

/// The fields as the file may have them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RawClip {
    #[serde(skip_serializing_if = "Option::is_none")]
    model_type: Option<String>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
}

impl RawClip {
    /// The tower's kind, when the file names one.
    pub(super) fn model_type(&self) -> Option<&str> {
        self.model_type.as_deref()
    }
}

impl TryFrom<RawClip> for ClipVisionConfig {
    type Error = Problem;

    fn try_from(raw: RawClip) -> Result<Self, Problem> {
        Ok(Self {
            hidden_size: raw.hidden_size.unwrap_or(768),
            intermediate_size: raw.intermediate_size.unwrap_or(3072),
            num_hidden_layers: raw.num_hidden_layers.unwrap_or(12),
            num_attention_heads: raw.num_attention_heads.unwrap_or(12),
            image_size: raw.image_size.unwrap_or(224),
            patch_size: raw.patch_size.unwrap_or(32),
            hidden_act: Activation::from_name(
                "hidden_act",
                raw.hidden_act.as_deref().unwrap_or("quick_gelu"),
            )?,
            layer_norm_eps: raw.layer_norm_eps.unwrap_or(1e-5),
        })
    }
}

impl From<ClipVisionConfig> for RawClip {
    fn from(config: ClipVisionConfig) -> Self {
        Self {
            model_type: Some("clip_vision_model".into()),
            hidden_size: Some(config.hidden_size),
            intermediate_size: Some(config.intermediate_size),
            num_hidden_layers: Some(config.num_hidden_layers),
            num_attention_heads: Some(config.num_attention_heads),
            image_size: Some(config.image_size),
            patch_size: Some(config.patch_size),
            hidden_act: Some(config.hidden_act.name()),
            layer_norm_eps: Some(config.layer_norm_eps),
        }
    }
}
