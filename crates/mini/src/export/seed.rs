//! SEED-Bench: four options about pictures whose files have no ending.

use super::plan::Plan;
use super::scene_questions::{SceneQuestions, scene_questions};
use crate::MiniError;
use crate::text::{QuestionKind, Style};
use crate::world::SceneDataset;
use serde_json::{Value, json};
use std::ops::Range;

/// First question id.
const FIRST_ID: usize = 101_001;
const PER_PICTURE: usize = 3;

/// `wanted` questions, all about pictures; there are no videos.
pub(super) fn plan(scenes: &SceneDataset, numbers: Range<u64>, wanted: usize) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    if wanted == 0 {
        return Ok(plan);
    }
    let mut questions: Vec<Value> = Vec::new();
    for SceneQuestions { number, scene, turns } in scene_questions(
        scenes,
        numbers,
        Style::SeedBench,
        wanted,
        PER_PICTURE,
        |scene, _| scene,
    )? {
        let data_id = format!("{number}_{}", turns.len());
        for turn in turns {
            let mut options = turn.options.iter();
            let mut option = || options.next().cloned().unwrap_or_default();
            questions.push(json!({
                "answer": turn.answer,
                "choice_a": option(),
                "choice_b": option(),
                "choice_c": option(),
                "choice_d": option(),
                "data_id": data_id,
                "data_type": "image",
                "question": turn.question,
                "question_id": (FIRST_ID + questions.len()).to_string(),
                "question_type_id": type_id(turn.kind),
            }));
        }
        plan.picture(format!("seed_bench/SEED-Bench-image/{data_id}"), scene);
    }
    let types = json!({
        "Scene Understanding": 1, "Instance Identity": 2, "Instance Attributes": 3, "Instance Location": 4,
        "Instances Counting": 5, "Spatial Relation": 6, "Instance Interaction": 7, "Visual Reasoning": 8,
        "Text Understanding": 9, "Action Recognition": 10, "Action Prediction": 11, "Procedure Understanding": 12,
    });
    plan.json(
        "seed_bench/SEED-Bench.json",
        &json!({ "questions": questions, "question_type": types }),
    )?;
    Ok(plan)
}

fn type_id(kind: QuestionKind) -> u32 {
    match kind {
        QuestionKind::Shape => 2,
        QuestionKind::Position => 4,
        QuestionKind::Count => 5,
        _ => 3,
    }
}
