//! How much memory loading needs: little more than the weights.

use std::path::Path;
use std::process::Command;

use burn::tensor::{DType, Device};
use diffprune_vlm::{ClipVisionConfig, LlamaConfig, LlavaConfig};

use crate::Outcome;

/// Tells a copy of this program what to load: `file dtype` or `random dtype`.
const TASK: &str = "DIFFPRUNE_MEMORY_TASK";
/// The folder of the checkpoint, for the copy.
const DIR: &str = "DIFFPRUNE_MEMORY_DIR";
/// The peak may be this much more than the weights.
const FACTOR: f64 = 1.15;

/// A hundred million parameters, the largest tensor a few percent of them.
fn config() -> LlavaConfig {
    LlavaConfig {
        vision: ClipVisionConfig::tiny(),
        text: LlamaConfig {
            vocab_size: 4096,
            hidden_size: 1024,
            intermediate_size: 2816,
            num_hidden_layers: 7,
            num_attention_heads: 8,
            num_key_value_heads: 8,
            head_dim: 128,
            ..LlamaConfig::tiny()
        },
        ..LlavaConfig::tiny()
    }
}

/// A figure of this process in bytes.
fn status(field: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or("a number of kB")?.parse::<f64>()? * 1024.0)
}

/// What the copy does: loads, and prints by how much its memory peaked.
fn load(task: &str) -> Outcome {
    let (source, dtype) = task.split_once(' ').ok_or("a task")?;
    let dtype = match dtype {
        "f16" => DType::F16,
        "bf16" => DType::BF16,
        _ => DType::F32,
    };
    let device = Device::flex();
    let before = status("VmRSS")?;
    let model = match source {
        "file" => config().load_weights(std::env::var(DIR)?, dtype, &device)?,
        _ => config().init_random(dtype, 1, &device)?,
    };
    let peak = status("VmHWM")? - before;
    println!("\npeak {peak}");
    drop(model);
    Ok(())
}

/// The peak of a copy of this program that does `task`, in bytes.
fn peak(task: &str, dir: &Path) -> Result<f64, Box<dyn std::error::Error>> {
    let output = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "memory::loading_needs_little_more_than_the_weights",
            "--nocapture",
        ])
        .env(TASK, task)
        .env(DIR, dir)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("peak "));
    let line = line.ok_or_else(|| format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(line.parse()?)
}

#[test]
fn loading_needs_little_more_than_the_weights() -> Outcome {
    if let Ok(task) = std::env::var(TASK) {
        return load(&task);
    }
    let dir = tempfile::tempdir()?;
    let model = config().init_random(DType::F16, 1, &Device::flex())?;
    model.save_pretrained(&config(), &dir, DType::F16)?;
    let n_halves = std::fs::metadata(dir.path().join("model.safetensors"))?.len() as f64 / 2.0;
    assert!(n_halves > 95e6, "{n_halves} parameters");
    drop(model);
    for (task, width) in [
        ("file f16", 2.0),
        ("file bf16", 2.0),
        ("file f32", 4.0),
        ("random f16", 2.0),
    ] {
        let factor = peak(task, dir.path())? / (n_halves * width);
        println!("{task}: peak of {factor:.3} times the weights");
        assert!(factor > 0.9, "{task}: {factor} is no measurement");
        assert!(factor < FACTOR, "{task}: {factor}");
    }
    Ok(())
}
