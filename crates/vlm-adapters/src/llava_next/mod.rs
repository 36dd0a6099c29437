//! LLaVA-NeXT (v1.6): the network of LLaVA-1.5 on a small view of the whole image and on tiles of a large one.

mod model;
mod next;
mod packing;
mod plan;
mod sequence;

pub use model::LlavaNextModel;
pub use next::{LlavaNext, LlavaNextParts};
pub use packing::{NextOptions, NextTokens, Packing};
pub(crate) use plan::BACKBONE;
pub use sequence::Newlines;
