//! A report from made-up records: what the pages look like, without a model.
//!
//! `cargo run -p diffprune-eval --example report -- out/` writes the pages into `out/`.

use std::path::PathBuf;

use diffprune_eval::{
    Benchmark, CostOptions, EvalError, Meta, ModelShape, Record, Report, ReportOptions, heat_map,
};
use diffprune_pruner::Grid;
use image::{Rgb, RgbImage};

/// Arms with the share of right answers that they lose as budgets shrink.
const ARMS: [(&str, f64); 5] = [
    ("diffprune", 0.1),
    ("random", 0.35),
    ("cls-attention", 0.3),
    ("gumbel-ste", 0.25),
    ("uniform-grid", 0.33),
];

fn main() -> Result<(), EvalError> {
    let mut records = Vec::new();
    for question in 0..400 {
        records.push(record("full", "all", 144, question, 0.1));
        for (arm, loss) in ARMS {
            for kept in [48, 32, 16] {
                let loss = 0.1 + loss * (1.0 - kept as f64 / 64.0);
                records.push(record(arm, &kept.to_string(), kept, question, loss));
            }
        }
    }
    let meta = Meta {
        tier: "simulated".into(),
        title: "A simulated comparison".into(),
        ..Meta::default()
    };
    let options =
        ReportOptions::default().with_cost(ModelShape::preset("llava-1.5-7b").map(CostOptions::new));
    let report = Report::from_records(&records, meta, &options)?;
    print!("{}", report.to_text());
    if let Some(folder) = std::env::args().nth(1).map(PathBuf::from) {
        for path in report.write(&folder)? {
            println!("{}", path.display());
        }
        picture()
            .save(folder.join("show.png"))
            .map_err(|error| EvalError::Plot {
                name: "show.png".into(),
                problem: error.to_string(),
            })?;
    }
    Ok(())
}

/// The answer of an arm that is wrong with probability `loss`, drawn by arithmetic.
fn record(arm: &str, budget: &str, kept: usize, question: u64, loss: f64) -> Record {
    let noise = arm.bytes().fold(question * 7919 + kept as u64, |hash, byte| {
        (hash ^ u64::from(byte))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    });
    let right = (noise % 1000) as f64 >= 1000.0 * loss;
    let (benchmark, kind) = match question % 4 {
        0 => (Benchmark::Pope, "random"),
        1 => (Benchmark::Pope, "popular"),
        2 => (Benchmark::Gqa, "colour"),
        _ => (Benchmark::TextVqa, "val"),
    };
    let label = (benchmark == Benchmark::Pope).then_some(question % 8 < 4);
    Record {
        arm: arm.into(),
        budget: budget.into(),
        seed: 0,
        question: format!("{question}"),
        benchmark,
        subset: kind.into(),
        kind: kind.into(),
        group: None,
        image: format!("{}.png", question / 8),
        kept,
        total: 144,
        answer: String::new(),
        score: f64::from(u8::from(right)),
        label,
        said: None,
        options: None,
        lmms: None,
        layers: None,
        probability: None,
    }
}

/// A disc on a slope, with the scores of a method that likes the disc.
fn picture() -> RgbImage {
    let inside = |x: f32, y: f32| (x - 60.0).powi(2) + (y - 40.0).powi(2) < 500.0;
    let image = RgbImage::from_fn(96, 96, |x, y| {
        if inside(x as f32, y as f32) {
            Rgb([220, 60, 40])
        } else {
            Rgb([(x + y) as u8, 120, 140])
        }
    });
    let grid = Grid { rows: 12, cols: 12 };
    let centre = |token: usize| ((token % 12) as f32 * 8.0 + 4.0, (token / 12) as f32 * 8.0 + 4.0);
    let distance = |token: usize| (centre(token).0 - 60.0).hypot(centre(token).1 - 40.0);
    let scores: Vec<f32> = (0..144).map(|token| -distance(token)).collect();
    let keep: Vec<usize> = (0..144).filter(|&token| distance(token) < 26.0).collect();
    heat_map(&image, &grid.into(), &scores, &keep)
}
