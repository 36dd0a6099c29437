//! Vision encoders.

mod clip;
mod observe;

pub use clip::{ClipLayer, ClipVision};
pub use observe::ClipEncoding;
pub(crate) use observe::TokenRows;
