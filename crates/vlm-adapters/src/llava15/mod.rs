//! LLaVA-1.5: CLIP, a two-layer projector and Llama.

mod llava;
mod model;
mod plan;
mod weights;

pub use llava::{Llava, LlavaParts};
pub(crate) use llava::{check_placeholder, layout, mismatch};
pub use model::LlavaModel;
pub(crate) use plan::BACKBONE;
pub(crate) use weights::{load_table, with_stored_head};
