//! The most memory that a training holds at once, at the widths of LLaVA-1.5-7B with random weights and its first few layers: what
//! the allocator says, with and without `recompute`, and what follows for all 32 layers.
//!
//! ```sh
//! cargo run -r -p diffprune-benches --bin train-memory -- --layers 1,2 --batch 8 --out runs/memory
//! ```
//!
//! The frozen model is held in f16, the trained parts and their moments are in f32, pictures go through the model one at a time
//! (`micro_batch = 1`) and their gradients are summed over a batch. The vision tower has one layer that is used: it has no gradient, so
//! that its activations do not add up. With few layers the optimiser's step is the peak, whose size does not depend on them: a small
//! scorer (`--scorer small`) moves it to the language model and shows what each layer holds. Captions, tokenizer
//! and pictures (enlarged to 336 pixels) are those of the small world.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use diffprune::training::Progress;
use diffprune::{DiffPruneConfig, ScorerChoice, TrainConfig, Trainer, ValidationConfig};
use diffprune_denoiser::DenoiserConfig;
use diffprune_lab::{GeneratedCaptions, find_shipped};
use diffprune_scorer::ScorerConfig;
use diffprune_vlm_adapters::{
    ChatTemplate, GenerationConfig, ImageProcessor, Llava, LlavaConfig, LlavaParts, PromptStyle,
    TextTokenizer,
};
use peak_alloc::PeakAlloc;
use serde::Serialize;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

type Failure = Box<dyn std::error::Error>;

/// Layers of the language model of LLaVA-1.5-7B.
const ALL_LAYERS: f64 = 32.0;
/// Weights of the 22 layers of the tower that are left out, in f16: they are held, too.
const TOWER_LAYERS: f64 = 22.0 * 12_596_224.0 * 2.0;
/// Width of the feed-forward parts of a small scorer and denoiser.
const NARROW: usize = 64;
/// Updates: the second one meets the moments of the first.
const STEPS: usize = 2;

/// A training.
#[derive(Debug, Clone, Serialize)]
struct Measured {
    layers: usize,
    recompute: bool,
    batch: usize,
    micro_batch: usize,
    /// True for a scorer and denoiser of a few million weights in place of the preset `base`.
    small_scorer: bool,
    /// Bytes held before the training: the frozen weights.
    frozen_bytes: usize,
    /// Most bytes held at once during the training, weights included.
    peak_bytes: usize,
}

/// The straight line through the measurements of one setting.
#[derive(Debug, Serialize)]
struct Line {
    recompute: bool,
    /// Bytes at no layer.
    base_bytes: f64,
    /// Bytes that each layer adds: its weights, and what is held of it.
    layer_bytes: f64,
    /// Bytes at all layers of language model and tower.
    all_layers_bytes: f64,
    all_layers_gib: f64,
}

fn main() -> Result<(), Failure> {
    let mut layers = vec![1, 2];
    let mut batch = 8;
    let mut out = PathBuf::from("runs/memory");
    let mut small = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word}: a value is missing"))?;
        match word.as_str() {
            "--layers" => layers = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--batch" => batch = value.parse()?,
            "--out" => out = value.into(),
            "--scorer" if ["base", "small"].contains(&value.as_str()) => small = value == "small",
            _ => {
                let expected = "--layers N,M, --batch N, --scorer base|small or --out DIR";
                return Err(format!("found {word} {value}, expected {expected}").into());
            }
        }
    }
    std::fs::create_dir_all(&out)?;
    let mut measured = Vec::new();
    let mut lines = Vec::new();
    for recompute in [true, false] {
        let from = measured.len();
        for &count in &layers {
            let run = measure(count, recompute, batch, small, &out)?;
            println!("{}", serde_json::to_string(&run)?);
            measured.push(run);
        }
        lines.extend(line(&measured[from..]));
    }
    for line in &lines {
        println!("{}", serde_json::to_string(line)?);
    }
    let record = serde_json::json!({ "shape": "llava-1.5-7b", "runs": measured, "lines": lines });
    std::fs::write(
        out.join("memory.json"),
        serde_json::to_string_pretty(&record)? + "\n",
    )?;
    Ok(())
}

fn measure(
    layers: usize,
    recompute: bool,
    batch: usize,
    small: bool,
    out: &Path,
) -> Result<Measured, Failure> {
    let device = Device::flex();
    let shipped = find_shipped("mini-llava-1.5", "llava-1.5")?;
    let mut config = LlavaConfig::llava_1_5_7b();
    config.text.num_hidden_layers = layers;
    config.vision.num_hidden_layers = 2;
    config.image_token_id = LlavaConfig::from_dir(&shipped)?.image_token_id;
    let width = config.vision.hidden_size;
    let vlm = Llava::from_parts(LlavaParts {
        model: config.init_random(DType::F16, 0, &device)?,
        processor: ImageProcessor::clip(config.vision.image_size as u32),
        tokenizer: TextTokenizer::from_file(shipped.join("tokenizer.json"))?,
        template: ChatTemplate::from_dir(&shipped)?,
        prompt_style: PromptStyle::Hf,
        generation: GenerationConfig::from_dir(&shipped)?,
        config,
    })?;
    let settings = TrainConfig {
        steps: STEPS,
        batch,
        shards: Some(1),
        micro_batch: Some(1),
        warmup: 1,
        recompute,
        validation: ValidationConfig {
            every: 0,
            ..ValidationConfig::default()
        },
        diffprune: method(width, small),
        ..TrainConfig::default()
    };
    let run = out.join(format!("run-{layers}-{recompute}"));
    let frozen_bytes = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let data = GeneratedCaptions::new(STEPS * batch, 0)?;
    Trainer::new(&vlm, &settings).run(&data, None, &run, &mut Progress::silent())?;
    let peak_bytes = MEMORY.peak_usage();
    std::fs::remove_dir_all(run)?;
    Ok(Measured {
        layers,
        recompute,
        batch,
        micro_batch: 1,
        small_scorer: small,
        frozen_bytes,
        peak_bytes,
    })
}

/// DiffPrune with the preset `base`, or with narrow feed-forward parts and one block.
fn method(width: usize, small: bool) -> DiffPruneConfig {
    let usual = DiffPruneConfig::default();
    if !small {
        return usual;
    }
    DiffPruneConfig {
        scorer: ScorerChoice::Config(ScorerConfig {
            n_layers: 1,
            d_ff: Some(NARROW),
            ..ScorerConfig::mini(width)
        }),
        denoiser: Some(DenoiserConfig::new(width).with_d_ff(Some(NARROW))),
        ..usual
    }
}

/// From the last two of some runs that differ in their layers; a single layer computes fewer rows than the others.
fn line(runs: &[Measured]) -> Option<Line> {
    let [.., first, last] = runs else {
        return None;
    };
    let steps = (last.layers.checked_sub(first.layers)).filter(|steps| *steps > 0)?;
    let layer_bytes = (last.peak_bytes as f64 - first.peak_bytes as f64) / steps as f64;
    let base_bytes = first.peak_bytes as f64 - layer_bytes * first.layers as f64;
    let all_layers_bytes = base_bytes + ALL_LAYERS * layer_bytes + TOWER_LAYERS;
    Some(Line {
        recompute: first.recompute,
        base_bytes,
        layer_bytes,
        all_layers_bytes,
        all_layers_gib: all_layers_bytes / f64::from(1 << 30),
    })
}
