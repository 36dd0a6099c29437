//! Encode on one process, train on another: what `burn-remote` of Burn 0.22.1 does for it, over loopback.
//!
//! ```sh
//! cd benches/remote && cargo build -r
//! target/release/diffprune-remote-trial serve 3344 &
//! target/release/diffprune-remote-trial try ws://127.0.0.1:3344 ../../assets/mini-llava-1.5
//! ```
//!
//! The first process serves its CPU; the second loads the model onto that device over the wire, encodes the pictures of the small world
//! there, writes features, and trains a scorer on them on its own CPU. The same is done without the other process, and compared.

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use burn::tensor::remote::RemoteHost;
use burn::tensor::server::{RemoteServer, WebSocketTransport};
use diffprune::training::Progress;
use diffprune::{
    CachePrecision, CaptionData, CaptionSample, DataError, FeatureFolder, FeatureOptions, LoadOptions, TrainConfig,
    Trainer, ValidationConfig, load_vlm, write_features,
};
use diffprune_mini::{SceneDataset, Split, WorldConfig, caption, render};

type Failure = Box<dyn std::error::Error>;

/// Captioned pictures.
const SAMPLES: usize = 64;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", port] => Ok(RemoteServer::new([Device::flex()]).serve(WebSocketTransport::new(port.parse()?))?),
        ["try", url, model] => compare(url, Path::new(model)),
        _ => Err("expected `serve PORT` or `try URL MODEL`".into()),
    }
}

fn compare(url: &str, model: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    let remote = Device::remote_options(&RemoteHost::websocket(url)).init()?;
    println!("connected in {:.3} s", start.elapsed().as_secs_f64());
    let folder = std::env::temp_dir().join(format!("diffprune-remote-{}", std::process::id()));
    let mut outcomes = Vec::new();
    for (name, device) in [("here", Device::flex()), ("there", remote)] {
        let start = Instant::now();
        let vlm = load_vlm(model, &device, LoadOptions::f32())?;
        println!("{name}: model loaded in {:.3} s", start.elapsed().as_secs_f64());
        let features = folder.join(name);
        let options = FeatureOptions::default().with_precision(CachePrecision::F32);
        let start = Instant::now();
        write_features(vlm.as_ref(), &Captions::new()?, &features, &options, &mut |_, _| ())?;
        println!("{name}: {SAMPLES} pictures encoded in {:.3} s", start.elapsed().as_secs_f64());
        outcomes.push(train(model, &features, &folder.join(format!("run-{name}")))?);
    }
    println!("held loss after training, features of here {:.6}, of there {:.6}", outcomes[0], outcomes[1]);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// A short training on the features, on this machine's CPU; gives the last loss.
fn train(model: &Path, features: &Path, out: &Path) -> Result<f64, Failure> {
    let vlm = load_vlm(model, &Device::flex(), LoadOptions::f32())?;
    let settings = TrainConfig {
        steps: 10,
        batch: 16,
        validation: ValidationConfig {
            every: 0,
            ..ValidationConfig::default()
        },
        ..TrainConfig::default()
    };
    let start = Instant::now();
    let data = FeatureFolder::open(features)?;
    let report = Trainer::new(vlm.as_ref(), &settings).run(&data, None, out, &mut Progress::silent())?;
    println!("  trained in {:.3} s", start.elapsed().as_secs_f64());
    Ok(report.last_nll.unwrap_or(f64::NAN))
}

/// Captioned pictures of the small world.
struct Captions(SceneDataset);

impl Captions {
    fn new() -> Result<Self, Failure> {
        Ok(Self(SceneDataset::new(WorldConfig::default(), 0, Split::Train)?))
    }
}

impl CaptionData for Captions {
    fn len(&self) -> usize {
        SAMPLES
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        let scene = self.0.get(index as u64);
        Ok(CaptionSample {
            image: render(&scene),
            caption: caption(&scene, &mut self.0.text_rng(index as u64, 0)),
        })
    }
}
