//! MME: in each subtask two questions about a picture, one with the answer yes and one with no.

use super::plan::Plan;
use crate::MiniError;
use crate::text::{MmeTask, claim};
use crate::world::SceneDataset;
use rand::RngExt;
use std::ops::Range;

/// Attempts at each of the two questions.
const ATTEMPTS: usize = 12;

/// `per_task` pictures of each subtask, no picture in two of them.
pub(super) fn plan(
    scenes: &SceneDataset,
    mut numbers: Range<u64>,
    per_task: usize,
) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    let n_scenes = numbers.end - numbers.start;
    for task in MmeTask::ALL {
        let folder = format!("mme/MME_Benchmark_release_version/{}", task.folder());
        for found in 0..per_task {
            let (number, scene, mut pair) = numbers
                .by_ref()
                .find_map(|number| {
                    let scene = scenes.get(number);
                    let mut rng = scenes.text_rng(number, 1);
                    let mut ask = |yes: bool| {
                        (0..ATTEMPTS).find_map(|_| claim(&scene, scenes.config(), task, yes, &mut rng))
                    };
                    let pair = [ask(true)?, ask(false)?];
                    Some((number, scene, pair))
                })
                .ok_or_else(|| MiniError::TooFew {
                    set: folder.clone(),
                    found,
                    wanted: per_task,
                    scenes: n_scenes,
                })?;
            if scenes.text_rng(number, 2).random_bool(0.5) {
                pair.reverse();
            }
            let lines = pair.map(|question| {
                let answer = if question.answer == "yes" { "Yes" } else { "No" };
                format!("{} Please answer yes or no.\t{answer}", question.text)
            });
            let stem = format!("{folder}/{:04}", found + 1);
            plan.text(format!("{stem}.txt"), lines.join("\n"));
            plan.picture(format!("{stem}.png"), scene);
        }
    }
    Ok(plan)
}
