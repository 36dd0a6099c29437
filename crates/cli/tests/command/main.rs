//! The real program, driven from outside.

mod bad_input;
mod commands;
mod encoding;
mod families;
mod formats;
mod hub;
mod looking;
mod machine;
#[cfg(target_os = "linux")]
mod readme;
mod repro;
mod rivals;
mod serve;
#[cfg(target_os = "linux")]
mod signals;
mod situations;

use std::path::Path;
use std::process::{Command, Output};

use burn::tensor::{DType, Device};
use diffprune_mini::{Family, PretrainConfig, WorldConfig, untrained, write_processor_files};

/// Flags of `mini data` for a few questions of POPE, GQA and TextVQA and none of the others.
const FEW_QUESTIONS: &str = "--pope-images 1 --gqa-per-kind 1 --textvqa-questions 1 --vqav2-questions 0 \
    --vizwiz-questions 0 --mme-pictures 0 --mmbench-questions 0 --mmbench-cn-questions 0 --seed-bench-questions 0 \
    --scienceqa-questions 0";

/// The program with these arguments, separated by blanks; `{}` stands for the next path.
fn diffprune(line: &str, paths: &[&Path]) -> Command {
    let mut paths = paths.iter();
    let mut command = Command::new(env!("CARGO_BIN_EXE_diffprune"));
    // A name that is no folder must not be looked up outside.
    command.env("HF_HUB_OFFLINE", "1");
    for word in line.split_whitespace() {
        let mut parts = word.split("{}");
        let mut argument = parts.next().unwrap_or_default().to_string();
        for part in parts {
            let path = paths.next().expect("a path for each {}").display();
            argument += &format!("{path}{part}");
        }
        command.arg(argument);
    }
    command
}

/// Runs to the end.
fn output(line: &str, paths: &[&Path]) -> Output {
    diffprune(line, paths).output().expect("the program starts")
}

/// Runs to the end and must succeed.
fn succeed(line: &str, paths: &[&Path]) -> String {
    let output = output(line, paths);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

/// A checkpoint with random weights: the architecture and the texts of the small LLaVA-1.5, narrower.
fn model(dir: &Path, width: usize) {
    model_of(Family::Llava15, dir, width, 1);
}

/// The same of any family, with so many layers in the language model.
fn model_of(family: Family, dir: &Path, width: usize, layers: usize) {
    let world = WorldConfig::default();
    let recipe = PretrainConfig {
        d_vision: width,
        vision_layers: 1,
        vision_heads: 2,
        d_model: 32,
        language_layers: layers,
        n_heads: 2,
        ..PretrainConfig::of(family)
    };
    untrained(&recipe, &world, &Device::flex())
        .and_then(|model| model.save_pretrained(dir, DType::F16))
        .expect("a writable folder");
    write_processor_files(dir, recipe.family, &world).expect("a writable folder");
}

/// A picture.
fn picture(path: &Path) {
    image::RgbImage::from_fn(200, 120, |x, y| image::Rgb([x as u8, y as u8, 90]))
        .save(path)
        .expect("a writable folder");
}
