//! SEED-Bench (version 1): multiple choice about pictures and videos (Li et al. 2023).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::answer::{Aggregate, is_space};
use crate::data::answer_files::{AnswerFile, AnsweredQuestions};
use crate::data::benchmark::{Benchmark, score};
use crate::data::json::{Element, TextFile};
#[cfg(feature = "parquet")]
use crate::data::parquet_rows::ParquetRow;
use crate::data::problems::Problems;
use crate::data::question::{Protocol, Question, ReadOptions, Reference};
use crate::data::readers::{Ids, LlavaRow, free_answer_tokens, id_text, llava_file, picture, require};
use crate::data::spec::{BenchmarkFiles, BenchmarkSpec, SecondaryNumber, Splits};
use crate::data::template::{Template, lettered};
#[cfg(feature = "parquet")]
use crate::data::unpack::{JsonList, OfficialFiles, ParquetCopy};

/// Folders of pictures and of the middle frames of videos.
const IMAGES: &str = "SEED-Bench-image";
const FRAMES: &str = "SEED-Bench-video-image";

/// The official file.
const QUESTIONS: &str = "SEED-Bench.json";

/// SEED-Bench.
pub(crate) struct SeedBench;

impl BenchmarkSpec for SeedBench {
    fn name(&self) -> &'static str {
        "seed_bench"
    }

    fn metric(&self) -> &'static str {
        "seed_bench accuracy"
    }

    fn splits(&self) -> Splits {
        Splits::same("version 1, pictures and one frame of each video", 17_990)
    }

    fn chance(&self) -> f64 {
        25.0
    }

    fn template(&self, _: Protocol) -> Template {
        Template::LETTER
    }

    fn max_new_tokens(&self, protocol: Protocol) -> usize {
        free_answer_tokens(protocol)
    }

    fn protocol_of_the_papers(&self) -> Protocol {
        Protocol::LmmsEval
    }

    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
        read(files.root, files.options, files.problems)
    }

    fn score(&self, answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
        let Reference::Letter { letter, .. } = reference else {
            return score(answer, reference, protocol);
        };
        f64::from(match protocol {
            Protocol::Llava => answer == letter.to_string(),
            Protocol::LmmsEval => {
                seed_letter_lmms(answer).is_some_and(|found| found.eq_ignore_ascii_case(letter))
            }
        })
    }

    fn data_here(&self, _: Option<bool>, subsets: &BTreeSet<&str>) -> &'static str {
        if subsets.iter().eq([&"image"]) {
            "version 1, pictures only"
        } else {
            self.splits().here
        }
    }

    fn secondary(&self) -> &'static [SecondaryNumber] {
        const BY_KIND: [SecondaryNumber; 2] = [
            SecondaryNumber::of_parts(
                "image accuracy",
                |kind| kind == "image",
                |parts| Aggregate::MeanScore.value(parts),
            ),
            SecondaryNumber::of_parts(
                "video accuracy",
                |kind| kind == "video",
                |parts| Aggregate::MeanScore.value(parts),
            ),
        ];
        &BY_KIND
    }

    fn answer_files(&self, answered: &AnsweredQuestions<'_>) -> Result<Vec<AnswerFile>, EvalError> {
        Ok(vec![("upload.jsonl".into(), seed_upload(answered.by_id()))])
    }

    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        Some(ParquetCopy::new("test", unpack))
    }
}

/// One entry of `SEED-Bench.json`.
#[derive(Deserialize)]
struct Entry {
    question: String,
    question_id: serde_json::Value,
    question_type_id: u32,
    choice_a: String,
    choice_b: String,
    choice_c: String,
    choice_d: String,
    answer: String,
    data_id: String,
    data_type: String,
}

impl Entry {
    fn is_video(&self) -> bool {
        self.data_type == "video"
    }

    fn options(&self) -> Vec<(char, String)> {
        lettered([&self.choice_a, &self.choice_b, &self.choice_c, &self.choice_d].map(String::clone))
    }

    /// The picture or frame in the layout of LLaVA's scripts.
    fn image(&self) -> String {
        if self.is_video() {
            format!(
                "{FRAMES}/{}_{}.png",
                self.question_type_id,
                id_text(&self.question_id)
            )
        } else {
            format!("{IMAGES}/{}", self.data_id)
        }
    }
}

/// Questions of `llava-seed-bench.jsonl` joined by id with `SEED-Bench.json`, or of the latter alone.
fn read(root: &Path, options: &ReadOptions, problems: &mut Problems) -> Result<Vec<Question>, EvalError> {
    let path = require(root, &[QUESTIONS])?;
    let images = options.images.clone().unwrap_or_else(|| root.to_path_buf());
    let file = TextFile::read(&path)?;
    let types = types(&file)?;
    let mut ids = Ids::default();
    let mut entries = Vec::new();
    for element in file.elements_below("questions")? {
        let mut one = || {
            let entry: Entry = file.parse(&element)?;
            ids.add(&path, element.line, &id_text(&entry.question_id))?;
            Ok((element.line, entry))
        };
        entries.extend(problems.keep(one())?);
    }
    let build = |line: usize, entry: &Entry, image: PathBuf, text: String| {
        let name = types.get(&entry.question_type_id).cloned();
        question(&path, line, entry, image, text, name)
    };
    let mut questions = Vec::new();
    let Some(llava) = llava_file(root, options, "llava-seed-bench.jsonl") else {
        let template = Template::of(Benchmark::SeedBench, options.prompts);
        let one = |line: usize, entry: &Entry| {
            let image = picture(&path, line, &images, &entry.image())?;
            let text = template.render(None, &entry.question, None, &entry.options());
            build(line, entry, image, text)
        };
        for (line, entry) in entries
            .iter()
            .filter(|(_, entry)| options.video || !entry.is_video())
        {
            questions.extend(problems.keep(one(*line, entry))?);
        }
        return Ok(questions);
    };
    let by_id: HashMap<String, &(usize, Entry)> = entries
        .iter()
        .map(|entry| (id_text(&entry.1.question_id), entry))
        .collect();
    let rows = TextFile::read(&llava)?;
    let mut ids = Ids::default();
    let mut one = |element: &Element<'_>| {
        let row: LlavaRow = rows.parse(element)?;
        ids.add(&llava, element.line, &row.id())?;
        let (line, entry) = by_id.get(&row.id()).ok_or_else(|| EvalError::Unmatched {
            path: llava.clone(),
            line: element.line,
            id: row.id(),
            other: path.clone(),
        })?;
        if entry.is_video() && !options.video {
            return Ok(None);
        }
        let image = picture(&llava, element.line, &images, &row.image)?;
        build(*line, entry, image, row.text).map(Some)
    };
    for element in rows.rows()? {
        questions.extend(problems.keep(one(&element))?.flatten());
    }
    Ok(questions)
}

/// Names of the question types by their numbers.
fn types(file: &TextFile) -> Result<HashMap<u32, String>, EvalError> {
    let top = file.elements()?;
    let Some(names) = top.iter().find(|element| element.key == "question_type") else {
        return Ok(HashMap::new());
    };
    let names: HashMap<String, u32> = file.parse(names)?;
    Ok(names.into_iter().map(|(name, id)| (id, name)).collect())
}

fn question(
    path: &Path,
    line: usize,
    entry: &Entry,
    image: PathBuf,
    text: String,
    type_name: Option<String>,
) -> Result<Question, EvalError> {
    let options = entry.options();
    let right = options
        .iter()
        .find(|(letter, _)| entry.answer == letter.to_string());
    let &(letter, _) = right
        .ok_or_else(|| EvalError::line(path, line, format!("answer `{}`", entry.answer), "A, B, C or D"))?;
    Ok(Question {
        id: id_text(&entry.question_id),
        benchmark: Benchmark::SeedBench,
        subset: if entry.is_video() { "video" } else { "image" }.into(),
        kind: type_name.unwrap_or_else(|| format!("type {}", entry.question_type_id)),
        group: None,
        image,
        inline: None,
        text,
        reference: Reference::Letter { letter, options },
    })
}

/// lmms-eval's reading of a SEED-Bench answer: the first character of the trimmed text.
pub fn seed_letter_lmms(answer: &str) -> Option<char> {
    answer.trim_matches(is_space).chars().next()
}

/// SEED-Bench's upload: JSON lines of `question_id` and `prediction`.
pub fn seed_upload<'a>(answers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    /// One line of the file.
    #[derive(Serialize)]
    struct Row<'a> {
        question_id: &'a str,
        prediction: &'a str,
    }
    let row = |(question_id, prediction)| {
        let row = Row {
            question_id,
            prediction,
        };
        serde_json::to_string(&row).unwrap_or_default() + "\n"
    };
    answers.into_iter().map(row).collect()
}

#[cfg(feature = "parquet")]
fn unpack(mut row: ParquetRow<'_>, official: &mut OfficialFiles<'_>) -> Result<(), EvalError> {
    official.next_question();
    let picture = if row.text("data_type")? == "video" {
        format!(
            "{FRAMES}/{}_{}.png",
            row.text("question_type_id")?,
            row.text("question_id")?
        )
    } else {
        format!("{IMAGES}/{}", row.text("data_id")?)
    };
    row.fields_mut().remove("image");
    official.picture(&picture, Some(row.picture()?))?;
    official.element(
        QUESTIONS,
        JsonList::Below("questions"),
        &row.fields().clone().into(),
    );
    Ok(())
}
