#![doc = include_str!("../README.md")]

mod average_pool;
mod cells;
mod cls_attention;
mod crops;
mod draw;
mod eigen;
mod fidelity;
mod fixed;
mod host;
mod in_llm;
mod merged;
mod oracle;
pub mod pre_llm;
mod random;
mod registry;
mod saliency;
mod scores;
mod shuffled;
mod stratified;
mod top;
mod uniform_grid;
mod variant;

pub use average_pool::AveragePool;
pub use cls_attention::ClsAttention;
pub use fidelity::Fidelity;
pub use fixed::{Centre, FirstK, LastK};
pub use host::Matrix;
pub use in_llm::{
    Dart, FastV, PivotOrder, PyramidDrop, Schedule, SparseVlm, SparseVlmVersion, density_peak_means,
};
pub use merged::{CropTokens, pack_crops};
pub use oracle::{OracleDrop, OracleKeep};
pub use pre_llm::cdpruner::CdPruner;
pub use pre_llm::divprune::DivPrune;
pub use pre_llm::fastervlm::FasterVlm;
pub use pre_llm::hired::Hired;
pub use pre_llm::holov::HoloV;
pub use pre_llm::id_selection::IdSelection;
pub use pre_llm::prumerge::PruMerge;
pub use pre_llm::prunesid::PruneSid;
pub use pre_llm::tome::ToMe;
pub use pre_llm::visionzip::VisionZip;
pub use pre_llm::vispruner::VisPruner;
pub use random::Random;
pub use registry::{Baseline, Check, Differs, Paper, find, registry, table};
pub use scores::{ScoreFn, ScoreOrder, Scores};
pub use shuffled::Shuffled;
pub use stratified::Stratified;
pub use top::{highest, host_scores};
pub use uniform_grid::UniformGrid;
pub use variant::Variant;
