//! From a picture to the numbers that a vision tower takes.

mod anyres;
mod processor;
mod qwen;
mod smart_resize;

pub use anyres::AnyRes;
pub use processor::{CropCenter, ImageMode, ImageProcessor};
pub use qwen::QwenImageProcessor;
pub(crate) use qwen::block_order;
pub use smart_resize::smart_resize;
