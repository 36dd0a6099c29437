//! Pictures with captions, the only labels that a scorer is trained on.

use super::plan::Plan;
use crate::MiniError;
use crate::text::caption;
use crate::world::SceneDataset;
use serde::Serialize;

/// A row of `captions.jsonl`; `image` is relative to the file's folder.
#[derive(Debug, Serialize)]
struct Row {
    image: String,
    caption: String,
}

/// The first `count` scenes of a split under `captions/<split>/`.
pub(super) fn plan(scenes: &SceneDataset, count: usize) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    let folder = format!("captions/{}", scenes.split().word());
    let mut rows = Vec::with_capacity(count);
    for number in 0..count as u64 {
        let scene = scenes.get(number);
        let image = format!("images/{number:06}.png");
        rows.push(Row {
            image: image.clone(),
            caption: caption(&scene, &mut scenes.text_rng(number, 0)),
        });
        plan.picture(format!("{folder}/{image}"), scene);
    }
    plan.lines(&format!("{folder}/captions.jsonl"), &rows)?;
    Ok(plan)
}
