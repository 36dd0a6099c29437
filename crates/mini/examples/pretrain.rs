//! Trains the small model: `cargo run --release --example pretrain -- <run folder> [config.toml]`.
use diffprune_mini::{PretrainConfig, WorldConfig, pretrain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("give a folder")?;
    let config: PretrainConfig = match args.next() {
        Some(path) => toml::from_str(&std::fs::read_to_string(path)?)?,
        None => PretrainConfig::default(),
    };
    pretrain(
        &config,
        &WorldConfig::default(),
        dir.as_ref(),
        &burn::tensor::Device::flex(),
    )?;
    Ok(())
}
