//! Readers on damaged files, runs that are killed, and reports from records, with a model that can be computed by hand.

#[path = "properties/by_name.rs"]
mod by_name;
#[path = "properties/calibration.rs"]
mod calibration;
#[path = "properties/evidence.rs"]
mod evidence;
#[path = "properties/inputs.rs"]
mod inputs;
#[path = "properties/inside.rs"]
mod inside;
#[path = "properties/leaving_out.rs"]
mod leaving_out;
#[path = "properties/reports.rs"]
mod reports;
#[path = "properties/resume.rs"]
mod resume;
#[path = "properties/statistics.rs"]
mod statistics;

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use by_name::ByName;
use diffprune_baselines::{ClsAttention, OracleDrop, OracleKeep, Random, UniformGrid};
use diffprune_eval::{
    Arm, Benchmark, Bootstrap, EvalError, Meta, Question, Record, RecordFile, Reference, Report,
    ReportOptions, Run, RunOptions, Verdict,
};
use diffprune_pruner::{Budget, Grid, Layout, Observed, Signals};
use diffprune_vlm::{
    Encoded, Family, GenerateOptions, Hooks, ImageShape, Pixels, Prompts, TextBatch, Turn, VisualInput, Vlm,
    VlmError,
};
use diffprune_vlm_adapters::resize_bicubic;
use image::{Rgb, RgbImage};
use serde_json::Value;

/// Tokens per side of the model's grid.
const SIDE: usize = 4;
/// Pixels per side of what it looks at.
const PIXELS: u32 = 16;

/// A model whose tokens are the colours of a grid of cells. Asked "… red …" it says yes when a red token is left and
/// no otherwise; asked "how many …" it counts the red tokens.
#[derive(Clone)]
struct Eye;

const WORDS: [&str; 20] = [
    "<unk>", "<image>", "yes", "no", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "how", "many",
    "red", "is", "there",
];

impl Eye {
    /// The word that answers a prompt, given the red part of the picture's tokens.
    fn word(prompt: &[u32], red: &[f32]) -> u32 {
        let n_red = Self::n_red(red);
        let counting = prompt.contains(&15);
        if counting {
            4 + n_red as u32
        } else {
            3 - u32::from(n_red > 0)
        }
    }

    fn n_red(red: &[f32]) -> usize {
        red.iter().filter(|&&level| level > 0.5).count()
    }

    /// Scores of the first id: yes as many as there are red tokens, no one half, and much for a word that is neither.
    fn scores(red: &[f32]) -> Vec<f32> {
        let mut scores = vec![-1.0; WORDS.len()];
        (scores[2], scores[3], scores[17]) = (Self::n_red(red) as f32, 0.5, 4.0);
        scores
    }
}

impl Vlm for Eye {
    fn family(&self) -> Family {
        Family::Other("eye")
    }
    fn device(&self) -> Device {
        Device::flex()
    }
    fn d_vision(&self) -> usize {
        3
    }
    fn d_model(&self) -> usize {
        3
    }
    fn clone_box(&self) -> Box<dyn Vlm> {
        Box::new(self.clone())
    }
    fn text_ids(&self, text: &str) -> Result<Vec<u32>, VlmError> {
        let id = |word: &str| {
            let word = word.trim_matches(['?', '.', ',']).to_lowercase();
            WORDS.iter().position(|known| *known == word).unwrap_or(0) as u32
        };
        Ok(text.split_whitespace().map(id).collect())
    }
    /// `<unk>` and `<image>` are marks, no words.
    fn text_of(&self, ids: &[u32]) -> String {
        let words = ids.iter().filter(|&&id| id > 1);
        words.map(|&id| WORDS[id as usize]).collect::<Vec<_>>().join(" ")
    }
    fn end_id(&self) -> Option<u32> {
        None
    }
    fn prompt_ids(&self, turns: &[Turn]) -> Result<Vec<u32>, VlmError> {
        let image = "<image> ".repeat(turns[0].n_images);
        self.text_ids(&format!("{image}{}", turns[0].question))
    }
    fn generate_options(&self) -> GenerateOptions {
        GenerateOptions::default()
    }
    fn preprocess(&self, images: &[RgbImage]) -> Result<Pixels, VlmError> {
        let side = PIXELS as usize;
        let sized = |image: &RgbImage| match image.dimensions() {
            (PIXELS, PIXELS) => image.clone(),
            _ => resize_bicubic(image, PIXELS, PIXELS),
        };
        let sized: Vec<RgbImage> = images.iter().map(sized).collect();
        let pixels = sized.iter().flat_map(|image| {
            (0..3).flat_map(move |channel| {
                image
                    .pixels()
                    .map(move |pixel| f32::from(pixel.0[channel]) / 255.0)
            })
        });
        let data = TensorData::new(pixels.collect::<Vec<f32>>(), [images.len(), 3, side, side]);
        Ok(Pixels {
            values: Tensor::from_data(data, &Device::flex()),
            images: images.iter().map(ImageShape::single_view).collect(),
        })
    }
    fn encode(&self, pixels: Pixels, signals: Signals) -> Encoded {
        let [batch, _, side, _] = pixels.values.dims();
        let cell = side / SIDE;
        let cells = pixels
            .values
            .reshape([batch, 3, SIDE, cell, SIDE, cell])
            .mean_dim(5)
            .mean_dim(3);
        let tokens = cells.reshape([batch, 3, SIDE * SIDE]).swap_dims(1, 2);
        let attention = tokens
            .clone()
            .slice([0..batch, 0..SIDE * SIDE, 1..2])
            .swap_dims(1, 2);
        Encoded {
            observed: Observed {
                cls_attention: signals.cls_attention.then_some(attention),
                ..Observed::default()
            },
            tokens,
            mask: None,
            layouts: vec![
                Layout::from(Grid {
                    rows: SIDE,
                    cols: SIDE
                });
                batch
            ],
        }
    }
    fn project(&self, tokens: Tensor<3>) -> Tensor<3> {
        tokens
    }
    fn loss(&self, _: &TextBatch, _: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        Err(VlmError::Prompt {
            index: 0,
            problem: "this model only answers".into(),
        })
    }
    /// Little for the word that it would say, much for every other.
    fn losses(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        let visual = visual.unwrap();
        let [rows, k_max, _] = visual.features.dims();
        let values = visual.features.clone().slice([0..rows, 0..k_max, 0..1]);
        let values = values.into_data().try_to_vec::<f32>().unwrap();
        let loss = |(row, ids): (usize, &Vec<u32>)| {
            let kept = visual.sequences[row].n_features();
            let answer = batch.targets[row].iter().position(|&target| target).unwrap();
            assert_eq!(answer + 1, ids.len(), "one word");
            let word = Self::word(&ids[..answer], &values[row * k_max..row * k_max + kept]);
            if word == ids[answer] { 0.25f32 } else { 3.0 }
        };
        let losses: Vec<f32> = batch.ids.iter().enumerate().map(loss).collect();
        Ok(Tensor::from_data(
            TensorData::new(losses, [rows]),
            &Device::flex(),
        ))
    }
    fn kv_bytes_per_token(&self) -> u64 {
        8
    }
    fn embed_text(&self, ids: &[u32]) -> Tensor<2> {
        Tensor::zeros([ids.len(), 3], &Device::flex())
    }
    fn generate_with(&self, prompts: Prompts<'_>, hooks: &mut Hooks<'_>) -> Result<Vec<Vec<u32>>, VlmError> {
        let mut say = |(row, prompt): (usize, &Vec<u32>), red: &[f32]| {
            if let Some(on_scores) = &mut hooks.on_scores {
                on_scores(row, &Self::scores(red));
            }
            vec![Self::word(prompt, red)]
        };
        let Prompts { ids, visual, .. } = prompts;
        let prompts = || ids.iter().enumerate();
        let Some(visual) = visual else {
            assert!(
                prompts().all(|(_, prompt)| !prompt.contains(&1)),
                "no placeholder without picture"
            );
            return Ok(prompts().map(|prompt| say(prompt, &[])).collect());
        };
        let [images, k_max, _] = visual.features.dims();
        assert_eq!(images, prompts().len());
        assert!(prompts().all(|(_, prompt)| prompt.iter().filter(|&&id| id == 1).count() == 1));
        let values = visual.features.clone().slice([0..images, 0..k_max, 0..1]);
        let values = values.into_data().try_to_vec::<f32>().unwrap();
        let word = |prompt: (usize, &Vec<u32>)| {
            let row = prompt.0;
            let kept = visual.sequences[row].n_features();
            say(prompt, &values[row * k_max..row * k_max + kept])
        };
        Ok(prompts().map(word).collect())
    }
}

/// The red cells of picture `i`.
fn red_cells(i: usize) -> Vec<usize> {
    (0..i % 4).map(|nth| (i * 7 + nth * 5) % (SIDE * SIDE)).collect()
}

/// Pictures with none to three red cells, two questions about each.
fn world(folder: &Path, n_images: usize) -> Vec<Question> {
    let mut questions = Vec::new();
    for i in 0..n_images {
        let mut image = RgbImage::from_pixel(PIXELS, PIXELS, Rgb([0, 90, 40]));
        for cell in red_cells(i) {
            for place in 0..16 {
                let (row, col) = (cell / SIDE * 4 + place / 4, cell % SIDE * 4 + place % 4);
                image.put_pixel(col as u32, row as u32, Rgb([255, 0, 0]));
            }
        }
        let path = folder.join(format!("{i:03}.png"));
        image.save(&path).unwrap();
        let n_red = red_cells(i).len();
        let mut ask = |benchmark, kind: &str, text: &str, reference| {
            questions.push(Question {
                id: format!("{kind}-{i}"),
                benchmark,
                subset: kind.into(),
                kind: kind.into(),
                group: None,
                image: path.clone(),
                inline: None,
                text: text.into(),
                reference,
            });
        };
        ask(
            Benchmark::Pope,
            ["random", "popular"][i / 4 % 2],
            "is there red",
            Reference::YesNo(n_red > 0),
        );
        ask(
            Benchmark::Gqa,
            "count",
            "how many red",
            Reference::Exact(n_red.to_string()),
        );
    }
    questions
}

fn arms() -> Vec<Arm> {
    let mut arms = vec![Arm::full(), Arm::text_only(), Arm::blank_image()];
    arms.extend(Arm::seeded(
        Box::new(Random) as Box<dyn diffprune_pruner::Pruner>,
        0..3,
    ));
    for pruner in [
        Box::new(UniformGrid) as Box<dyn diffprune_pruner::Pruner>,
        Box::new(ClsAttention),
        Box::new(OracleKeep),
        Box::new(OracleDrop),
    ] {
        arms.push(Arm::pruned(pruner));
    }
    arms.push(Arm::pruned(Box::new(OracleKeep) as Box<dyn diffprune_pruner::Pruner>).named("diffprune"));
    arms
}

const BUDGETS: [Budget; 2] = [Budget::Tokens(8), Budget::Tokens(4)];

fn relevance(image: &Path, layout: &Layout) -> Option<Vec<f32>> {
    let grid = layout.segments[0].grid;
    let i: usize = image.file_stem()?.to_str()?.parse().ok()?;
    let mut relevance = vec![0.0; grid.n_tokens()];
    red_cells(i).into_iter().for_each(|cell| relevance[cell] = 1.0);
    Some(relevance)
}

fn options(threads: usize) -> RunOptions {
    RunOptions::default()
        .with_threads(threads)
        .with_images_per_batch(3)
        .with_prompts_per_batch(4)
        .with_strict(true)
        .with_fingerprint("test")
}

fn execute(questions: &[Question], threads: usize, file: &Path) -> Result<Vec<Record>, EvalError> {
    let arms = arms();
    let run = Run {
        questions,
        arms: &arms,
        budgets: &BUDGETS,
        annotations: Some(&relevance),
        options: options(threads),
    };
    run.execute(&Eye, file)
}

fn report(records: &[Record]) -> Report {
    let bootstrap = Bootstrap::new(200, 0);
    let options = ReportOptions::default().with_bootstrap(bootstrap);
    Report::from_records(records, Meta::default(), &options).unwrap()
}

#[test]
fn a_run_gives_the_numbers_that_the_pictures_imply() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 24);
    let records = execute(&questions, 2, &folder.path().join("records.jsonl")).unwrap();
    let n_settings = 3 + (3 + 4 + 1) * BUDGETS.len();
    assert_eq!(records.len(), questions.len() * n_settings);
    let of = |arm: &str| {
        records
            .iter()
            .filter(|record| record.arm == arm)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert!(
        of("full")
            .iter()
            .all(|record| record.score == 1.0 && record.kept == 16)
    );
    assert!(
        of("oracle-keep")
            .iter()
            .all(|record| record.score == 1.0 && [4, 8].contains(&record.kept))
    );
    assert!(
        of("text-only")
            .iter()
            .all(|record| record.kept == 0 && ["no", "0"].contains(&record.answer.as_str()))
    );
    assert!(
        of("blank-image")
            .iter()
            .all(|record| ["no", "0"].contains(&record.answer.as_str()))
    );
    assert!(
        of("oracle-drop")
            .iter()
            .all(|record| ["no", "0"].contains(&record.answer.as_str()))
    );
    let mean = |arm: &str| of(arm).iter().map(|record| record.score).sum::<f64>() / of(arm).len() as f64;
    assert!(
        mean("random") < 0.9 && mean("random") > mean("oracle-drop"),
        "{}",
        mean("random")
    );

    let report = report(&records);
    let value =
        |arm: &str, budget: &str, metric: &str| report.row_named("main", arm, budget, metric).unwrap().value;
    assert_eq!(value("full", "all", "average"), 100.0);
    assert_eq!(value("oracle-keep", "4", "retention"), 100.0);
    assert_eq!(value("oracle-drop", "4", "average"), (0.0 + 25.0) / 2.0);
    assert_eq!(
        report
            .row_named("benchmarks", "text-only", "all", "pope mean F1")
            .unwrap()
            .value,
        0.0
    );
    assert_eq!(
        report
            .row_named("tokens", "diffprune", "4", "kept tokens")
            .unwrap()
            .value,
        4.0
    );
    let verdict = |id: &str| report.claims.iter().find(|claim| claim.id == id).unwrap().verdict;
    assert_eq!(verdict("s.above-random"), Verdict::Holds);
    assert_eq!(verdict("background-costs-little"), Verdict::Holds);
    assert_eq!(verdict("objects-cost-much"), Verdict::Holds);
    assert_eq!(verdict("t5.gumbel-largest"), Verdict::Untestable);
    let tie = report
        .table_named("differences")
        .unwrap()
        .rows
        .iter()
        .find(|row| row.arm == "diffprune - full")
        .unwrap();
    assert_eq!((tie.value, tie.verdict), (0.0, Some(Verdict::Tie)));
}

#[test]
fn averages_over_seeds_come_before_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 12);
    let records = execute(&questions, 1, &folder.path().join("records.jsonl")).unwrap();
    let count = |seed: Option<u64>| {
        let scores: Vec<f64> = records
            .iter()
            .filter(|r| r.arm == "random" && r.budget == "8" && r.benchmark == Benchmark::Gqa)
            .filter(|r| seed.is_none_or(|seed| r.seed == seed))
            .map(|r| r.score)
            .collect();
        100.0 * scores.iter().sum::<f64>() / scores.len() as f64
    };
    assert!(
        (0..3).any(|seed| count(Some(seed)) != count(None)),
        "seeds differ"
    );
    let found = report(&records)
        .row_named("benchmarks", "random", "8", "gqa accuracy")
        .unwrap()
        .value;
    assert!((found - count(None)).abs() < 1e-9);
}

#[test]
fn a_killed_run_ends_with_the_same_report() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 10);
    let file = folder.path().join("records.jsonl");
    let whole = report(&execute(&questions, 2, &file).unwrap()).to_json().unwrap();
    let bytes = fs::read(&file).unwrap();
    let again = report(&execute(&questions, 1, &file).unwrap()).to_json().unwrap();
    assert_eq!(whole, again, "a finished run is only read");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    for step in 0..12 {
        let cut = (step * 104_729 + 5) % bytes.len();
        fs::write(&file, &bytes[..cut]).unwrap();
        let records = execute(&questions, 1 + step % 2, &file).unwrap();
        assert_eq!(
            report(&records).to_json().unwrap(),
            whole,
            "cut at byte {cut} of {}",
            bytes.len()
        );
        let read = RecordFile::read(&file).unwrap();
        assert_eq!(read.len(), records.len(), "every answer is written once");
        assert_eq!(
            report(&read).to_json().unwrap(),
            whole,
            "the order of records does not matter"
        );
    }
}

#[test]
fn records_of_another_run_and_damaged_lines_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 4);
    let file = folder.path().join("records.jsonl");
    execute(&questions, 1, &file).unwrap();
    assert!(matches!(
        RecordFile::open(&file, "other"),
        Err(EvalError::OtherRun { .. })
    ));
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut damaged = lines.clone();
    damaged[2] = "{\"arm\": 3}";
    fs::write(&file, damaged.join("\n") + "\n").unwrap();
    let error = execute(&questions, 1, &file).unwrap_err().to_string();
    assert!(error.contains("records.jsonl:3:"), "{error}");
    let blocked = folder.path().join("000.png").join("records.jsonl");
    assert!(matches!(
        execute(&questions, 1, &blocked),
        Err(EvalError::Io { .. })
    ));
}

#[test]
fn ambiguous_set_ups_and_missing_truth_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut questions = world(folder.path(), 4);
    let file = folder.path().join("records.jsonl");
    let arms = [Arm::pruned(
        Box::new(OracleKeep) as Box<dyn diffprune_pruner::Pruner>
    )];
    let run = |questions: &[Question], arms: &[Arm]| {
        let run = Run {
            questions,
            arms,
            budgets: &BUDGETS,
            annotations: None,
            options: options(2),
        };
        run.execute(&Eye, &file).unwrap_err().to_string()
    };
    assert!(run(&questions, &arms).contains("annotated relevance"));
    assert!(run(&questions, &[Arm::full(), Arm::full()]).contains("twice"));
    questions[2].id = questions[0].id.clone();
    assert!(run(&questions, &[Arm::full()]).contains("twice"));
    questions[2].id = "x".into();
    fs::write(&questions[2].image, b"no picture").unwrap();
    assert!(run(&questions, &[Arm::full()]).contains("001.png"));
}

#[test]
fn unfinished_arms_shrink_the_report_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 8);
    let mut records = execute(&questions, 1, &folder.path().join("records.jsonl")).unwrap();
    records.pop();
    let report = report(&records);
    assert_eq!(report.table_named("main").unwrap().rows[0].n, questions.len() - 1);
    assert!(report.meta.note.contains("1 questions"));
    assert!(Report::from_records(&[], Meta::default(), &ReportOptions::default()).is_err());
}

#[test]
fn pages_are_written_whole_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let questions = world(folder.path(), 8);
    let report = report(&execute(&questions, 1, &folder.path().join("records.jsonl")).unwrap());
    let out = folder.path().join("deep/out");
    let files = report.write(&out).unwrap();
    assert!(
        files.iter().all(|file| fs::metadata(file).unwrap().len() > 200),
        "{files:?}"
    );
    let read = Report::read(&out.join("report.json")).unwrap();
    assert_eq!(read.to_text(), report.to_text());
    assert_eq!(read.to_markdown(), report.to_markdown());
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("<svg") && html.contains("oracle-keep") && !html.contains("http://localhost"));
    assert!(!html.contains("src="), "the page needs no other file");
    let inside = html.matches("href=\"#").count();
    assert!(
        inside > 3 && html.matches("href=").count() == inside,
        "links stay on the page"
    );
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("| diffprune ") && markdown.contains("holds"));
    assert!(report.to_text().contains("diffprune"));
    let json: Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    for key in ["revision", "device", "seed", "tier", "config"] {
        assert!(json["meta"].get(key).is_some(), "{key}");
    }
    assert!(json["meta"].get("wall_s").is_none(), "no clock in a report");
    for key in ["benchmark", "paper", "here", "questions", "published", "chance"] {
        assert!(json["data"][0].get(key).is_some(), "{key}");
    }
    for key in ["arm", "budget", "metric", "value", "lo", "hi", "n"] {
        assert!(json["tables"][0]["rows"][0].get(key).is_some(), "{key}");
    }
    for key in ["id", "statement", "verdict", "estimate", "lo", "hi", "tiers"] {
        assert!(json["claims"][0].get(key).is_some(), "{key}");
    }
    fs::write(folder.path().join("plain"), "x").unwrap();
    assert!(matches!(
        report.write(&folder.path().join("plain")),
        Err(EvalError::Io { .. })
    ));
}
