//! LLaVA-1.5: CLIP, a two-layer projector and Llama.

mod llava;
mod model;
mod weights;

pub(crate) use llava::check_images;
pub use llava::{Llava, LlavaParts};
pub use model::LlavaModel;
pub(crate) use weights::{load_table, save_table};
