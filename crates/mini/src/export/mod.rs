//! The small world on disk, in the layouts of the real benchmarks.

mod annotators;
mod boxes;
mod captions;
mod encode;
mod gqa;
mod mmbench;
mod mme;
mod plan;
mod pope;
mod scene_questions;
mod scienceqa;
mod seed;
mod textvqa;
mod vizwiz;
mod vqav2;
mod world;

pub use boxes::{Boxes, ImageTruth, ObjectTruth, SignTruth};
pub use world::{MiniCounts, MiniWorld, Progress, Written};
