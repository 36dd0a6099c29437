//! Damaged and unsuitable files: each gives its own error, which names the file, and none a panic.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use diffprune_vlm_adapters::{
    ChatTemplate, GenerationConfig, ImageFileError, ImageProcessor, LlavaConfig, LoadError, TextTokenizer,
    WeightFiles, load_image,
};
use tempfile::TempDir;

use crate::{Outcome, entries_of, shipped};

/// A writable copy of a shipped checkpoint that satisfies `wanted`.
pub fn copy_of(wanted: impl Fn(&Path) -> bool) -> Result<TempDir, Box<dyn std::error::Error>> {
    let all = shipped("checkpoints");
    let name = entries_of(&all, |name| wanted(&all.join(name)))?.remove(0);
    let dir = tempfile::tempdir()?;
    for entry in std::fs::read_dir(all.join(name))? {
        let entry = entry?;
        std::fs::write(dir.path().join(entry.file_name()), std::fs::read(entry.path())?)?;
    }
    Ok(dir)
}

fn is_single(dir: &Path) -> bool {
    dir.join("model.safetensors").exists()
}

fn is_sharded(dir: &Path) -> bool {
    dir.join("model.safetensors.index.json").exists()
}

fn shards(dir: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        found.extend(
            path.extension()
                .is_some_and(|kind| kind == "safetensors")
                .then_some(path),
        );
    }
    found.sort();
    Ok(found)
}

/// Check that `outcome` is an error that `expected` recognises and whose message holds `name`.
pub fn check<T>(outcome: Result<T, LoadError>, name: &str, expected: fn(&LoadError) -> bool) {
    let Err(error) = outcome else {
        panic!("{name}: no error");
    };
    assert!(expected(&error), "{name}: {error:?}");
    assert!(error.to_string().contains(name), "{name} is not in: {error}");
}

#[test]
fn damaged_weight_files() -> Outcome {
    let dir = copy_of(is_single)?;
    let path = dir.path().join("model.safetensors");
    let sound = std::fs::read(&path)?;
    let mut long_header = sound.clone();
    long_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut wrong_header = sound.clone();
    wrong_header[0] ^= 1;
    let cases: [&[u8]; 7] = [
        &sound[..sound.len() - 1],
        &sound[..sound.len() / 2],
        &sound[..100],
        &sound[..4],
        &[],
        &long_header,
        &wrong_header,
    ];
    for bytes in cases {
        std::fs::write(&path, bytes)?;
        check(WeightFiles::open(&dir), "model.safetensors", |error| {
            matches!(error, LoadError::Weights { .. })
        });
    }
    std::fs::remove_file(&path)?;
    check(WeightFiles::open(&dir), "model.safetensors", |error| {
        matches!(error, LoadError::MissingFile { .. })
    });
    Ok(())
}

#[test]
fn damaged_shards_and_indices() -> Outcome {
    let dir = copy_of(is_sharded)?;
    let index = dir.path().join("model.safetensors.index.json");
    let listed = std::fs::read_to_string(&index)?;
    let first = shards(dir.path())?.remove(0);
    let name = first
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or("a shard's name")?
        .to_string();
    let open = || WeightFiles::open(&dir);

    std::fs::write(&index, listed.replacen(&name, "model-of-nobody.safetensors", 1))?;
    check(open(), "model-of-nobody.safetensors", |error| {
        matches!(error, LoadError::MissingShard { .. })
    });
    std::fs::write(&index, listed.replacen(&name, "../model.safetensors", 1))?;
    check(open(), "index.json", |error| {
        matches!(error, LoadError::Weights { .. })
    });
    std::fs::write(&index, listed.replacen("norm.weight", "norm.wait", 1))?;
    check(open(), "norm.wait", |error| {
        matches!(error, LoadError::MissingTensor { .. })
    });
    for text in ["", "{", "[]", "{}", r#"{"weight_map": {"a": 1}}"#] {
        std::fs::write(&index, text)?;
        check(open(), "index.json", |error| {
            matches!(error, LoadError::Json { .. })
        });
    }
    std::fs::write(&index, r#"{"weight_map": {}}"#)?;
    check(open(), "index.json", |error| {
        matches!(error, LoadError::Weights { .. })
    });

    std::fs::write(&index, &listed)?;
    let sound = std::fs::read(&first)?;
    std::fs::write(&first, &sound[..sound.len() - 7])?;
    check(open(), &name, |error| matches!(error, LoadError::Weights { .. }));
    std::fs::remove_file(&first)?;
    check(open(), &name, |error| {
        matches!(error, LoadError::MissingShard { .. })
    });
    Ok(())
}

#[test]
fn tensors_that_are_not_there_or_no_floats() -> Outcome {
    let dir = copy_of(is_single)?;
    check(
        WeightFiles::open(&dir)?.tensor_f32("no.such.tensor"),
        "no.such.tensor",
        |error| matches!(error, LoadError::MissingTensor { .. }),
    );
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![1], &[0; 8])?;
    let bytes = safetensors::serialize([("whole", view)], None)?;
    std::fs::write(dir.path().join("model.safetensors"), bytes)?;
    check(
        WeightFiles::open(&dir)?.tensor_f32("whole"),
        "model.safetensors",
        |error| matches!(error, LoadError::TensorDtype { .. }),
    );
    Ok(())
}

#[test]
fn unsuitable_configurations() -> Outcome {
    let dir = copy_of(|_| true)?;
    let path = dir.path().join("config.json");
    let open = || LlavaConfig::from_dir(&dir);
    for (text, found) in [
        (r#"{"model_type": "blip-2"}"#, "blip-2"),
        (r#"{"architectures": ["GPT2LMHeadModel"]}"#, "GPT2LMHeadModel"),
        (
            r#"{"model_type": "llava", "vision_config": {"model_type": "siglip_vision_model"}}"#,
            "siglip_vision_model",
        ),
        (
            r#"{"model_type": "llava", "text_config": {"model_type": "gemma"}}"#,
            "gemma",
        ),
        ("{}", "none"),
    ] {
        std::fs::write(&path, text)?;
        check(open(), found, |error| {
            matches!(error, LoadError::UnsupportedArchitecture { .. })
        });
        check(open(), "config.json", |_| true);
    }
    for text in [
        "",
        "not json",
        "[1]",
        r#"{"model_type": "llava", "text_config": {"hidden_size": "wide"}}"#,
    ] {
        std::fs::write(&path, text)?;
        let wanted = |error: &LoadError| {
            matches!(
                error,
                LoadError::Json { .. } | LoadError::UnsupportedArchitecture { .. }
            )
        };
        check(open(), "config.json", wanted);
    }
    let zero = r#"{"model_type": "llava", "vision_config": {"patch_size": 0}}"#;
    std::fs::write(&path, zero)?;
    check(open(), "vision_config.patch_size", |error| {
        matches!(error, LoadError::Config { .. })
    });
    std::fs::remove_file(&path)?;
    check(open(), "config.json", |error| {
        matches!(error, LoadError::MissingFile { .. })
    });
    std::fs::write(
        dir.path().join("generation_config.json"),
        r#"{"eos_token_id": "end"}"#,
    )?;
    check(
        GenerationConfig::from_dir(&dir),
        "generation_config.json",
        |error| matches!(error, LoadError::Json { .. }),
    );
    Ok(())
}

/// Sizes beyond any model are refused, and the largest allowed ones do not fit the stored tensors: neither allocates.
#[test]
fn sizes_beyond_any_model() -> Outcome {
    let dir = copy_of(is_single)?;
    let path = dir.path().join("config.json");
    let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    for (part, field, limit) in [
        ("text_config", "num_hidden_layers", 1 << 10),
        ("text_config", "hidden_size", 1 << 20),
        ("text_config", "intermediate_size", 1 << 20),
        ("text_config", "num_attention_heads", 1 << 20),
        ("text_config", "num_key_value_heads", 1 << 20),
        ("text_config", "head_dim", 1 << 20),
        ("text_config", "vocab_size", 1 << 24),
        ("vision_config", "num_hidden_layers", 1 << 10),
        ("vision_config", "hidden_size", 1 << 20),
        ("vision_config", "intermediate_size", 1 << 20),
        ("vision_config", "num_attention_heads", 1 << 20),
        ("vision_config", "image_size", 1 << 16),
        ("vision_config", "patch_size", 1 << 12),
    ] {
        let mut config = stored.clone();
        // The head's width must not depend on the sizes that are spoilt.
        config["text_config"]["head_dim"] = 8.into();
        for found in [limit + 1, 1_000_000_000_000_000_u64, u64::MAX] {
            config[part][field] = found.into();
            std::fs::write(&path, config.to_string())?;
            check(LlavaConfig::from_dir(&dir), &format!("{part}.{field}"), |error| {
                matches!(error, LoadError::Config { .. })
            });
        }
    }
    let mut config = stored.clone();
    config["text_config"]["num_hidden_layers"] = (1 << 10).into();
    config["text_config"]["vocab_size"] = (1 << 24).into();
    config["text_config"]["intermediate_size"] = (1 << 20).into();
    std::fs::write(&path, config.to_string())?;
    let config = LlavaConfig::from_dir(&dir)?;
    let loaded = config.load_weights(dir.path(), DType::F32, &Device::flex());
    check(loaded.map(|_| ()), "safetensors", |error| {
        matches!(
            error,
            LoadError::TensorShape { .. } | LoadError::MissingTensor { .. }
        )
    });
    Ok(())
}

#[test]
fn unusable_tokenizers_and_templates() -> Outcome {
    let dir = copy_of(|_| true)?;
    let path = dir.path().join("tokenizer.json");
    let long_prefix = r#"{"model": {"type": "BPE", "continuing_subword_prefix": "long", "vocab": {"a": 0, "b": 1, "ab": 2},
        "merges": ["a b"]}}"#;
    for text in ["", "{}", "nonsense", r#"{"model": {"type": "BPE"}}"#, long_prefix] {
        std::fs::write(&path, text)?;
        check(TextTokenizer::from_file(&path), "tokenizer.json", |error| {
            matches!(error, LoadError::Tokenizer { .. })
        });
    }
    std::fs::remove_file(&path)?;
    check(TextTokenizer::from_file(&path), "tokenizer.json", |error| {
        matches!(error, LoadError::MissingFile { .. })
    });
    std::fs::write(dir.path().join("chat_template.jinja"), "{% if %}")?;
    check(ChatTemplate::from_dir(&dir), "chat_template.jinja", |error| {
        matches!(error, LoadError::Template { .. })
    });
    Ok(())
}

#[test]
fn damaged_images() -> Outcome {
    let dir = tempfile::tempdir()?;
    let source = entries_of(&shipped("images"), |name| name.ends_with(".png"))?.remove(0);
    let sound = std::fs::read(shipped("images").join(source))?;
    let path = dir.path().join("picture.png");
    let mut flipped = sound.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let cases: [&[u8]; 6] = [
        &[],
        &sound[..20],
        &sound[..middle],
        &flipped,
        b"GIF89a",
        &[0xff, 0xd8, 0xff, 0xe0, 0, 1],
    ];
    for bytes in cases {
        std::fs::write(&path, bytes)?;
        check(
            load_image(&path).map_err(LoadError::from),
            "picture.png",
            |error| matches!(error, LoadError::Image(ImageFileError::Content { .. })),
        );
    }
    std::fs::remove_file(&path)?;
    check(
        load_image(&path).map_err(LoadError::from),
        "picture.png",
        |error| matches!(error, LoadError::Image(ImageFileError::MissingFile { .. })),
    );
    // The content decides, not the name.
    let renamed = dir.path().join("picture.jpg");
    std::fs::write(&renamed, &sound)?;
    assert!(load_image(&renamed).is_ok());
    Ok(())
}

#[test]
fn unusable_preprocessing_settings() -> Outcome {
    let dir = copy_of(|_| true)?;
    let path = dir.path().join("preprocessor_config.json");
    std::fs::write(&path, "{")?;
    check(
        ImageProcessor::from_dir(&dir),
        "preprocessor_config.json",
        |error| matches!(error, LoadError::Json { .. }),
    );
    std::fs::write(&path, r#"{"size": {"shortest_edge": 0}}"#)?;
    check(
        ImageProcessor::from_dir(&dir),
        "preprocessor_config.json",
        |error| matches!(error, LoadError::Config { .. }),
    );
    Ok(())
}
