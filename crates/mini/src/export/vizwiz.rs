//! VizWiz: pictures that are sometimes out of focus, and questions that sometimes have no answer.

use super::annotators::ten_answers;
use super::plan::Plan;
use super::scene_questions::{SceneQuestions, scene_questions};
use crate::MiniError;
use crate::text::{Style, UNANSWERABLE};
use crate::world::{Scene, SceneDataset};
use serde_json::{Value, json};
use std::ops::Range;

/// One scene in so many is out of focus.
const BLURRED: u64 = 8;

/// `wanted` questions, one per picture.
pub(super) fn plan(scenes: &SceneDataset, numbers: Range<u64>, wanted: usize) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    if wanted == 0 {
        return Ok(plan);
    }
    let blurred = |scene, number: u64| Scene {
        blurred: number.is_multiple_of(BLURRED),
        ..scene
    };
    let mut entries: Vec<Value> = Vec::new();
    for SceneQuestions { scene, turns, .. } in
        scene_questions(scenes, numbers, Style::VizWiz, wanted, 1, blurred)?
    {
        let image = format!("VizWiz_val_{:08}.png", entries.len());
        plan.picture(format!("vizwiz/val/{image}"), scene);
        for turn in turns {
            let answers: Vec<Value> = ten_answers(&turn.answer, entries.len())
                .into_iter()
                .map(|answer| json!({ "answer_confidence": "yes", "answer": answer }))
                .collect();
            let kind = match turn.answer.as_str() {
                UNANSWERABLE => UNANSWERABLE,
                _ => "other",
            };
            entries.push(json!({
                "image": image,
                "question": turn.question,
                "answers": answers,
                "answer_type": kind,
                "answerable": u32::from(kind != UNANSWERABLE),
            }));
        }
    }
    plan.json("vizwiz/Annotations/val.json", &entries)?;
    Ok(plan)
}
