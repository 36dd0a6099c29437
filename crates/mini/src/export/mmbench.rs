//! MMBench and MMBench-CN: a table with a row for every rotation of a question's options and the pictures inside.

use super::encode::{inline_name, png};
use super::plan::{Picture, Plan};
use super::scene_questions::{SceneQuestions, scene_questions};
use crate::MiniError;
use crate::text::{QuestionKind, Style, Turn};
use crate::world::SceneDataset;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rayon::prelude::*;
use std::ops::Range;
use std::path::Path;

const HEADER: &str =
    "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsource\tl2-category\tcomment\tsplit";
/// Columns of options.
const MAX_OPTIONS: usize = 4;
/// Rotations of a question have indices that differ by this.
const ROTATION: usize = 1_000_000;
/// Index of the first question.
const FIRST: usize = 241;

/// `wanted` questions, one per picture. Rotated rows name the row that has the picture instead of repeating it.
pub(super) fn plan(
    scenes: &SceneDataset,
    numbers: Range<u64>,
    style: Style,
    wanted: usize,
) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    if wanted == 0 {
        return Ok(plan);
    }
    let edition = if style == Style::MmBenchCn { "CN" } else { "EN" };
    let path = format!("{}/MMBench_DEV_{edition}.tsv", style.name());
    let asked = scene_questions(scenes, numbers, style, wanted, 1, |scene, _| scene)?;
    let encoded: Vec<Vec<u8>> = asked
        .par_iter()
        .map(|SceneQuestions { scene, .. }| png(scene, Path::new(&path)))
        .collect::<Result<_, _>>()?;
    let mut lines = vec![HEADER.to_owned()];
    for (i, (SceneQuestions { scene, turns, .. }, bytes)) in asked.into_iter().zip(&encoded).enumerate() {
        for turn in &turns {
            lines.extend(rows(turn, FIRST + i, &STANDARD.encode(bytes)));
        }
        plan.inline.push(Picture {
            path: format!("{path}/{}", inline_name(bytes)),
            scene,
        });
    }
    plan.text(path, lines.join("\n"));
    Ok(plan)
}

/// A row for each rotation to the left.
fn rows(turn: &Turn, index: usize, picture: &str) -> Vec<String> {
    let n = turn.options.len();
    let right = ('A'..='D')
        .position(|letter| turn.answer == letter.to_string())
        .unwrap_or(0);
    (0..n)
        .map(|k| {
            let mut options = turn.options.clone();
            options.rotate_left(k);
            options.resize(MAX_OPTIONS, String::new());
            let letter = ["A", "B", "C", "D"][(right + n - k) % n];
            let (category, coarse) = categories(turn.kind);
            let image = if k == 0 {
                picture.to_owned()
            } else {
                index.to_string()
            };
            let mut fields = vec![
                (index + k * ROTATION).to_string(),
                turn.question.clone(),
                turn.hint.clone().unwrap_or_default(),
            ];
            fields.extend(options);
            fields.extend([letter, category, &image, "mini", coarse, "", "dev"].map(str::to_owned));
            let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
            fields.join("\t")
        })
        .collect()
}

/// A field with a quote, tab or newline is wrapped in quotes and its quotes are doubled.
fn quoted(field: &str) -> String {
    if field.contains(['"', '\t', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// MMBench's category and coarse category of a kind.
fn categories(kind: QuestionKind) -> (&'static str, &'static str) {
    const INSTANCE: &str = "finegrained_perception (instance-level)";
    match kind {
        QuestionKind::Position => ("object_localization", INSTANCE),
        QuestionKind::Count => ("spatial_relationship", "finegrained_perception (cross-instance)"),
        _ => ("attribute_recognition", INSTANCE),
    }
}
