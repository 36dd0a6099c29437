//! Methods that drop visual tokens inside the language model.
//!
//! Each is a [`Pruner`](diffprune_pruner::Pruner) that keeps every token before the language model and a
//! [`DecoderPruner`](diffprune_pruner::DecoderPruner) that acts between its layers.

mod cluster;
pub(crate) mod dart;
pub(crate) mod fastv;
pub(crate) mod pyramiddrop;
mod schedule;
mod scores;
pub(crate) mod sparsevlm;

pub use cluster::density_peak_means;
pub use dart::{Dart, PivotOrder};
pub use fastv::FastV;
pub use pyramiddrop::PyramidDrop;
pub use schedule::Schedule;
pub use sparsevlm::{SparseVlm, SparseVlmVersion};
