//! POPE: is there such an object? (Li et al. 2023)

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::EvalError;
use crate::answer::{Aggregate, Tally};
use crate::data::benchmark::Benchmark;
use crate::data::json::{Element, TextFile};
use crate::data::problems::Problems;
use crate::data::question::{Protocol, Question, ReadOptions, Reference};
use crate::data::readers::{Ids, LlavaRow, first_existing, image_folder, llava_file, picture};
use crate::data::template::SHORT_ANSWER;

/// POPE.
pub(crate) struct Pope;

impl BenchmarkSpec for Pope {
    fn name(&self) -> &'static str {
        "pope"
    }

    fn metric(&self) -> &'static str {
        "pope mean F1"
    }

    fn aggregate(&self) -> Aggregate {
        Aggregate::MeanF1
    }

    fn splits(&self) -> Splits {
        Splits::same("COCO val2014, random + popular + adversarial", 9_000)
    }

    /// Half of the questions are yes: precision and recall of a coin are 1/2, and so is F1.
    fn chance(&self) -> f64 {
        50.0
    }

    fn max_new_tokens(&self, _: Protocol) -> usize {
        128
    }

    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
        read(files.root, files.options, files.problems)
    }

    fn yes_or_no(&self, answer: &str, protocol: Protocol) -> Option<bool> {
        match protocol {
            Protocol::Llava => Some(pope_label(answer)),
            Protocol::LmmsEval => pope_label_lmms(answer),
        }
    }

    fn counts_yes_and_no(&self) -> bool {
        true
    }

    fn answers_offered(&self) -> Option<usize> {
        Some(2)
    }

    fn secondary(&self) -> &'static [SecondaryNumber] {
        &SECONDARY
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        Some(ParquetCopy::new("test", unpack))
    }
}

/// The numbers that POPE's program prints beside F1, as means over the splits like the F1 that tables print, and
/// lmms-eval's numbers over all questions.
const SECONDARY: [SecondaryNumber; 6] = [
    SecondaryNumber::of_all("accuracy", |splits| mean_over(splits, Tally::accuracy)),
    SecondaryNumber::of_all("precision", |splits| {
        mean_over(splits, |split| split.confusion().precision())
    }),
    SecondaryNumber::of_all("recall", |splits| {
        mean_over(splits, |split| split.confusion().recall())
    }),
    SecondaryNumber::of_all("yes ratio", |splits| {
        mean_over(splits, |split| split.confusion().yes_ratio())
    }),
    SecondaryNumber::of_all("pooled F1", |splits| 100.0 * pooled(splits).confusion().f1()),
    SecondaryNumber::of_all("yes ratio of the labels", |splits| {
        100.0 * pooled(splits).label_ratio()
    }),
];

/// Mean over the splits that have questions, percent; NaN without any.
fn mean_over(splits: &[Tally], of: fn(&Tally) -> f64) -> f64 {
    let asked: Vec<&Tally> = splits.iter().filter(|split| split.questions > 0.0).collect();
    100.0 * asked.iter().map(|split| of(split)).sum::<f64>() / asked.len() as f64
}

fn pooled(splits: &[Tally]) -> Tally {
    let mut sum = Tally::default();
    splits.iter().for_each(|split| sum += *split);
    sum
}
#[cfg(feature = "parquet")]
use crate::data::parquet_rows::ParquetRow;
use crate::data::spec::{BenchmarkFiles, BenchmarkSpec, SecondaryNumber, Splits};
#[cfg(feature = "parquet")]
use crate::data::unpack::{OfficialFiles, ParquetCopy};

/// The three ways in which absent objects are drawn.
const SPLITS: [&str; 3] = ["random", "popular", "adversarial"];

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
fn read(root: &Path, options: &ReadOptions, problems: &mut Problems) -> Result<Vec<Question>, EvalError> {
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

/// POPE's label of an answer: no when `No`, `not` or `no` is a word before the first period, otherwise yes.
///
/// Words are separated by single spaces after commas are deleted, so that a newline or another case hides them.
pub fn pope_label(answer: &str) -> bool {
    let before = answer.split('.').next().unwrap_or_default().replace(',', "");
    !before.split(' ').any(|word| matches!(word, "No" | "not" | "no"))
}

/// lmms-eval's label: the trimmed lower-case answer, which must be `yes` or `no`; anything else is no label.
pub fn pope_label_lmms(answer: &str) -> Option<bool> {
    match answer.trim().to_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

#[cfg(feature = "parquet")]
fn unpack(row: ParquetRow<'_>, official: &mut OfficialFiles<'_>) -> Result<(), EvalError> {
    official.next_question();
    let image = format!("{}.jpg", row.text("image_source")?);
    let line = serde_json::json!({"question_id": row.number("question_id")?, "image": image,
        "text": row.text("question")?, "label": row.text("answer")?});
    let file = format!("coco/coco_pope_{}.json", row.text("category")?);
    official.picture(&format!("val2014/{image}"), Some(row.picture()?))?;
    official.line(&file, &line.to_string());
    Ok(())
}
