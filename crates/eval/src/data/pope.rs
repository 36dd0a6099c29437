//! POPE: is there such an object? (Li et al. 2023)

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SHORT_ANSWER;
use super::json::{Element, TextFile};
use super::problems::Problems;
use super::question::{Benchmark, Question, ReadOptions, Reference};
use super::table::{Ids, LlavaRow, first_existing, image_folder, llava_file, picture};
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

/// A split's label file with its parsed rows; `None` where a row is unusable, since rows are counted.
struct Split {
    file: TextFile,
    rows: Vec<(usize, Option<Label>)>,
}

/// Questions of `llava_pope_test.jsonl` matched by order to `coco/coco_pope_<split>.json`, or of the latter alone.
pub(crate) fn read(
    root: &Path,
    options: &ReadOptions,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let images = image_folder(root, options, &["val2014"]);
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
            splits.insert(name, Split::read(&path, problems)?);
        }
    }
    if splits.is_empty() {
        return Err(EvalError::NoFiles {
            root: root.into(),
            wanted: "coco/coco_pope_{random,popular,adversarial}.json".into(),
        });
    }
    match llava_file(root, options, "llava_pope_test.jsonl") {
        Some(path) => of_llava(&path, &splits, &images, problems),
        None => of_labels(&splits, &images, problems),
    }
}

impl Split {
    fn read(path: &Path, problems: &mut Problems) -> Result<Self, EvalError> {
        let file = TextFile::read(path)?;
        let mut rows = Vec::new();
        for row in file.rows()? {
            rows.push((row.line, problems.keep(file.parse::<Label>(&row))?));
        }
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
fn of_llava(
    path: &Path,
    splits: &HashMap<&str, Split>,
    images: &Path,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let file = TextFile::read(path)?;
    let mut ids = Ids::default();
    let mut used: HashMap<String, usize> = HashMap::new();
    let mut one = |element: &Element<'_>, problems: &Problems| {
        let row: LlavaRow = file.parse(element)?;
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
        let fits = |(_, label): &(usize, Option<Label>)| {
            let label = label.as_ref();
            label.is_some_and(|label| label.image == row.image && row.text.starts_with(&label.text))
        };
        // Only a line that was left out before may move the place.
        let within = if problems.is_empty() { 1 } else { split.rows.len() };
        let step = split.rows[*nth..]
            .iter()
            .take(within)
            .position(fits)
            .ok_or_else(unmatched)?;
        *nth += step + 1;
        let Some((line, Some(label))) = split.rows.get(*nth - 1) else {
            return Err(unmatched());
        };
        ids.add(path, element.line, &row.id())?;
        let image = picture(path, element.line, images, &row.image)?;
        let reference = split.reference(*line, label)?;
        Ok(question(row.id(), &category, image, row.text, reference))
    };
    let mut questions = Vec::new();
    for element in file.rows()? {
        let question = one(&element, problems);
        questions.extend(problems.keep(question)?);
    }
    Ok(questions)
}

/// The label files alone, in the order random, popular, adversarial; ids are `<split>/<question_id>`.
fn of_labels(
    splits: &HashMap<&str, Split>,
    images: &Path,
    problems: &mut Problems,
) -> Result<Vec<Question>, EvalError> {
    let mut questions = Vec::new();
    for name in SPLITS {
        let Some(split) = splits.get(name) else { continue };
        let mut ids = Ids::default();
        let mut one = |line: usize, label: &Label| {
            let id = format!("{name}/{}", label.question_id);
            ids.add(&split.file.path, line, &id)?;
            let image = picture(&split.file.path, line, images, &label.image)?;
            let text = format!("{}{SHORT_ANSWER}", label.text);
            Ok(question(id, name, image, text, split.reference(line, label)?))
        };
        for (line, label) in &split.rows {
            let Some(label) = label else { continue };
            questions.extend(problems.keep(one(*line, label))?);
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
        group: None,
        image,
        inline: None,
        text,
        reference,
    }
}
