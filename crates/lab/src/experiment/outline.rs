//! The work of an experiment before it begins.

use diffprune_mini::MiniCounts;

use super::studies::{StudyModels, studies_work};
use super::tuning::tried;
use super::{Learned, Lineup, Plan};

/// The work of drawing a picture, of encoding one, of an answer, of a report and of a study's picture, in updates on one caption:
/// rough, for an estimate that times correct.
const PICTURE: f64 = 0.05;
const ENCODED: f64 = 0.5;
const ANSWER: f64 = 0.3;
const REPORT: f64 = 100.0;
const STUDY: f64 = 2.0;

/// What there is to do beside the plan and the line-ups.
pub(super) struct Extent<'a> {
    /// Number of questions of a folder of data; without it the small world is drawn first.
    pub(super) given: Option<usize>,
    /// True when the captions are encoded before the trainings.
    pub(super) encodes: bool,
    /// True when the first model is tuned on.
    pub(super) tunes: bool,
    /// The models of the pilot studies; none: no studies.
    pub(super) studies: Option<&'a StudyModels>,
}

/// The work of each stage of the experiments with these line-ups, in the order in which they are begun.
pub(super) fn outline(plan: &Plan, lineups: &[Lineup], extent: &Extent<'_>, seed: u64) -> Vec<f64> {
    let given = extent.given;
    let questions = given.unwrap_or_else(|| questions(&plan.counts, plan.pope_per_image));
    let captions = plan.counts.train_captions + plan.counts.val_captions;
    let pictures = captions + questions;
    let features = extent.encodes.then_some(ENCODED * captions as f64);
    let mut work = match given {
        Some(_) => Vec::new(),
        None => vec![PICTURE * pictures as f64],
    };
    for (number, lineup) in lineups.iter().enumerate() {
        let updates = |learned: &Learned| (learned.steps.unwrap_or(plan.steps) * plan.batch) as f64;
        if let Some(tuning) = plan.tuning.as_ref().filter(|_| number == 0 && extent.tunes) {
            work.extend(features);
            // The declared recipe does not depend on the width as far as its number of trials goes.
            let trials = tuning.recipes(plan.declared(0)).len();
            for learned in tried(&lineup.learned) {
                work.extend(std::iter::repeat_n(updates(&learned), trials));
            }
        }
        work.extend(features);
        for learned in &lineup.learned {
            let trainings =
                learned.training_budgets(&lineup.budgets).len() * learned.training_seeds(seed).len();
            work.extend(std::iter::repeat_n(updates(learned), trainings));
        }
        work.push(ANSWER * (questions * lineup.arms.len() * lineup.budgets.len()) as f64);
        if let Some(models) = extent.studies.filter(|_| number == 0) {
            let has_longer = lineup.learned.iter().any(|learned| learned.steps.is_some());
            let studies = studies_work(&plan.studies, models, has_longer);
            let cost = |[pictures, answers]: [usize; 2]| STUDY * pictures as f64 + ANSWER * answers as f64;
            work.extend(studies.into_iter().map(cost));
        }
        work.push(REPORT);
        if plan.rounds > 0 {
            work.push(ANSWER * (plan.rounds * lineup.arms.len()) as f64);
        }
    }
    work
}

/// About as many questions as the world of these counts has.
pub(super) fn questions(counts: &MiniCounts, pope_per_image: usize) -> usize {
    let rotated = 4 * (counts.mmbench_questions + counts.mmbench_cn_questions);
    let single = counts.textvqa_questions + counts.vqav2_questions + counts.vizwiz_questions;
    let others = counts.seed_bench_questions + counts.scienceqa_questions + 10 * counts.mme_pictures;
    3 * counts.pope_images * pope_per_image + 7 * counts.gqa_per_kind + rotated + single + others
}
