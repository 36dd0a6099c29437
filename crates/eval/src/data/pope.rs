//! POPE: is there such an object? (Li et al. 2023)

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SHORT_ANSWER;
use super::json::{Element, TextFile};
use super::question::{Benchmark, Question, ReadOptions, Reference};
use super::table::{Ids, LlavaRow, first_existing, picture};
use crate::EvalError;

/// The three ways in which absent objects are drawn.
pub(crate) const SPLITS: [&str; 3] = ["random", "popular", "adversarial"];

/// One line of `coco_pope_<split>.json`.
#[derive(Deserialize)]
struct Label {
    question_id: serde_json::Number,
    image: String,
    text: String,
    label: String,
}

/// A split's label file with its parsed rows.
struct Split {
    file: TextFile,
    rows: Vec<(usize, Label)>,
}

/// Questions of `llava_pope_test.jsonl` matched by order to `coco/coco_pope_<split>.json`, or of the latter alone.
pub(crate) fn read(root: &Path, options: &ReadOptions) -> Result<Vec<Question>, EvalError> {
    let images = options.images.clone().unwrap_or_else(|| root.join("val2014"));
    let mut splits = HashMap::new();
    for name in SPLITS {
        let path = first_existing(
            root,
            &[
                &format!("coco/coco_pope_{name}.json"),
                &format!("coco_pope_{name}.json"),
            ],
        );
        if let Some(path) = path {
            splits.insert(name, Split::read(&path)?);
        }
    }
    if splits.is_empty() {
        return Err(EvalError::NoFiles {
            root: root.into(),
            wanted: "coco/coco_pope_{random,popular,adversarial}.json".into(),
        });
    }
    match first_existing(root, &["llava_pope_test.jsonl"]) {
        Some(path) => of_llava(&path, &splits, &images),
        None => of_labels(&splits, &images),
    }
}

impl Split {
    fn read(path: &Path) -> Result<Self, EvalError> {
        let file = TextFile::read(path)?;
        let parse = |row: &Element<'_>| Ok((row.line, file.parse::<Label>(row)?));
        let rows = file.rows()?.iter().map(parse).collect::<Result<_, EvalError>>()?;
        Ok(Self { file, rows })
    }

    fn reference(&self, line: usize, label: &Label) -> Result<Reference, EvalError> {
        match label.label.as_str() {
            "yes" => Ok(Reference::YesNo(true)),
            "no" => Ok(Reference::YesNo(false)),
            other => Err(EvalError::line(
                &self.file.path,
                line,
                format!("label `{other}`"),
                "`yes` or `no`",
            )),
        }
    }
}

/// LLaVA's question file; the n-th question of a category has the n-th label of that split.
fn of_llava(path: &Path, splits: &HashMap<&str, Split>, images: &Path) -> Result<Vec<Question>, EvalError> {
    let file = TextFile::read(path)?;
    let mut ids = Ids::default();
    let mut used: HashMap<String, usize> = HashMap::new();
    let mut questions = Vec::new();
    for element in file.rows()? {
        let row: LlavaRow = file.parse(&element)?;
        let category = row.category.clone().unwrap_or_default();
        let split = splits.get(category.as_str()).ok_or_else(|| {
            EvalError::line(
                path,
                element.line,
                format!("category `{category}` without label file"),
                SPLITS.join(", "),
            )
        })?;
        let nth = used.entry(category.clone()).or_default();
        let unmatched = || EvalError::Unmatched {
            path: path.into(),
            line: element.line,
            id: row.id(),
            other: split.file.path.clone(),
        };
        let (line, label) = split.rows.get(*nth).ok_or_else(unmatched)?;
        *nth += 1;
        if label.image != row.image || !row.text.starts_with(&label.text) {
            return Err(unmatched());
        }
        ids.add(path, element.line, &row.id())?;
        let image = picture(path, element.line, images, &row.image)?;
        questions.push(question(
            row.id(),
            &category,
            image,
            row.text,
            split.reference(*line, label)?,
        ));
    }
    Ok(questions)
}

/// The label files alone, in the order random, popular, adversarial; ids are `<split>/<question_id>`.
fn of_labels(splits: &HashMap<&str, Split>, images: &Path) -> Result<Vec<Question>, EvalError> {
    let mut questions = Vec::new();
    for name in SPLITS {
        let Some(split) = splits.get(name) else { continue };
        let mut ids = Ids::default();
        for (line, label) in &split.rows {
            let id = format!("{name}/{}", label.question_id);
            ids.add(&split.file.path, *line, &id)?;
            let image = picture(&split.file.path, *line, images, &label.image)?;
            let text = format!("{}{SHORT_ANSWER}", label.text);
            questions.push(question(id, name, image, text, split.reference(*line, label)?));
        }
    }
    Ok(questions)
}

fn question(id: String, split: &str, image: PathBuf, text: String, reference: Reference) -> Question {
    Question {
        id,
        benchmark: Benchmark::Pope,
        subset: split.into(),
        kind: split.into(),
        image,
        text,
        reference,
    }
}
