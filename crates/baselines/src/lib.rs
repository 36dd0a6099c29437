#![doc = include_str!("../README.md")]

mod arms;
mod fidelity;
mod in_llm;
pub mod pre_llm;
mod registry;
mod tools;

pub use arms::average_pool::AveragePool;
pub use arms::cls_attention::ClsAttention;
pub use arms::fixed::{Centre, FirstK, LastK};
pub use arms::oracle::{OracleDrop, OracleKeep};
pub use arms::random::Random;
pub use arms::scores::{ScoreFn, ScoreOrder, Scores};
pub use arms::shuffled::Shuffled;
pub use arms::stratified::Stratified;
pub use arms::uniform_grid::UniformGrid;
pub use fidelity::Fidelity;
pub use in_llm::{
    Dart, FastV, PivotOrder, PyramidDrop, Schedule, SparseVlm, SparseVlmVersion, density_peak_means,
};
pub use pre_llm::cdpruner::CdPruner;
pub use pre_llm::divprune::DivPrune;
pub use pre_llm::fastervlm::FasterVlm;
pub use pre_llm::hired::Hired;
pub use pre_llm::holov::HoloV;
pub use pre_llm::id_selection::{IdSelection, Importance, Scaling, Suppression};
pub use pre_llm::prumerge::PruMerge;
pub use pre_llm::prunesid::PruneSid;
pub use pre_llm::tome::ToMe;
pub use pre_llm::visionzip::VisionZip;
pub use pre_llm::vispruner::VisPruner;
pub use registry::{Baseline, Check, Differs, Paper, find, find_for, registry, table};
pub use tools::encoder::Encoder;
pub use tools::host::Matrix;
pub use tools::merged::{CropTokens, pack_crops};
pub use tools::top::{highest, host_scores};
