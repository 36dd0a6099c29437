//! Vision encoders.

mod clip;

pub use clip::{ClipEncoding, ClipLayer, ClipVision};
