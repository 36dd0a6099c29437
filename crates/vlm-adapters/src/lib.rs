#![doc = include_str!("../README.md")]

mod config;
mod error;
mod language;
mod llava15;
mod projector;
mod vision;
mod weights;

pub use config::{Activation, ClipVisionConfig, FeatureSelect, GenerationConfig, LlamaConfig, LlavaConfig};
pub use error::LoadError;
pub use language::{KvCache, LayerCache, Llama, LlamaAttention, LlamaLayer, LlamaMlp, Rope};
pub use llava15::LlavaModel;
pub use projector::Projector;
pub use vision::{ClipEncoding, ClipLayer, ClipVision};
pub use weights::{WeightFiles, canonical_llava_name, save_safetensors, write_atomic};
