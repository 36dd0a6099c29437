//! The small world on disk, in the layouts of the real benchmarks.

mod boxes;
mod captions;
mod gqa;
mod plan;
mod pope;
mod textvqa;
mod world;

pub use boxes::{Boxes, ImageTruth, ObjectTruth, SignTruth};
pub use world::{MiniCounts, MiniWorld, Progress, Written};
