#![doc = include_str!("../README.md")]

mod config;
mod error;
#[cfg(feature = "hub")]
mod hub;
mod image;
mod language;
mod llava15;
mod llava_next;
mod load;
mod notes;
mod plan;
mod projector;
mod qwen25vl;
mod splice;
mod text;
mod vision;
mod vit;
mod weights;

pub use crate::image::{AnyRes, CropCenter, ImageMode, ImageProcessor, QwenImageProcessor, smart_resize};
pub use config::{
    Activation, ClipVisionConfig, FeatureSelect, GenerationConfig, LlamaConfig, LlavaConfig, LlavaNextConfig,
    Qwen25VlConfig, QwenVisionConfig, VitConfig, VitLayout, VitPool,
};
pub use error::LoadError;
#[cfg(feature = "hub")]
pub use hub::{
    HubError, HubOptions, Progress, resolve_checkpoint, resolve_checkpoint_with, resolve_settings,
    resolve_settings_with,
};
pub use language::{
    KvCache, LayerCache, LayerRun, Llama, LlamaAttention, LlamaLayer, LlamaMlp, PrunedPass, Reader, Rope,
    decode, next_token_nll, next_token_nll_recomputed, sequence_nll,
};
pub use llava_next::{LlavaNext, LlavaNextModel, LlavaNextParts, Newlines, NextOptions, NextTokens, Packing};
pub use llava15::{Llava, LlavaModel, LlavaParts};
pub use load::{LoadOptions, checkpoint_dtype, load_vlm};
pub use notes::take_notes;
pub use plan::{VlmPlan, plan_vlm};
pub use projector::Projector;
pub use qwen25vl::{
    PruningSite, Qwen25Vl, Qwen25VlModel, Qwen25VlParts, QwenEncoding, QwenMerger, QwenOptions, QwenVision,
    QwenVisionBlock, WindowPlan, canonical_qwen_name,
};
pub use splice::{Padding, Slot, SplicePlan, Spliced, plan_splice, splice};
pub use text::{ChatTemplate, Content, Message, PromptStyle, TextTokenizer, render_prompt};
pub use vision::{ClipEncoding, ClipLayer, ClipVision};
pub use vit::{Vit, VitEncoding, VitModel, canonical_vit_name};
pub use weights::{WeightFiles, canonical_llava_name, save_safetensors, write_atomic};

// The interface and the reading of pictures, so that one dependency is enough.
pub use diffprune_images::*;
pub use diffprune_vlm::*;
