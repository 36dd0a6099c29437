//! LLaVA-1.5: CLIP, a two-layer projector and Llama.

mod llava;
mod model;
mod weights;

pub use llava::{Llava, LlavaParts, LoadOptions, load_vlm};
pub use model::LlavaModel;
