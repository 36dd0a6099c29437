//! Vision encoders.

mod clip;

pub use clip::{ClipEncoding, ClipLayer, ClipVision};
pub(crate) use clip::{cut_patches, norm};
