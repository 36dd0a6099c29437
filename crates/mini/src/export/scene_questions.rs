//! Questions in one style over as many scenes as that takes.

use crate::MiniError;
use crate::text::{Prompts, Style, Turn, turn};
use crate::world::{Scene, SceneDataset};
use std::ops::Range;

/// Attempts at a question about a scene.
const ATTEMPTS: usize = 6;

/// A scene with its number and its questions.
pub(super) struct SceneQuestions {
    pub number: u64,
    pub scene: Scene,
    pub turns: Vec<Turn>,
}

/// `wanted` questions of a style, up to `per_scene` different ones about each scene; `prepare` may change the scenes.
pub(super) fn scene_questions(
    scenes: &SceneDataset,
    numbers: Range<u64>,
    style: Style,
    wanted: usize,
    per_scene: usize,
    prepare: impl Fn(Scene, u64) -> Scene,
) -> Result<Vec<SceneQuestions>, MiniError> {
    let mut asked = Vec::new();
    let mut found = 0;
    let n_scenes = numbers.end - numbers.start;
    for number in numbers {
        if found == wanted {
            break;
        }
        let scene = prepare(scenes.get(number), number);
        let mut rng = scenes.text_rng(number, 1);
        let mut turns: Vec<Turn> = Vec::new();
        for _ in 0..ATTEMPTS * per_scene {
            if turns.len() == per_scene.min(wanted - found) {
                break;
            }
            let new = turn(style, &scene, scenes.config(), Prompts::Llava, &mut rng);
            turns.extend(new.filter(|new| turns.iter().all(|old| old.question != new.question)));
        }
        found += turns.len();
        if !turns.is_empty() {
            asked.push(SceneQuestions { number, scene, turns });
        }
    }
    if found < wanted {
        return Err(MiniError::TooFew {
            set: style.name().to_owned(),
            found,
            wanted,
            scenes: n_scenes,
        });
    }
    Ok(asked)
}
