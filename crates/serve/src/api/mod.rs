//! Requests and answers as they travel.

mod answer;
mod chat;
mod conversation;
mod select;
mod unsupported;

pub(crate) use answer::{Answer, Chunk, Head, ImageUsage, PromptDetails, Times, Usage};
pub(crate) use chat::ChatRequest;
pub(crate) use conversation::{ImageAsked, conversation};
pub(crate) use select::{MethodSelection, Raster, SelectAnswer, SelectRequest};
pub(crate) use unsupported::refuse_unsupported;
