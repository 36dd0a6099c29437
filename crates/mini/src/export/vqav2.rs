//! VQAv2: short answers of ten annotators, questions and annotations in two files.

use super::annotators::ten_answers;
use super::plan::Plan;
use super::scene_questions::{SceneQuestions, scene_questions};
use crate::MiniError;
use crate::text::Style;
use crate::world::SceneDataset;
use serde_json::{Value, json};
use std::ops::Range;

const PER_PICTURE: usize = 3;

/// `wanted` questions about colour and number, half of the former asked for yes or no.
pub(super) fn plan(scenes: &SceneDataset, numbers: Range<u64>, wanted: usize) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    if wanted == 0 {
        return Ok(plan);
    }
    let (mut questions, mut annotations): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let asked = scene_questions(scenes, numbers, Style::VqaV2, wanted, PER_PICTURE, |scene, _| {
        scene
    })?;
    for (image_id, SceneQuestions { scene, turns, .. }) in (1usize..).zip(asked) {
        for (i, turn) in turns.into_iter().enumerate() {
            let id = 1000 * image_id + i;
            let (question_type, answer_type) = types(&turn.question);
            let answers: Vec<Value> = ten_answers(&turn.answer, annotations.len())
                .into_iter()
                .zip(1..)
                .map(|(answer, annotator)| {
                    json!({ "answer": answer, "answer_confidence": "yes", "answer_id": annotator })
                })
                .collect();
            annotations.push(json!({
                "question_type": question_type,
                "multiple_choice_answer": turn.answer,
                "answers": answers,
                "image_id": image_id,
                "answer_type": answer_type,
                "question_id": id,
            }));
            questions.push(json!({ "image_id": image_id, "question": turn.question, "question_id": id }));
        }
        plan.picture(format!("vqav2/val2014/COCO_val2014_{image_id:012}.png"), scene);
    }
    let file = |key: &str, rows: Vec<Value>| {
        json!({
            "info": { "description": "mini world", "version": "2.0" },
            "task_type": "Open-Ended",
            "data_type": "mscoco",
            "license": { "name": "none" },
            "data_subtype": "val2014",
            key: rows,
        })
    };
    plan.json(
        "vqav2/v2_OpenEnded_mscoco_val2014_questions.json",
        &file("questions", questions),
    )?;
    plan.json(
        "vqav2/v2_mscoco_val2014_annotations.json",
        &file("annotations", annotations),
    )?;
    Ok(plan)
}

/// VQAv2's types of a question and of its answer.
fn types(question: &str) -> (&'static str, &'static str) {
    if question.starts_with("How many") {
        ("how many", "number")
    } else if question.starts_with("Is the") {
        ("is the", "yes/no")
    } else {
        ("what color is the", "other")
    }
}
