//! Trains a scorer on captions and reads it back.
//!
//! `cargo run --release -p diffprune --example train -- MODEL CAPTIONS OUT`: a checkpoint of any family, a folder with
//! `captions.jsonl` (`diffprune mini data --out DIR` writes one), and the folder of the run.

use std::env;

use burn::tensor::Device;
use diffprune::training::Progress;
use diffprune::{
    Budget, CaptionFolder, LearnedPruner, LoadOptions, Pruner, ScorerChoice, ScorerPreset, TrainConfig,
    load_vlm, train,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, captions, out] = arguments.as_slice() else {
        return Err(
            "expected three arguments: the model, the folder with captions.jsonl, the folder of the run"
                .into(),
        );
    };
    let vlm = load_vlm(model, &Device::flex(), LoadOptions::default())?;
    let data = CaptionFolder::open(captions)?;

    let mut config = TrainConfig {
        steps: 20,
        warmup: 2,
        ..TrainConfig::default()
    };
    config.diffprune.budget = Budget::rate(1, 9);
    config.diffprune.scorer = ScorerChoice::Preset(ScorerPreset::Mini);
    let mut progress = Progress::new("train", config.steps);
    let report = train(vlm.as_ref(), &data, None, &config, out, &mut progress)?;
    println!("{} updates, last nll {:?}", report.steps, report.last_nll);
    for warning in &report.warnings {
        println!("warning: {warning}");
    }

    let pruner = LearnedPruner::load(out, vlm.d_descriptor(), &vlm.device())?;
    println!("{}: `{}` is ready to choose tokens", out, pruner.name());
    Ok(())
}
