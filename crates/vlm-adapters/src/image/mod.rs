//! From an image file to the numbers that a vision tower takes.

mod anyres;
mod channels;
mod coefficients;
mod jpeg;
mod kind;
mod load;
mod processor;
mod qwen;
mod resample;
mod smart_resize;

pub use anyres::AnyRes;
pub use coefficients::Filter;
pub use kind::image_kind;
pub use load::{ImageOrientation, decode_image, image_size, load_image, load_image_with};
pub use processor::{CropCenter, ImageMode, ImageProcessor};
pub use qwen::QwenImageProcessor;
pub(crate) use qwen::block_order;
pub use resample::resize_bicubic;
pub use smart_resize::smart_resize;
