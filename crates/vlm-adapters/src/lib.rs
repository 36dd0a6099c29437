#![doc = include_str!("../README.md")]

mod config;
mod error;
mod generate;
mod image;
mod language;
mod llava15;
mod projector;
mod sequence;
mod splice;
mod text;
mod vision;
mod vlm;
mod weights;

pub use crate::image::{ImageMode, ImageProcessor, decode_image, load_image, resize_bicubic};
pub use config::{Activation, ClipVisionConfig, FeatureSelect, GenerationConfig, LlamaConfig, LlavaConfig};
pub use error::LoadError;
pub use generate::{GenerateOptions, Sampling};
pub use language::{
    DecoderPruning, DecoderReport, KvCache, LayerCache, LayerRun, Llama, LlamaAttention, LlamaLayer,
    LlamaMlp, PrunedPass, Rope, SequenceReport, StageReport, decode, next_token_nll,
};
pub use llava15::{Llava, LlavaModel, LlavaParts, LoadOptions, load_vlm};
pub use projector::Projector;
pub use sequence::{VisualInput, VisualSequence, VisualSlot, VisualSource};
pub use splice::{Padding, Slot, SplicePlan, Spliced, plan_splice, splice};
pub use text::{ChatTemplate, Content, Message, PromptStyle, TextTokenizer, Turn, render_prompt};
pub use vision::{ClipEncoding, ClipLayer, ClipVision};
pub use vlm::{
    Encoded, Hooks, ImageShape, OnToken, Pixels, PruneOptions, TextBatch, Vlm, VlmError, answer, prune,
    pruning_context,
};
pub use weights::{WeightFiles, canonical_llava_name, save_safetensors, write_atomic};
