//! Configurations, tensor names and tensors of the stored checkpoints.

use std::collections::BTreeSet;

use burn::tensor::{DType, Device};
use diffprune_vlm_adapters::{
    GenerationConfig, ImageProcessor, LlavaConfig, LoadError, LoadOptions, Qwen25VlConfig,
    QwenImageProcessor, WeightFiles, canonical_llava_name, canonical_qwen_name, checkpoint_dtype, load_vlm,
    plan_vlm, save_safetensors,
};
use serde_json::Value;

use crate::{Outcome, entries, fixture, json};

fn names(list: &Value) -> BTreeSet<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect()
}

#[test]
fn files_hold_the_listed_names() -> Outcome {
    let layouts = json("key_layouts.json")?;
    for name in entries("checkpoints", |_| true)? {
        let files = WeightFiles::open(fixture("checkpoints").join(&name))?;
        let found: BTreeSet<String> = files.names().map(str::to_string).collect();
        assert_eq!(found, names(&layouts[&name]["on_disk"]), "{name}");
    }
    Ok(())
}

/// `true` if a checkpoint is of the LLaVA family: its configuration says so, or where only its names are stored, these.
fn is_llava(name: &str, on_disk: &BTreeSet<String>) -> bool {
    match json(&format!("checkpoints/{name}/config.json")) {
        Ok(config) => ["llava", "llava_next"].contains(&config["model_type"].as_str().unwrap_or_default()),
        Err(_) => on_disk
            .iter()
            .any(|name| name.starts_with("multi_modal_projector.")),
    }
}

#[test]
fn weights_are_held_in_the_type_of_their_files() -> Outcome {
    for name in entries("checkpoints", |_| true)? {
        let dir = fixture("checkpoints").join(&name);
        let bytes = |options: LoadOptions| -> Result<u64, LoadError> {
            let vlm = load_vlm(&dir, &Device::flex(), options)?;
            let plan = plan_vlm(&dir, options)?;
            assert_eq!(vlm.kv_bytes_per_token(), plan.kv_bytes_per_token(), "{name}");
            Ok(vlm.kv_bytes_per_token())
        };
        let stored = checkpoint_dtype(&dir)?.size() as u64;
        assert_eq!(
            4 * bytes(LoadOptions::default())?,
            stored * bytes(LoadOptions::f32())?,
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn newer_names_become_the_older_ones() -> Outcome {
    let mut n_layouts = 0;
    for (name, layout) in json("key_layouts.json")?
        .as_object()
        .ok_or("layouts by checkpoint")?
    {
        let on_disk = names(&layout["on_disk"]);
        let canonical_name = if is_llava(name, &on_disk) {
            canonical_llava_name
        } else {
            canonical_qwen_name
        };
        let newer = names(&layout["module_names_transformers_5"]);
        assert!(!on_disk.is_empty(), "{name} has no tensors");
        let canonical = |names: &BTreeSet<String>| -> BTreeSet<String> {
            names.iter().filter_map(|name| canonical_name(name)).collect()
        };
        assert_eq!(canonical(&on_disk), on_disk, "{name}");
        assert_eq!(canonical(&newer), on_disk, "{name}");
        n_layouts += 1;
    }
    assert!(n_layouts > 0, "no layouts");
    Ok(())
}

/// Checkpoints that [`LlavaConfig`] describes.
fn llava_checkpoints() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    entries("checkpoints", |name| {
        let config = json(&format!("checkpoints/{name}/config.json"));
        config.is_ok_and(|config| config["model_type"] == "llava")
    })
}

#[test]
fn configurations_fit_the_tensors_and_survive_rewriting() -> Outcome {
    for name in llava_checkpoints()? {
        let dir = fixture("checkpoints").join(&name);
        let config = LlavaConfig::from_dir(&dir)?;
        let files = WeightFiles::open(&dir)?;
        let (text, vision) = (&config.text, &config.vision);
        let tower = "vision_tower.vision_model.embeddings";
        let q = format!(
            "language_model.model.layers.{}.self_attn.q_proj.weight",
            text.num_hidden_layers - 1
        );
        for (tensor, shape) in [
            (
                "language_model.model.embed_tokens.weight".into(),
                vec![text.vocab_size, text.hidden_size],
            ),
            (
                q,
                vec![text.num_attention_heads * text.head_dim, text.hidden_size],
            ),
            (
                format!("{tower}.position_embedding.weight"),
                vec![vision.n_patches() + 1, vision.hidden_size],
            ),
        ] {
            assert_eq!(files.shape(&tensor)?, shape, "{name}");
        }
        let rewritten = serde_json::to_string(&config)?;
        assert_eq!(serde_json::from_str::<LlavaConfig>(&rewritten)?, config, "{name}");
        assert_eq!(
            ImageProcessor::from_dir(&dir)?.size as usize,
            vision.image_size,
            "{name}"
        );
        let stored = json(&format!("checkpoints/{name}/generation_config.json"))?;
        assert_eq!(
            GenerationConfig::from_dir(&dir)?.eos_token_ids.len(),
            1.max(stored["eos_token_id"].as_array().map_or(1, Vec::len))
        );
    }
    Ok(())
}

#[test]
fn qwen_configurations_fit_the_tensors_and_survive_rewriting() -> Outcome {
    for name in entries("checkpoints", |name| {
        let config = json(&format!("checkpoints/{name}/config.json"));
        config.is_ok_and(|config| config["model_type"] == "qwen2_5_vl")
    })? {
        let dir = fixture("checkpoints").join(&name);
        let config = Qwen25VlConfig::from_dir(&dir)?;
        let files = WeightFiles::open(&dir)?;
        let (text, vision) = (&config.text, &config.vision);
        let last = text.num_hidden_layers - 1;
        let kernel = vec![
            vision.hidden_size,
            3,
            vision.temporal_patch_size,
            vision.patch_size,
            vision.patch_size,
        ];
        let wide = vision.group() * vision.hidden_size;
        for (tensor, shape) in [
            (
                "model.embed_tokens.weight".into(),
                vec![text.vocab_size, text.hidden_size],
            ),
            (
                format!("model.layers.{last}.self_attn.k_proj.weight"),
                vec![text.num_key_value_heads * text.head_dim, text.hidden_size],
            ),
            ("visual.patch_embed.proj.weight".into(), kernel),
            (
                "visual.merger.mlp.2.weight".into(),
                vec![vision.out_hidden_size, wide],
            ),
        ] {
            assert_eq!(files.shape(&tensor)?, shape, "{name}");
        }
        let has_head = files.names().any(|name| name == "lm_head.weight");
        assert_eq!(has_head, !text.tie_word_embeddings, "{name}");
        let rewritten = serde_json::to_string(&config)?;
        assert_eq!(
            serde_json::from_str::<Qwen25VlConfig>(&rewritten)?,
            config,
            "{name}"
        );
        let stored = json(&format!("checkpoints/{name}/preprocessor_config.json"))?;
        let read = QwenImageProcessor::from_dir(&dir)?;
        assert_eq!(Some(read.max_pixels), stored["max_pixels"].as_u64(), "{name}");
    }
    Ok(())
}

#[test]
fn shards_read_like_one_file() -> Outcome {
    for name in llava_checkpoints()? {
        let files = WeightFiles::open(fixture("checkpoints").join(&name))?;
        let dir = tempfile::tempdir()?;
        let mut tensors = Vec::new();
        for tensor in files.names() {
            tensors.push((tensor.to_string(), files.tensor_data(tensor, DType::F32)?));
        }
        save_safetensors(dir.path().join("model.safetensors"), tensors, DType::F32)?;
        let whole = WeightFiles::open(&dir)?;
        assert!(whole.names().eq(files.names()), "{name}");
        for tensor in files.names() {
            let (shape, values) = files.tensor_f32(tensor)?;
            assert_eq!(values.len(), shape.iter().product::<usize>(), "{name} {tensor}");
            assert!(values.iter().all(|value| value.is_finite()), "{name} {tensor}");
            assert_eq!(whole.tensor_f32(tensor)?, (shape, values), "{name} {tensor}");
        }
    }
    Ok(())
}
