//! Qwen2.5-VL: a vision tower with windows, a merger of cells and Qwen2.5 with three position axes.

mod block;
mod merger;
mod model;
mod names;
mod plan;
mod qwen;
mod sets;
mod vision;
mod weights;
mod windows;

pub use block::QwenVisionBlock;
pub use merger::QwenMerger;
pub use model::Qwen25VlModel;
pub use names::canonical_qwen_name;
pub(crate) use plan::BACKBONE;
pub use qwen::{PruningSite, Qwen25Vl, Qwen25VlParts, QwenOptions};
pub use vision::{QwenEncoding, QwenVision};
pub use windows::WindowPlan;
