//! LLaVA-1.5: CLIP, a two-layer projector and Llama.

mod model;

pub use model::LlavaModel;
