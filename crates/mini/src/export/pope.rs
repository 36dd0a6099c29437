//! POPE: existence questions, three files of JSON lines and LLaVA's question file.

use super::plan::{LlavaRow, Plan, with_suffix};
use crate::MiniError;
use crate::text::{Question, QuestionKind, existence};
use crate::world::{Scene, SceneDataset};
use serde::Serialize;

/// The three sets in the order of LLaVA's question file.
const SETS: [(&str, QuestionKind); 3] = [
    ("adversarial", QuestionKind::ExistenceAdversarial),
    ("popular", QuestionKind::ExistencePopular),
    ("random", QuestionKind::ExistenceRandom),
];

/// Questions with the answer yes, and as many with no, per image and set, where the scene has so many.
const PAIRS: usize = 3;

/// A row of `coco_pope_*.json`.
#[derive(Debug, Serialize)]
struct LabelRow {
    question_id: usize,
    image: String,
    text: String,
    label: String,
}

/// The set over the given numbers of scenes.
pub(super) fn plan(scenes: &SceneDataset, numbers: impl Iterator<Item = u64>) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    let numbers: Vec<u64> = numbers.collect();
    let named: Vec<(String, Scene)> = numbers
        .iter()
        .map(|i| (format!("COCO_val2014_{:012}.png", i + 1), scenes.get(*i)))
        .collect();
    let mut asked = Vec::new();
    for (epoch, (set, kind)) in (1u64..).zip(SETS) {
        let mut labels = Vec::new();
        for (number, (image, scene)) in numbers.iter().zip(&named) {
            for question in balanced(scenes, scene, *number, epoch, kind) {
                asked.push(LlavaRow {
                    question_id: asked.len(),
                    image: image.clone(),
                    text: with_suffix(&question.text),
                    category: set,
                });
                labels.push(LabelRow {
                    question_id: labels.len() + 1,
                    image: image.clone(),
                    text: question.text,
                    label: question.answer,
                });
            }
        }
        plan.lines(&format!("pope/coco/coco_pope_{set}.json"), &labels)?;
    }
    plan.lines("pope/llava_pope_test.jsonl", &asked)?;
    for (image, scene) in named {
        plan.picture(format!("pope/val2014/{image}"), scene);
    }
    Ok(plan)
}

/// Different questions, yes and no in turn.
fn balanced(
    scenes: &SceneDataset,
    scene: &Scene,
    number: u64,
    epoch: u64,
    kind: QuestionKind,
) -> Vec<Question> {
    let mut rng = scenes.text_rng(number, epoch);
    let mut chosen: Vec<Question> = Vec::new();
    for _ in 0..PAIRS {
        let mut fresh = |yes: bool| {
            (0..12)
                .filter_map(|_| existence(scene, scenes.config(), kind, yes, &mut rng))
                .find(|new| chosen.iter().all(|old| old.text != new.text))
        };
        if let (Some(yes), Some(no)) = (fresh(true), fresh(false)) {
            chosen.extend([yes, no]);
        }
    }
    chosen
}
