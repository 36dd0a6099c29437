//! GQA: one object of questions by id, and LLaVA's question file.

use super::plan::{LlavaRow, Plan, with_suffix};
use crate::MiniError;
use crate::text::{Question, QuestionKind, question_of_kind};
use crate::world::SceneDataset;
use serde_json::{Map, Value, json};
use std::ops::Range;

/// The kinds that are asked, each equally often.
const KINDS: [QuestionKind; 6] = [
    QuestionKind::Colour,
    QuestionKind::Shape,
    QuestionKind::Position,
    QuestionKind::Count,
    QuestionKind::Relation,
    QuestionKind::MultipleChoice,
];

/// First question id; ids have eight digits as in the real set.
const FIRST_ID: usize = 20_000_000;

/// A question that has got its image.
struct ImageQuestion {
    image: String,
    question: Question,
}

/// `per_kind` questions of each kind and a tenth of all without an answer, over as many scenes as that takes.
pub(super) fn plan(scenes: &SceneDataset, numbers: Range<u64>, per_kind: usize) -> Result<Plan, MiniError> {
    let mut plan = Plan::default();
    let unanswerable = (KINDS.len() * per_kind).div_ceil(9);
    let mut wanted: Vec<(QuestionKind, usize)> = KINDS.iter().map(|kind| (*kind, per_kind)).collect();
    wanted.push((QuestionKind::Unanswerable, unanswerable));
    let total = wanted.iter().map(|(_, n)| n).sum();
    let (first, last) = (numbers.start, numbers.end);
    let mut asked: Vec<ImageQuestion> = Vec::new();
    for number in numbers {
        if wanted.iter().all(|(_, n)| *n == 0) {
            break;
        }
        let scene = scenes.get(number);
        let image = format!("n{:06}", number + 1);
        let mut rng = scenes.text_rng(number, 1);
        let before = asked.len();
        for (kind, missing) in wanted.iter_mut().filter(|(_, missing)| *missing > 0) {
            // Unanswerable ones are spread over all images instead of filling the first ones.
            let is_due = *kind != QuestionKind::Unanswerable || number.is_multiple_of(2);
            let question = question_of_kind(&scene, scenes.config(), *kind, &mut rng);
            // Reading has its own benchmark; here is no place for it.
            let question = question.filter(|question| is_due && question.form != QuestionKind::Reading);
            if let Some(question) = question {
                *missing -= 1;
                asked.push(ImageQuestion {
                    image: image.clone(),
                    question,
                });
            }
        }
        if asked.len() > before {
            plan.picture(format!("gqa/data/images/{image}.png"), scene);
        }
    }
    if asked.len() < total {
        return Err(MiniError::TooFew {
            set: "gqa".to_owned(),
            found: asked.len(),
            wanted: total,
            scenes: last - first,
        });
    }
    write(&mut plan, &asked)?;
    Ok(plan)
}

fn write(plan: &mut Plan, asked: &[ImageQuestion]) -> Result<(), MiniError> {
    let mut entries = Map::new();
    let mut rows = Vec::with_capacity(asked.len());
    for (i, ImageQuestion { image, question }) in asked.iter().enumerate() {
        let id = (FIRST_ID + i + 1).to_string();
        rows.push(LlavaRow {
            question_id: id.clone(),
            image: format!("{image}.png"),
            text: with_suffix(&question.text),
            category: "default",
        });
        let entry = entry(&id, image, question);
        entries.insert(id, entry);
    }
    plan.json("gqa/data/questions1.2/testdev_balanced_questions.json", &entries)?;
    plan.lines("gqa/llava_gqa_testdev_balanced.jsonl", &rows)
}

/// One question with all fields of the official file. The exact kind stands in `types.detailed`, the form in
/// `groups.local`; they differ for unanswerable questions only. The official scorer lower-cases predictions, so
/// answers are lower-case.
fn entry(id: &str, image: &str, question: &Question) -> Value {
    let (structural, semantic, operation) = types(question.form);
    let answer = question.answer.to_lowercase();
    json!({
        "question": question.text,
        "imageId": image,
        "answer": answer,
        "fullAnswer": format!("The answer is {answer}."),
        "isBalanced": true,
        "groups": { "global": question.form.word(), "local": question.form.word() },
        "types": { "structural": structural, "semantic": semantic, "detailed": question.kind.word() },
        "semantic": [
            { "operation": "select", "dependencies": [], "argument": "object" },
            { "operation": operation, "dependencies": [0], "argument": question.form.word() },
        ],
        "semanticStr": format!("select: object->{operation}: {} [0]", question.form.word()),
        "entailed": [],
        "equivalent": [id],
        "annotations": { "answer": {}, "question": {}, "fullAnswer": {} },
    })
}

/// GQA's structural type, semantic type and last operation for a form.
fn types(form: QuestionKind) -> (&'static str, &'static str, &'static str) {
    match form {
        QuestionKind::Relation => ("verify", "rel", "verify rel"),
        QuestionKind::Position => ("query", "rel", "query"),
        QuestionKind::MultipleChoice => ("choose", "attr", "choose"),
        QuestionKind::Count => ("query", "global", "query"),
        _ => ("query", "attr", "query"),
    }
}
