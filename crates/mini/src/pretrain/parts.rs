//! The networks that are taught, alike for the three families.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use diffprune_vlm_adapters::{ClipVision, Llama, Projector, QwenMerger, QwenVision};

/// A vision tower.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
pub enum Tower {
    /// CLIP, as in both LLaVAs.
    Clip(ClipVision),
    /// That of Qwen2.5-VL.
    Qwen(QwenVision),
}

/// From the tower to the language model.
#[derive(Module, Debug)]
pub enum Bridge {
    /// LLaVA-1.5.
    Projector(Projector),
    /// LLaVA-NeXT: the projector, and the vector that ends a row.
    Newline(NewlineBridge),
    /// Qwen2.5-VL: four patches become one token.
    Merger(QwenMerger),
}

/// The bridge of LLaVA-NeXT.
#[derive(Module, Debug)]
pub struct NewlineBridge {
    /// Visual tokens to the language model.
    pub projector: Projector,
    /// The newline vector, `[d_model]`.
    pub newline: Param<Tensor<1>>,
}

impl Bridge {
    /// Visual tokens `[b, k, d_vision]` to the width of the language model.
    pub fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Projector(projector) => projector.forward(tokens),
            Self::Newline(bridge) => bridge.projector.forward(tokens),
            Self::Merger(merger) => merger.forward(tokens),
        }
    }

    /// The vector that separates rows, `[d_model]`.
    pub fn separator(&self) -> Option<Tensor<1>> {
        match self {
            Self::Newline(bridge) => Some(bridge.newline.val()),
            Self::Projector(_) | Self::Merger(_) => None,
        }
    }
}

/// What stage two teaches.
#[derive(Module, Debug)]
pub struct Reader {
    /// From the tower to the language model.
    pub bridge: Bridge,
    /// The language model.
    pub language: Llama,
}
