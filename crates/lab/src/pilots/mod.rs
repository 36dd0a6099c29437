//! The pilot studies with methods by their names.

mod parameters;
mod pictures;
mod scales;
mod trainings;
mod widths;

use std::path::PathBuf;
use std::sync::Arc;

use diffprune::pruning::descriptors;
use diffprune::vlm::{Encoded, Vit};
use diffprune::{LearnedPruner, Pruner, Vlm};
use diffprune_pilots::{
    Advance, DiversityArm, DiversityPlan, LabelledImages, LlmFreeArm, LlmFreeModels, LlmFreePlan, Study,
    diversity, llm_free,
};
use image::RgbImage;

use crate::LabError;
use crate::methods::{Method, load_scorer, untrained};
use crate::model::LoadedModel;

pub use pictures::study_pictures;
pub use scales::{SCALE_BENCHMARKS, ScaleQuestions, scale_study};
pub use trainings::GeneratedCaptions;
pub use widths::{NamedVit, read_classifiers, sizes_beside, width_study};

/// Name of the judged arm.
const OURS: &str = "diffprune";
/// Draws of a scorer before its training.
const UNTRAINED: u64 = 5;
/// Seeds of random choice.
const RANDOM: usize = 3;
/// Rivals that the claim about selection without a language model names.
const RIVALS: [&str; 2] = ["holov", "fastv-kept"];

/// The model and the trained scorers of a study.
pub struct PilotModel<'a> {
    /// The frozen model.
    pub vlm: &'a dyn Vlm,
    /// Its name, for captions.
    pub name: String,
    /// Folders of scorers that DiffPrune trained on it, one for each training seed.
    pub scorers: Vec<PathBuf>,
    /// Folders of trainings of DiffPrune and its contrasts on it, whose checkpoints are looked at too.
    pub runs: Vec<PathBuf>,
}

impl<'a> PilotModel<'a> {
    /// A model under its own name, with the folders of its scorers.
    pub fn new(model: &'a LoadedModel, scorers: Vec<PathBuf>) -> Self {
        Self {
            vlm: model.vlm.as_ref(),
            name: model.name(),
            scorers,
            runs: Vec::new(),
        }
    }

    fn scorers(&self) -> Result<Vec<LearnedPruner>, LabError> {
        if self.scorers.is_empty() {
            return Err(LabError::Setup {
                subject: "scorers".into(),
                found: "none".into(),
                wanted: "at least one folder of a scorer that `diffprune train` wrote for this model".into(),
            });
        }
        self.scorers
            .iter()
            .map(|dir| load_scorer(dir, self.vlm))
            .collect()
    }

    fn untrained(&self, seed: u64) -> Result<Vec<LearnedPruner>, LabError> {
        (seed..seed + UNTRAINED)
            .map(|seed| untrained(self.vlm, seed))
            .collect()
    }

    /// DiffPrune, HoloV, FastV, attention, random choice and untrained scorers, judged by a classifier: claim
    /// `f3.llm-free`.
    ///
    /// # Errors
    /// When a scorer cannot be read, a method cannot choose, or `advance` stops the study.
    pub fn llm_free(
        &self,
        vit: &Vit,
        classifier: &str,
        data: &LabelledImages,
        plan: &LlmFreePlan,
        advance: &mut Advance<'_>,
    ) -> Result<Study, LabError> {
        let shared = |pruner: LearnedPruner| Arc::new(pruner) as Arc<dyn Pruner>;
        let mut arms = vec![LlmFreeArm {
            name: OURS.into(),
            pruners: self.scorers()?.into_iter().map(shared).collect(),
        }];
        let attention = crate::default_method(self.vlm.family());
        for name in RIVALS.into_iter().chain([attention]) {
            let method = Method::parse(name, self.vlm, plan.seed)?;
            arms.push(LlmFreeArm {
                name: name.into(),
                pruners: vec![method.pruner()],
            });
        }
        arms.push(LlmFreeArm {
            name: "random".into(),
            pruners: vec![Method::parse("random", self.vlm, plan.seed)?.pruner(); RANDOM],
        });
        arms.push(LlmFreeArm {
            name: "untrained".into(),
            pruners: self.untrained(plan.seed)?.into_iter().map(shared).collect(),
        });
        let models = LlmFreeModels {
            vlm: self.vlm,
            name: &self.name,
            vit,
            classifier,
        };
        Ok(llm_free(&models, data, &arms, &RIVALS, plan, advance)?)
    }

    /// Likeness of the tokens that DiffPrune scores highest and lowest, beside attention and untrained scorers: claim
    /// `f5.diverse`.
    ///
    /// # Errors
    /// As [`Self::llm_free`].
    pub fn diversity(
        &self,
        images: &[RgbImage],
        plan: &DiversityPlan,
        advance: &mut Advance<'_>,
    ) -> Result<Study, LabError> {
        let group = self.vlm.group();
        let learned = |name: String, pruner: LearnedPruner| DiversityArm {
            name,
            scores: Box::new(move |encoded: &Encoded| {
                Ok(pruner.scores(descriptors(encoded.tokens.clone(), group), encoded.mask.clone()))
            }),
        };
        let mut arms = Vec::new();
        for (number, scorer) in self.scorers()?.into_iter().enumerate() {
            let name = match number {
                0 => OURS.to_string(),
                _ => format!("{OURS} (training {})", number + 1),
            };
            arms.push(learned(name, scorer));
        }
        for (number, scorer) in self.untrained(plan.seed)?.into_iter().enumerate() {
            arms.push(learned(format!("untrained (draw {})", number + 1), scorer));
        }
        Ok(diversity(self.vlm, &self.name, images, &arms, plan, advance)?)
    }
}
