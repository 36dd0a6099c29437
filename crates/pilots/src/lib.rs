#![doc = include_str!("../README.md")]

mod coherence;
mod diversity;
mod error;
mod labelled;
mod landscape;
mod llm_free;
mod proxy;
mod scales;
mod study;
mod trials;
mod units;
mod widths;

pub use coherence::{Along, CoherenceArm, CoherencePlan, CoherencePoint, GradientAt, GradientFn, coherence};
pub use diversity::{DiversityArm, DiversityPlan, diversity};
pub use error::PilotError;
pub use labelled::LabelledImages;
pub use landscape::{LandscapeArm, LandscapePlan, LandscapePoint, LossFn, MatrixPlace, landscape};
pub use llm_free::{LlmFreeArm, LlmFreeModels, LlmFreePlan, llm_free};
pub use proxy::{ProxyPlan, proxy};
pub use scales::{SIZES, ScaledAnswer, ScaledModel, ScalesPlan, scales};
pub use study::{Finding, Outcome, Study, StudyFigure, StudyTable};
pub use trials::{Advance, Trials};
pub use widths::{NetworkWidth, coherence_over_widths};
