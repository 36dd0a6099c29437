//! From an image file to the numbers that a vision tower takes.

mod coefficients;
mod load;
mod processor;
mod resample;

pub use coefficients::Filter;
pub use load::{decode_image, load_image};
pub use processor::{CropCenter, ImageMode, ImageProcessor};
pub use resample::resize_bicubic;
