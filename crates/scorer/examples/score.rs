//! Scores random tokens, saves the scorer, reads it back: `cargo run -p diffprune-scorer --example score`.

use burn::tensor::{Device, Distribution, Tensor};
use diffprune_scorer::{CheckpointError, Metadata, ScorerCheckpoint, ScorerConfig};

fn main() -> Result<(), CheckpointError> {
    let device = Device::flex();
    device.seed(0);
    let config = ScorerConfig::mini(64);
    let scorer = config.init(&device);
    println!("{} parameters", config.num_params());

    // An image of 16 tokens that come out of a vision encoder of width 64.
    let tokens = Tensor::<3>::random([1, 16, 64], Distribution::Normal(0.0, 1.0), &device);
    let scores = scorer.forward(tokens.clone(), None);
    println!("best four tokens: {}", scores.clone().argtopk(4, 1).to_data());

    let dir = std::env::temp_dir().join("diffprune-example-scorer");
    ScorerCheckpoint::save(&dir, &scorer, &Metadata::new("diffprune", &scorer))?;
    let (again, metadata) = ScorerCheckpoint::load_for_width(&dir, 64, &device)?;
    let change = (again.forward(tokens, None) - scores).abs().max();
    println!(
        "{} from {}: scores differ by {}",
        metadata.method,
        dir.display(),
        change.to_data()
    );
    Ok(())
}
