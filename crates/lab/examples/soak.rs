//! Answers and updates for a long time, with the memory that the process holds: `cargo xtask soak`.
//!
//! `cargo run -p diffprune-lab --example soak -- ANSWERS UPDATES CSV`. A drawing of the curve is written beside the table, and the last lines
//! that are printed say whether memory grew; where it did, the exit code is 1. Linux alone says what a process holds.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use diffprune::training::Progress;
use diffprune::vlm::{PruneOptions, Turn, answer};
use diffprune::{Budget, LoadOptions, TrainConfig, Trainer};
use diffprune_eval::Estimate;
use diffprune_eval::chart::{Line, Lines, Palette};
use diffprune_files::write_whole;
use diffprune_lab::{GeneratedCaptions, LabError, LoadedModel, Method};
use image::{Rgb, RgbImage};

/// The shipped small model.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/mini-llava-1.5");
/// Methods that are asked in turn, of every kind.
const METHODS: [&str; 6] = ["random", "cls", "visionzip", "tome", "average-pool", "untrained"];

/// The two kinds of work.
const WORKS: [&str; 2] = ["answers", "updates"];
/// Growth that counts as none, MiB: pages of the allocator.
const LEAST_GROWTH: f64 = 1.0;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let mut count = |usual| words.next().map_or(Ok(usual), |word| word.parse::<usize>());
    let (answers, updates) = (count(10_000)?, count(2_000)?);
    let out = PathBuf::from(words.next().unwrap_or("runs/soak.csv".into()));
    let model = LoadedModel::load(Path::new(MODEL), &Device::flex(), LoadOptions::default())?;
    let mut samples: Vec<Sample> = Vec::new();
    let started = Instant::now();
    let mut note = |work: &'static str, done: usize, mib: f64| {
        let sample = Sample {
            work,
            done,
            seconds: started.elapsed().as_secs_f64(),
            mib,
        };
        println!("{}", sample.row());
        samples.push(sample);
    };
    note(WORKS[0], 0, resident_mib());
    for number in 1..=answers {
        ask(&model, number)?;
        if number.is_multiple_of((answers / 40).max(1)) {
            note(WORKS[0], number, resident_mib());
        }
    }
    train(&model, updates, &mut |done, mib| note(WORKS[1], done, mib))?;
    let mut table = String::from("work,done,seconds,resident_mib\n");
    for sample in &samples {
        // Writing to a text cannot fail.
        let _ = writeln!(table, "{}", sample.row());
    }
    write_whole(&out, table)?;
    write_whole(out.with_extension("svg"), drawing(&samples)?)?;
    let mut grew = false;
    for work in WORKS {
        let Some(trend) = Trend::of(work, &samples) else {
            println!("{work}: too few samples for a trend");
            continue;
        };
        println!("{work}: {trend}");
        grew |= trend.is_growth();
    }
    Ok(ExitCode::from(u8::from(grew)))
}

/// Memory at a moment of the work.
struct Sample {
    work: &'static str,
    done: usize,
    seconds: f64,
    mib: f64,
}

impl Sample {
    fn row(&self) -> String {
        let Self {
            work,
            done,
            seconds,
            mib,
        } = self;
        format!("{work},{done},{seconds:.0},{mib:.1}")
    }
}

/// The straight line through the second half of the samples of one kind of work; the first half is for caches to fill.
struct Trend {
    /// What the line rises by from its first sample to its last, MiB.
    growth: f64,
    /// Standard deviation of the samples around it, MiB.
    noise: f64,
    samples: usize,
}

impl Trend {
    fn of(work: &str, samples: &[Sample]) -> Option<Self> {
        let own: Vec<&Sample> = samples.iter().filter(|sample| sample.work == work).collect();
        let half = &own[own.len() / 2..];
        let (first, last) = (half.first()?, half.last()?);
        let n = half.len() as f64;
        let mean = |value: &dyn Fn(&Sample) -> f64| half.iter().map(|sample| value(sample)).sum::<f64>() / n;
        let (x, y) = (mean(&|sample| sample.done as f64), mean(&|sample| sample.mib));
        let variance = mean(&|sample| (sample.done as f64 - x).powi(2));
        if half.len() < 4 || variance == 0.0 {
            return None;
        }
        let slope = mean(&|sample| (sample.done as f64 - x) * (sample.mib - y)) / variance;
        let noise = mean(&|sample| (sample.mib - y - slope * (sample.done as f64 - x)).powi(2)).sqrt();
        Some(Self {
            growth: slope * (last.done - first.done) as f64,
            noise,
            samples: half.len(),
        })
    }

    fn is_growth(&self) -> bool {
        self.growth > LEAST_GROWTH.max(2.0 * self.noise)
    }
}

impl std::fmt::Display for Trend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.is_growth() {
            "memory grows"
        } else {
            "no growth"
        };
        write!(
            f,
            "{verdict}: {:+.2} MiB over the second half ({} samples, which lie {:.2} MiB around the line)",
            self.growth, self.samples, self.noise
        )
    }
}

/// The curve, each kind of work in shares of what was done.
fn drawing(samples: &[Sample]) -> Result<String, Box<dyn std::error::Error>> {
    let line = |work: &str| {
        let own = samples.iter().filter(|sample| sample.work == work);
        let most = own.clone().map(|sample| sample.done).max().unwrap_or(1).max(1);
        let point = |sample: &Sample| {
            let value = sample.mib;
            let estimate = Estimate {
                value,
                lo: value,
                hi: value,
            };
            (100.0 * sample.done as f64 / most as f64, estimate)
        };
        Line {
            name: work.into(),
            label: format!("{most} {work}:"),
            points: own.map(point).collect(),
            dashed: false,
        }
    };
    let chart = Lines {
        name: "soak".into(),
        title: "Memory that a process holds while it works".into(),
        x: "percent of the work".into(),
        y: "resident memory, MiB".into(),
        log_x: false,
        falling: false,
        x_marks: vec![0.0, 25.0, 50.0, 75.0, 100.0],
        level: None,
        decimals: Some(1),
        note: "One process: answers about pictures of different sides, then the updates of a training."
            .into(),
        lines: WORKS.map(line).to_vec(),
    };
    Ok(chart.svg(&Palette::of(WORKS))?)
}

/// One answer about a picture of other sides, by another method, at another budget, than the ones before.
fn ask(model: &LoadedModel, number: usize) -> Result<(), LabError> {
    let vlm = model.vlm.as_ref();
    let side = |step: usize| (8 + number * step % 300) as u32;
    let picture = RgbImage::from_fn(side(37), side(53), |x, y| Rgb([x as u8, y as u8, number as u8]));
    let method = Method::parse(METHODS[number % METHODS.len()], vlm, number as u64)?.pruner();
    let options = PruneOptions::new(Budget::Tokens(16 + number * 7 % 128)).with_seed(number as u64);
    let prompt = vlm.prompt_ids(&[Turn::ask("What is it?").with_images(1)])?;
    let generate = vlm.generate_options().with_max_new_tokens(1 + number % 4);
    answer(vlm, &[picture], &[prompt], method.as_ref(), &options, &generate)?;
    Ok(())
}

/// Updates of a training; `note` gets the memory beside their number, sampled from outside the loop.
fn train(
    model: &LoadedModel,
    updates: usize,
    note: &mut (dyn FnMut(usize, f64) + Send),
) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let config = TrainConfig {
        steps: updates,
        batch: 4,
        ..TrainConfig::default()
    };
    let data = GeneratedCaptions::new(64, 0)?;
    let ended = AtomicBool::new(false);
    let log = folder.path().join("metrics.jsonl");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            while !ended.load(Ordering::Relaxed) {
                let done = std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
                if done >= last + (updates / 40).max(1) {
                    note(done, resident_mib());
                    last = done;
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        let trainer = Trainer::new(model.vlm.as_ref(), &config);
        let outcome = trainer.run(&data, None, folder.path(), &mut Progress::silent());
        ended.store(true, Ordering::Relaxed);
        outcome
    })?;
    Ok(())
}

/// MiB that the process holds in memory; 0 where the system does not say.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(0.0, |kib| kib as f64 / 1024.0)
}
