//! Trains DiffPrune on the small world and compares it with three other arms:
//! `cargo run -p diffprune-lab --example experiment -- MODEL OUT`, both with a default.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffprune::{Budget, LoadOptions, Method};
use diffprune_eval::Report;
use diffprune_lab::{Experiment, LabError, Learned, Lineup, LoadedModel, Plan, STAGES, World, revision};

/// The shipped small model.
pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/mini-llava-1.5");

fn main() -> Result<(), LabError> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let model = paths.next().unwrap_or(MODEL.into());
    let out = paths.next().unwrap_or("runs/experiment".into());
    println!("{}", run(&model, &out)?.to_text());
    Ok(())
}

/// The experiment on the model in a folder, which writes everything below `out`.
pub fn run(model: &Path, out: &Path) -> Result<Report, LabError> {
    let model = LoadedModel::load(model, &Device::flex(), LoadOptions::default())?;
    let (plan, revision) = (Plan::smallest(), revision());
    let world = World::write(&plan, 0, &out.join(STAGES), &revision, &mut ())?;
    let lineup = Lineup::new(
        "DiffPrune beside attention and chance",
        [Budget::rate(1, 3), Budget::rate(1, 9)],
        [Learned::new("diffprune", Method::default())],
        ["full", "diffprune", "cls-attention", "random"],
    );
    #[rustfmt::skip]
    let experiment = Experiment {
        plan: &plan, lineup, model: &model, world: &world, tuned: None, seed: 0, device: "cpu", revision: &revision, out,
        given: &[],
    };
    experiment.run(&mut ())
}
