#![doc = include_str!("../README.md")]

mod diversity;
mod error;
mod labelled;
mod llm_free;
mod plot;
mod proxy;
mod study;
mod trials;

pub use diversity::{DiversityArm, DiversityPlan, diversity};
pub use error::PilotError;
pub use labelled::LabelledImages;
pub use llm_free::{LlmFreeArm, LlmFreePlan, llm_free};
pub use proxy::{ProxyPlan, proxy};
pub use study::{Finding, Outcome, Study, StudyFigure, StudyTable};
pub use trials::{Advance, Trials};
