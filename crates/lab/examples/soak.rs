//! Answers and updates for a long time, with the memory that the process holds: `cargo xtask soak`.
//!
//! `cargo run -p diffprune-lab --example soak -- ANSWERS UPDATES CSV`. Linux alone says what a process holds.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use diffprune::training::Progress;
use diffprune::vlm::{PruneOptions, Turn, answer};
use diffprune::{Budget, LoadOptions, TrainConfig, Trainer};
use diffprune_files::write_whole;
use diffprune_lab::{GeneratedCaptions, LabError, LoadedModel, Method};
use image::{Rgb, RgbImage};

/// The shipped small model.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/mini-llava-1.5");
/// Methods that are asked in turn, of every kind.
const METHODS: [&str; 6] = ["random", "cls", "visionzip", "tome", "average-pool", "untrained"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let mut count = |usual| words.next().map_or(Ok(usual), |word| word.parse::<usize>());
    let (answers, updates) = (count(10_000)?, count(2_000)?);
    let out = PathBuf::from(words.next().unwrap_or("runs/soak.csv".into()));
    let model = LoadedModel::load(Path::new(MODEL), &Device::flex(), LoadOptions::default())?;
    let mut curve = String::from("work,done,seconds,resident_mib\n");
    let started = Instant::now();
    let mut sample = |work: &str, done: usize| {
        let resident = resident().unwrap_or(0) >> 20;
        let line = format!("{work},{done},{:.0},{resident}", started.elapsed().as_secs_f64());
        println!("{line}");
        // Writing to a text cannot fail.
        let _ = writeln!(curve, "{line}");
    };
    sample("answers", 0);
    for number in 1..=answers {
        ask(&model, number)?;
        if number.is_multiple_of((answers / 40).max(1)) {
            sample("answers", number);
        }
    }
    for (done, resident) in train(&model, updates)? {
        println!("updates,{done},,{resident}");
        let _ = writeln!(curve, "updates,{done},,{resident}");
    }
    write_whole(out, curve)?;
    Ok(())
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

/// Updates of a training, with the memory beside them, sampled from outside the loop.
fn train(model: &LoadedModel, updates: usize) -> Result<Vec<(usize, u64)>, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let config = TrainConfig {
        steps: updates,
        batch: 4,
        ..TrainConfig::default()
    };
    let data = GeneratedCaptions::new(64, 0)?;
    let ended = Arc::new(AtomicBool::new(false));
    let log = folder.path().join("metrics.jsonl");
    let sampler = thread::spawn({
        let ended = ended.clone();
        move || {
            let mut curve: Vec<(usize, u64)> = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let done = std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
                let last = curve.last().map_or(0, |(done, _)| *done);
                if done >= last + (updates / 40).max(1) {
                    curve.push((done, resident().unwrap_or(0) >> 20));
                }
                thread::sleep(Duration::from_millis(200));
            }
            curve
        }
    });
    let outcome =
        Trainer::new(model.vlm.as_ref(), &config).run(&data, None, folder.path(), &mut Progress::silent());
    ended.store(true, Ordering::Relaxed);
    let curve = sampler.join().map_err(|_| "the thread that samples ended")?;
    outcome?;
    Ok(curve)
}

/// Bytes that the process holds in memory.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}
