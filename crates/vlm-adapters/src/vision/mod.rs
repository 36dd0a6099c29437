//! Vision encoders.

mod clip;
mod observe;

pub use clip::{ClipLayer, ClipVision};
pub(crate) use clip::{cut_patches, linear};
pub use observe::ClipEncoding;
pub(crate) use observe::{Scattered, TokenRows};
