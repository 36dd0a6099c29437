//! From an image file to the numbers that a vision tower takes.

mod anyres;
mod coefficients;
mod load;
mod processor;
mod resample;

pub use anyres::AnyRes;
pub use load::{decode_image, load_image};
pub use processor::{ImageMode, ImageProcessor};
pub use resample::resize_bicubic;
