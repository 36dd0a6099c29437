//! ScienceQA: two to five options, in three of four questions after a context.

use super::plan::Plan;
use super::scene_questions::{SceneQuestions, scene_questions};
use crate::MiniError;
use crate::text::{QuestionKind, Style};
use crate::world::SceneDataset;
use serde_json::{Map, Value, json};
use std::ops::Range;

/// `wanted` questions, one per picture, all of the test split.
pub(super) fn plan(scenes: &SceneDataset, numbers: Range<u64>, wanted: usize) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    if wanted == 0 {
        return Ok(plan);
    }
    let mut problems = Map::new();
    let mut ids: Vec<String> = Vec::new();
    for SceneQuestions { scene, turns, .. } in
        scene_questions(scenes, numbers, Style::ScienceQa, wanted, 1, |scene, _| scene)?
    {
        let id = (ids.len() + 1).to_string();
        for turn in turns {
            let right = ('A'..='E').position(|letter| turn.answer == letter.to_string());
            let (topic, skill) = subject(turn.kind);
            let problem: Value = json!({
                "question": turn.question,
                "choices": turn.options,
                "answer": right,
                "hint": turn.hint.unwrap_or_default(),
                "image": "image.png",
                "task": "closed choice",
                "grade": "grade1",
                "subject": "natural science",
                "topic": topic,
                "category": "Shapes",
                "skill": skill,
                "lecture": "",
                "solution": "",
                "split": "test",
            });
            problems.insert(id.clone(), problem);
        }
        plan.picture(format!("scienceqa/images/test/{id}/image.png"), scene);
        ids.push(id);
    }
    plan.json("scienceqa/problems.json", &problems)?;
    let none: [String; 0] = [];
    let splits = json!({
        "train": none, "val": none, "test": ids, "trainval": none, "minitrain": none, "minival": none, "minitest": none,
    });
    plan.json("scienceqa/pid_splits.json", &splits)?;
    Ok(plan)
}

fn subject(kind: QuestionKind) -> (&'static str, &'static str) {
    match kind {
        QuestionKind::Count => ("counting", "Count objects"),
        QuestionKind::Position => ("geometry", "Locate objects"),
        QuestionKind::Shape => ("geometry", "Name shapes"),
        _ => ("physics", "Name colors"),
    }
}
