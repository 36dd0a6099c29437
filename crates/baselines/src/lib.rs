#![doc = include_str!("../README.md")]

mod average_pool;
mod cells;
mod cls_attention;
mod draw;
mod fixed;
mod in_llm;
mod oracle;
mod random;
mod registry;
mod scores;
mod stratified;
mod top;
mod uniform_grid;

pub use average_pool::AveragePool;
pub use cls_attention::ClsAttention;
pub use fixed::{Centre, FirstK, LastK};
pub use in_llm::{
    Dart, FastV, PivotOrder, PyramidDrop, Schedule, SparseVlm, SparseVlmVersion, density_peak_means,
};
pub use oracle::{OracleDrop, OracleKeep};
pub use random::Random;
pub use registry::{Baseline, find, registry};
pub use scores::{ScoreFn, ScoreOrder, Scores};
pub use stratified::Stratified;
pub use uniform_grid::UniformGrid;
