//! The memory that loading needs: little more than the weights.

use std::path::Path;
use std::process::Command;

use burn::tensor::{DType, Device};
use diffprune_vlm_adapters::{
    ClipVisionConfig, LlamaConfig, LlavaConfig, LlavaNextConfig, Qwen25VlConfig, QwenVisionConfig,
};
use safetensors::SafeTensors;

use crate::Outcome;

/// Tells a copy of this program what to load: `family file dtype` or `family random dtype`.
const TASK: &str = "DIFFPRUNE_MEMORY_TASK";
/// The folder of the checkpoint, for the copy.
const DIR: &str = "DIFFPRUNE_MEMORY_DIR";
/// The peak may be this much more than the weights.
const FACTOR: f64 = 1.15;

/// A hundred million parameters, the largest tensor a few percent of them.
fn text() -> LlamaConfig {
    LlamaConfig {
        vocab_size: 4096,
        hidden_size: 1024,
        intermediate_size: 2816,
        num_hidden_layers: 7,
        num_attention_heads: 8,
        num_key_value_heads: 8,
        head_dim: 128,
        ..LlamaConfig::tiny()
    }
}

fn llava() -> LlavaConfig {
    LlavaConfig {
        vision: ClipVisionConfig::tiny(),
        text: text(),
        ..LlavaConfig::tiny()
    }
}

fn next() -> LlavaNextConfig {
    LlavaNextConfig {
        llava: llava(),
        ..LlavaNextConfig::tiny()
    }
}

fn qwen() -> Qwen25VlConfig {
    let tiny = Qwen25VlConfig::tiny();
    Qwen25VlConfig {
        vision: QwenVisionConfig {
            out_hidden_size: 1024,
            ..tiny.vision
        },
        text: LlamaConfig {
            num_key_value_heads: 4,
            mrope_section: Some([16, 24, 24]),
            rms_norm_eps: tiny.text.rms_norm_eps,
            attention_bias: true,
            ..text()
        },
        ..tiny
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

/// The task of the copy: loads, and prints by how much its memory peaked.
fn load(task: &str) -> Outcome {
    let (family, task) = task.split_once(' ').ok_or("a family")?;
    let (source, dtype) = task.split_once(' ').ok_or("a task")?;
    let dtype = match dtype {
        "f16" => DType::F16,
        "bf16" => DType::BF16,
        _ => DType::F32,
    };
    let device = Device::flex();
    let dir = || std::env::var(DIR);
    let before = status("VmRSS")?;
    let peak = || Ok::<_, Box<dyn std::error::Error>>(status("VmHWM")? - before);
    // Each model lives until its peak is known.
    let peak = match (family, source) {
        ("next", _) => (next().load_weights(dir()?, dtype, &device)?, peak()?).1,
        ("qwen", _) => (qwen().load_weights(dir()?, dtype, &device)?, peak()?).1,
        (_, "file") => (llava().load_weights(dir()?, dtype, &device)?, peak()?).1,
        _ => (llava().init_random(dtype, 1, &device)?, peak()?).1,
    };
    println!("\npeak {peak}");
    Ok(())
}

/// Divides the weights of a checkpoint into three shards, tensor by tensor in turn.
fn shard(dir: &Path) -> Outcome {
    let whole = dir.join("model.safetensors");
    let bytes = std::fs::read(&whole)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let mut shards = [Vec::new(), Vec::new(), Vec::new()];
    let mut weight_map = serde_json::Map::new();
    for (i, (name, view)) in tensors.iter().enumerate() {
        let number = i % shards.len();
        weight_map.insert(name.into(), format!("model-{number}.safetensors").into());
        shards[number].push((name, view));
    }
    for (number, shard) in shards.into_iter().enumerate() {
        safetensors::serialize_to_file(shard, None, &dir.join(format!("model-{number}.safetensors")))?;
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": weight_map });
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string())?;
    std::fs::remove_file(whole)?;
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
    let mut dirs = Vec::new();
    for family in ["llava", "next", "qwen"] {
        let dir = tempfile::tempdir()?;
        let (device, half) = (Device::flex(), DType::F16);
        match family {
            "next" => next()
                .init_random(half, 1, &device)?
                .save_pretrained(&next(), &dir, half)?,
            "qwen" => qwen()
                .init_random(half, 1, &device)?
                .save_pretrained(&qwen(), &dir, half)?,
            _ => llava()
                .init_random(half, 1, &device)?
                .save_pretrained(&llava(), &dir, half)?,
        }
        let n_halves = std::fs::metadata(dir.path().join("model.safetensors"))?.len() as f64 / 2.0;
        assert!(n_halves > 90e6, "{family}: {n_halves} parameters");
        dirs.push((family, dir, n_halves));
    }
    shard(dirs[2].1.path())?;
    for (family, task, width) in [
        ("llava", "file f16", 2.0),
        ("llava", "file bf16", 2.0),
        ("llava", "file f32", 4.0),
        ("llava", "random f16", 2.0),
        ("next", "file f16", 2.0),
        ("next", "file f32", 4.0),
        ("qwen", "file f16", 2.0),
        ("qwen", "file bf16", 2.0),
        ("qwen", "file f32", 4.0),
    ] {
        let known = dirs.iter().find(|(name, ..)| *name == family);
        let (_, dir, n_halves) = known.ok_or("a checkpoint")?;
        let factor = peak(&format!("{family} {task}"), dir.path())? / (n_halves * width);
        println!("{family} {task}: peak of {factor:.3} times the weights");
        assert!(factor > 0.9, "{family} {task}: {factor} is no measurement");
        assert!(factor < FACTOR, "{family} {task}: {factor}");
    }
    Ok(())
}
