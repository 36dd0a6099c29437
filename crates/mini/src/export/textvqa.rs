//! TextVQA: reading questions with the answers of ten annotators, without OCR tokens.

use super::annotators::ten_answers;
use super::plan::{LlavaRow, Plan, with_suffix};
use crate::MiniError;
use crate::text::{QuestionKind, question_of_kind};
use crate::world::SceneDataset;
use serde_json::{Value, json};
use std::ops::Range;

/// First question id, as in the real validation set.
const FIRST_ID: usize = 34_602;

/// `wanted` questions, one per image with a sign.
pub(super) fn plan(scenes: &SceneDataset, numbers: Range<u64>, wanted: usize) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    let (mut data, mut ocr, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let n_scenes = numbers.end - numbers.start;
    for number in numbers {
        if data.len() == wanted {
            break;
        }
        let scene = scenes.get(number);
        let mut rng = scenes.text_rng(number, 1);
        let Some(question) = question_of_kind(&scene, scenes.config(), QuestionKind::Reading, &mut rng)
        else {
            continue;
        };
        let image = format!("{:016x}", number + 1);
        rows.push(LlavaRow {
            question_id: image.clone(),
            image: format!("{image}.png"),
            text: with_suffix(&question.text),
            category: "default",
        });
        data.push(entry(
            FIRST_ID + data.len(),
            &image,
            &question.text,
            &question.answer,
            scene.image_size,
        ));
        ocr.push(json!({ "image_id": image, "ocr_tokens": [], "ocr_info": [] }));
        plan.picture(format!("textvqa/train_images/{image}.png"), scene);
    }
    if data.len() < wanted {
        return Err(MiniError::TooFew {
            set: "textvqa".to_owned(),
            found: data.len(),
            wanted,
            scenes: n_scenes,
        });
    }
    plan.json("textvqa/TextVQA_0.5.1_val.json", &file("0.5.1", data))?;
    plan.json("textvqa/TextVQA_Rosetta_OCR_v0.2_val.json", &file("0.2", ocr))?;
    plan.lines("textvqa/llava_textvqa_val_v051_ocr.jsonl", &rows)?;
    Ok(plan)
}

fn file(version: &str, data: Vec<Value>) -> Value {
    json!({ "dataset_type": "val", "dataset_name": "textvqa", "dataset_version": version, "data": data })
}

/// One question as the official file has it, in lower case.
fn entry(id: usize, image: &str, question: &str, answer: &str, size: u32) -> Value {
    let question = question.to_lowercase();
    let tokens: Vec<&str> = question.trim_end_matches('?').split_whitespace().collect();
    json!({
        "question": question,
        "image_id": image,
        "image_classes": ["Sign"],
        "flickr_original_url": "",
        "flickr_300k_url": "",
        "image_width": size,
        "image_height": size,
        "answers": ten_answers(answer, id),
        "question_tokens": tokens,
        "question_id": id,
        "set_name": "val",
    })
}
