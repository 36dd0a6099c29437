//! The parquet copies of the benchmarks, unpacked into the official layouts. Rows are streamed: only texts are held.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::question::Benchmark;
use super::rows::{Record, SplitFiles, place, unfit};
use super::table::id_text;
use crate::EvalError;

/// Writes the official files of a benchmark below `to` from the parquet files below `from`, so that
/// [`Benchmark::read`] reads them: every part of the default split. Gives the number of questions. `progress` is told
/// after each row how many are done, and of how many.
///
/// ScienceQA has no ids there (they become row numbers), SEED-Bench no names of question types; of a video's frames the first
/// is written.
///
/// # Errors
/// When there is no parquet file of the split, one is damaged or lacks a column, or the disk refuses.
pub fn unpack_parquet(
    benchmark: Benchmark,
    from: &Path,
    to: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<usize, EvalError> {
    let split = match benchmark {
        Benchmark::Gqa => "testdev",
        Benchmark::MmBench | Benchmark::MmBenchCn => "dev",
        Benchmark::TextVqa | Benchmark::VqaV2 => "validation",
        Benchmark::VizWiz => "val",
        Benchmark::Pope | Benchmark::Mme | Benchmark::ScienceQa | Benchmark::SeedBench => "test",
    };
    let files = SplitFiles::open(from, split, benchmark == Benchmark::Gqa)?;
    let n_rows = files.n_rows();
    let mut unpacked = Unpacked::new(benchmark, to);
    for (done, row) in files.rows().enumerate() {
        let (path, number, record) = row?;
        unpacked.add(path, number, record)?;
        progress(done + 1, n_rows);
    }
    unpacked.write()
}

/// The official files in the making: their paths and texts.
struct Unpacked<'a> {
    benchmark: Benchmark,
    to: &'a Path,
    n_questions: usize,
    /// Elements of the JSON lists, by file.
    lists: BTreeMap<&'static str, Vec<String>>,
    /// Text files.
    texts: BTreeMap<String, String>,
    seen: HashSet<String>,
}

/// The columns of MMBench's table.
const COLUMNS: [&str; 14] = [
    "index",
    "question",
    "hint",
    "A",
    "B",
    "C",
    "D",
    "answer",
    "category",
    "image",
    "source",
    "l2-category",
    "comment",
    "split",
];

impl<'a> Unpacked<'a> {
    fn new(benchmark: Benchmark, to: &'a Path) -> Self {
        Self {
            benchmark,
            to,
            n_questions: 0,
            lists: BTreeMap::new(),
            texts: BTreeMap::new(),
            seen: HashSet::new(),
        }
    }

    /// Writes a picture that is not there yet.
    fn picture(&mut self, name: &str, bytes: Option<&Vec<u8>>) -> Result<(), EvalError> {
        match bytes.filter(|_| self.seen.insert(name.into())) {
            Some(bytes) => place(self.to, name, bytes),
            None => Ok(()),
        }
    }

    fn element(&mut self, file: &'static str, element: &Value) {
        self.lists.entry(file).or_default().push(element.to_string());
    }

    fn line(&mut self, file: String, line: &str) {
        let text = self.texts.entry(file).or_default();
        text.push_str(line);
        text.push('\n');
    }

    /// One row of a parquet file.
    fn add(&mut self, path: &Path, row: usize, record: Record) -> Result<(), EvalError> {
        // Questions of GQA have no picture of their own, and those of ScienceQA not always one.
        let has_picture = match self.benchmark {
            Benchmark::Gqa => !record.fields.contains_key("question"),
            Benchmark::ScienceQa => record.has_picture(),
            _ => true,
        };
        let first = match has_picture {
            true => Some(record.picture(path, row)?.to_vec()),
            false => None,
        };
        let first = first.as_ref();
        let Record { mut fields, .. } = record;
        let get = |name: &str| match fields.get(name) {
            Some(value) if !value.is_null() => Ok(id_text(value)),
            _ => Err(unfit(path, row, &format!("no {name}"))),
        };
        if self.benchmark == Benchmark::Gqa && !fields.contains_key("question") {
            return self.picture(&format!("data/images/{}.jpg", get("id")?), first);
        }
        self.n_questions += 1;
        match self.benchmark {
            Benchmark::Gqa => {
                let types = fields.get("types").filter(|types| types.is_object()).cloned();
                let balanced = fields.get("isbalanced").and_then(Value::as_bool).unwrap_or(true);
                let mut entry = json!({"question": get("question")?, "imageId": get("imageid")?, "answer": get("answer")?,
                    "isBalanced": balanced, "types": types.unwrap_or_else(|| json!({}))});
                // What GQA's tables of details are made from.
                for name in ["groups", "semantic"] {
                    if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
                        entry[name] = value.clone();
                    }
                }
                let element = format!("{}: {entry}", json!(get("id")?));
                self.lists
                    .entry("data/questions1.2/testdev_balanced_questions.json")
                    .or_default()
                    .push(element);
            }
            Benchmark::Pope => {
                let image = format!("{}.jpg", get("image_source")?);
                let id: u64 = get("question_id")?
                    .parse()
                    .map_err(|error| unfit(path, row, &error))?;
                let line = json!({"question_id": id, "image": image, "text": get("question")?, "label": get("answer")?});
                let file = format!("coco/coco_pope_{}.json", get("category")?);
                self.picture(&format!("val2014/{image}"), first)?;
                self.line(file, &line.to_string());
            }
            Benchmark::TextVqa => {
                let id = get("image_id")?;
                let tokens = fields.remove("ocr_tokens").unwrap_or(json!([]));
                fields.remove("image");
                if !self.seen.contains(&format!("train_images/{id}.jpg")) {
                    let ocr = json!({"image_id": id, "ocr_tokens": tokens});
                    self.element("TextVQA_Rosetta_OCR_v0.2_val.json", &ocr);
                }
                self.picture(&format!("train_images/{id}.jpg"), first)?;
                self.element("TextVQA_0.5.1_val.json", &fields.into());
            }
            Benchmark::MmBench | Benchmark::MmBenchCn => {
                let image = first.map(|bytes| STANDARD.encode(bytes)).unwrap_or_default();
                let cell = |name: &&str| match *name {
                    "image" => image.clone(),
                    name => quoted(&get(&name.to_lowercase()).unwrap_or_default()),
                };
                let line = COLUMNS.iter().map(cell).collect::<Vec<_>>().join("\t");
                let file = if self.benchmark == Benchmark::MmBench {
                    "MMBench_DEV_EN.tsv"
                } else {
                    "MMBench_DEV_CN.tsv"
                };
                if !self.texts.contains_key(file) {
                    self.line(file.into(), &COLUMNS.join("\t"));
                }
                self.line(file.into(), &line);
            }
            Benchmark::Mme => {
                let id = get("question_id")?;
                let name = id.rsplit('/').next().unwrap_or_default();
                let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
                let folder = format!("MME_Benchmark_release_version/{}", get("category")?);
                let line = format!("{}\t{}", get("question")?, get("answer")?);
                self.picture(&format!("{folder}/{name}"), first)?;
                self.line(format!("{folder}/{stem}.txt"), &line);
            }
            Benchmark::ScienceQa => {
                let id = self.n_questions.to_string();
                if first.is_some() {
                    fields.insert("image".into(), "image.png".into());
                }
                self.picture(&format!("images/test/{id}/image.png"), first)?;
                let element = format!("{}: {}", json!(id), Value::from(fields));
                self.lists.entry("problems.json").or_default().push(element);
                self.element("pid_splits.json", &json!(id));
            }
            Benchmark::VqaV2 => {
                let number = get("image_id")?.parse::<u64>();
                let number = number.map_err(|error| unfit(path, row, &error))?;
                self.picture(&format!("val2014/COCO_val2014_{number:012}.jpg"), first)?;
                let asked = json!({"image_id": number, "question": get("question")?,
                    "question_id": fields.get("question_id")});
                fields.remove("image");
                fields.remove("question");
                self.element("v2_OpenEnded_mscoco_val2014_questions.json", &asked);
                self.element("v2_mscoco_val2014_annotations.json", &fields.into());
            }
            Benchmark::SeedBench => {
                let place = if get("data_type")? == "video" {
                    format!(
                        "SEED-Bench-video-image/{}_{}.png",
                        get("question_type_id")?,
                        get("question_id")?
                    )
                } else {
                    format!("SEED-Bench-image/{}", get("data_id")?)
                };
                fields.remove("image");
                self.picture(&place, first)?;
                self.element("SEED-Bench.json", &fields.into());
            }
            Benchmark::VizWiz => {
                let image = format!("{}.jpg", get("question_id")?);
                let answers = fields
                    .get("answers")
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default();
                let answers: Vec<Value> = answers.iter().map(|answer| json!({"answer": answer})).collect();
                let entry = json!({"image": image, "question": get("question")?, "answers": answers,
                    "answer_type": fields.get("category")});
                self.picture(&format!("val/{image}"), first)?;
                self.element("Annotations/val.json", &entry);
            }
        }
        Ok(())
    }

    /// Writes the text files.
    fn write(mut self) -> Result<usize, EvalError> {
        for (file, elements) in std::mem::take(&mut self.lists) {
            let elements = elements.join(",\n");
            let text = match file {
                "problems.json" | "data/questions1.2/testdev_balanced_questions.json" => {
                    format!("{{\n{elements}\n}}\n")
                }
                "Annotations/val.json" => format!("[\n{elements}\n]\n"),
                _ => {
                    let key = match file {
                        "pid_splits.json" => "test",
                        "v2_mscoco_val2014_annotations.json" => "annotations",
                        "TextVQA_0.5.1_val.json" | "TextVQA_Rosetta_OCR_v0.2_val.json" => "data",
                        _ => "questions",
                    };
                    format!("{{\"{key}\": [\n{elements}\n]}}\n")
                }
            };
            self.texts.insert(file.into(), text);
        }
        for (file, text) in std::mem::take(&mut self.texts) {
            self.picture(&file, Some(&text.into_bytes()))?;
        }
        Ok(self.n_questions)
    }
}

/// A field of a table, in quotes where it needs them.
fn quoted(text: &str) -> String {
    if text.contains(['\t', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}
