//! Qwen2.5-VL and unsuitable files, settings, images and prompts: each gives its own error, and none a panic.

use burn::tensor::{DType, Device, Tensor};
use diffprune_pruner::{Grid, PositionRule};
use diffprune_vlm_adapters::{
    Family, GenerateOptions, LoadError, LoadOptions, PromptStyle, Qwen25Vl, Qwen25VlConfig, QwenOptions,
    TextBatch, Turn, VisualInput, Vlm, VlmError, load_vlm, render_prompt,
};
use image::RgbImage;
use serde_json::Value;

use crate::Outcome;
use crate::bad_input::{check, copy_of};

/// A writable copy of a shipped checkpoint of the family, and its configuration.
fn copy() -> Result<(tempfile::TempDir, Value), Box<dyn std::error::Error>> {
    let dir = copy_of(|dir| {
        std::fs::read_to_string(dir.join("config.json")).is_ok_and(|text| text.contains("\"qwen2_5_vl\""))
    })?;
    let config = serde_json::from_slice(&std::fs::read(dir.path().join("config.json"))?)?;
    Ok((dir, config))
}

/// The outcome with the error of this crate that a text error holds.
fn load_error<T>(outcome: Result<T, VlmError>) -> Result<T, LoadError> {
    outcome.map_err(|error| match error {
        VlmError::Text(error) => *error.downcast().expect("an error of this crate"),
        other => panic!("{other}"),
    })
}

fn load(dir: &tempfile::TempDir) -> Result<Box<dyn Vlm>, LoadError> {
    load_vlm(dir, &Device::flex(), LoadOptions::f32())
}

#[test]
fn unknown_families_are_listed() -> Outcome {
    let (dir, config) = copy()?;
    let path = dir.path().join("config.json");
    for name in ["qwen2_vl", "qwen3_vl", "gemma"] {
        let mut other = config.clone();
        other["model_type"] = name.into();
        std::fs::write(&path, other.to_string())?;
        for outcome in [load(&dir).map(|_| ()), Qwen25VlConfig::from_dir(&dir).map(|_| ())] {
            check(
                outcome,
                name,
                |error| matches!(error, LoadError::UnsupportedArchitecture { supported, .. } if supported.contains("qwen2_5_vl")),
            );
        }
    }
    // Files without a model type are known by their architecture.
    let mut older = config.clone();
    older.as_object_mut().ok_or("fields")?.remove("model_type");
    std::fs::write(&path, older.to_string())?;
    assert_eq!(load(&dir)?.family(), Family::Qwen25Vl);
    older["architectures"] = serde_json::json!([]);
    std::fs::write(&path, older.to_string())?;
    check(load(&dir).map(|_| ()), "config.json", |error| {
        matches!(error, LoadError::UnsupportedArchitecture { .. })
    });
    let mut tower = config;
    tower["vision_config"]["model_type"] = "siglip_vision_model".into();
    std::fs::write(&path, tower.to_string())?;
    check(load(&dir).map(|_| ()), "siglip_vision_model", |error| {
        matches!(error, LoadError::UnsupportedArchitecture { .. })
    });
    for text in ["", "[]", "{\"model_type\": 3}"] {
        std::fs::write(&path, text)?;
        check(load(&dir).map(|_| ()), "config.json", |_| true);
    }
    Ok(())
}

#[test]
fn unsupported_and_impossible_settings_name_their_field() -> Outcome {
    let (dir, config) = copy()?;
    let path = dir.path().join("config.json");
    let no = Value::Null;
    for (pointer, value, field) in [
        ("/use_sliding_window", true.into(), "use_sliding_window"),
        ("/hidden_act", "gelu".into(), "hidden_act"),
        ("/rope_scaling/type", "yarn".into(), "rope_scaling"),
        (
            "/rope_scaling/mrope_section",
            serde_json::json!([1, 1, 1]),
            "mrope_section",
        ),
        (
            "/rope_scaling/mrope_section",
            no.clone(),
            "rope_scaling.mrope_section",
        ),
        ("/vocab_size", no.clone(), "vocab_size"),
        ("/vocab_size", 0.into(), "vocab_size"),
        ("/num_key_value_heads", 5.into(), "num_key_value_heads"),
        ("/image_token_id", 1_000_000.into(), "image_token_id"),
        ("/vision_config/num_heads", 7.into(), "vision_config.num_heads"),
        ("/vision_config/in_chans", 4.into(), "vision_config.in_chans"),
        (
            "/vision_config/window_size",
            8.into(),
            "vision_config.window_size",
        ),
        (
            "/vision_config/out_hidden_size",
            64.into(),
            "vision_config.out_hidden_size",
        ),
        (
            "/vision_config/fullatt_block_indexes",
            serde_json::json!([99]),
            "vision_config.fullatt_block_indexes",
        ),
    ] {
        let mut spoilt = config.clone();
        *spoilt.pointer_mut(pointer).ok_or(pointer)? = value;
        std::fs::write(&path, spoilt.to_string())?;
        check(load(&dir).map(|_| ()), &format!("`{field}`"), |error| {
            matches!(error, LoadError::Config { .. })
        });
    }
    for (pointer, limit) in [
        ("/num_hidden_layers", 1 << 10),
        ("/intermediate_size", 1 << 20),
        ("/num_key_value_heads", 1 << 20),
        ("/vocab_size", 1 << 24),
        ("/vision_config/depth", 1 << 10),
        ("/vision_config/hidden_size", 1 << 20),
        ("/vision_config/intermediate_size", 1 << 20),
        ("/vision_config/num_heads", 1 << 20),
        ("/vision_config/patch_size", 1 << 12),
        ("/vision_config/temporal_patch_size", 1 << 6),
        ("/vision_config/spatial_merge_size", 1 << 6),
        ("/vision_config/window_size", 1 << 16),
        ("/vision_config/out_hidden_size", 1 << 20),
    ] {
        for found in [limit + 1, u64::MAX] {
            let mut spoilt = config.clone();
            *spoilt.pointer_mut(pointer).ok_or(pointer)? = found.into();
            std::fs::write(&path, spoilt.to_string())?;
            let field = pointer[1..].replace('/', ".");
            check(load(&dir).map(|_| ()), &format!("`{field}`"), |error| {
                matches!(error, LoadError::Config { .. })
            });
        }
    }
    // Windows of a size that is switched off change nothing.
    let mut sound = config;
    sound["max_window_layers"] = 0.into();
    sound["sliding_window"] = 16.into();
    std::fs::write(&path, sound.to_string())?;
    assert!(load(&dir).is_ok());
    // The largest sizes allowed do not fit the stored tensors, and nothing of them is allocated.
    sound["vocab_size"] = (1 << 24).into();
    sound["intermediate_size"] = (1 << 20).into();
    sound["vision_config"]["intermediate_size"] = (1 << 20).into();
    std::fs::write(&path, sound.to_string())?;
    check(load(&dir).map(|_| ()), "safetensors", |error| {
        matches!(
            error,
            LoadError::TensorShape { .. } | LoadError::MissingTensor { .. }
        )
    });
    Ok(())
}

#[test]
fn parts_that_do_not_belong_together() -> Outcome {
    let (dir, config) = copy()?;
    let path = dir.path().join("preprocessor_config.json");
    let settings = std::fs::read_to_string(&path)?;
    std::fs::write(
        &path,
        settings.replace("\"patch_size\": 14", "\"patch_size\": 16"),
    )?;
    check(load(&dir).map(|_| ()), "image processor", |error| {
        matches!(error, LoadError::Request { .. })
    });
    std::fs::write(&path, settings)?;
    let mut other = config.clone();
    other["image_token_id"] = config["video_token_id"].clone();
    std::fs::write(dir.path().join("config.json"), other.to_string())?;
    check(load(&dir).map(|_| ()), "tokenizer", |error| {
        matches!(error, LoadError::Request { .. })
    });
    std::fs::write(dir.path().join("config.json"), config.to_string())?;
    let style = LoadOptions::f32().with_prompt_style(PromptStyle::VicunaV1);
    check(
        load_vlm(&dir, &Device::flex(), style).map(|_| ()),
        "prompt style",
        |error| matches!(error, LoadError::Request { .. }),
    );
    let budget = LoadOptions::f32().with_qwen(QwenOptions::default().with_min_pixels(u64::MAX));
    check(
        load_vlm(&dir, &Device::flex(), budget).map(|_| ()),
        "pixels of an image",
        |error| matches!(error, LoadError::Request { .. }),
    );
    Ok(())
}

#[test]
fn images_of_extreme_shapes() -> Outcome {
    let (dir, _) = copy()?;
    let vlm = load(&dir)?;
    let dot = vlm.preprocess(&[RgbImage::new(1, 1)])?;
    let encoded = vlm.encode(dot, Default::default());
    assert_eq!(encoded.counts(), [4]);
    assert!(encoded.tokens.abs().max().into_scalar::<f32>().is_finite());
    for (width, height) in [(20000, 10), (10, 20000), (201, 1), (0, 5)] {
        let outcome = vlm.preprocess(&[RgbImage::new(30, 30), RgbImage::new(width, height)]);
        let Err(error @ VlmError::Image { index: 1, .. }) = outcome else {
            panic!("{width} by {height}: {outcome:?}");
        };
        assert!(
            error.to_string().contains(&format!("{width} by {height}")),
            "{error}"
        );
    }
    assert!(vlm.preprocess(&[RgbImage::new(200, 1)]).is_ok());
    let options = LoadOptions::f32().with_qwen(
        QwenOptions::default()
            .with_pad_square(true)
            .with_max_pixels(120 * 120),
    );
    let square = load_vlm(&dir, &Device::flex(), options)?;
    let pixels = square.preprocess(&[RgbImage::new(20000, 10), RgbImage::new(300, 200)])?;
    let grid = Grid { rows: 8, cols: 8 };
    assert!(pixels.images.iter().all(|image| image.grid == grid));
    let encoded = square.encode(pixels, Default::default());
    // The picture itself lies between the bars of the mean colour.
    let area = encoded.layouts[1].area(0).ok_or("a first token")?;
    assert!((area.left, area.top) == (0.0, -0.25), "{area:?}");
    Ok(())
}

#[test]
fn prompts_that_do_not_fit_their_images() -> Outcome {
    let (dir, _) = copy()?;
    let qwen = Qwen25Vl::load(&dir, &Device::flex(), LoadOptions::f32())?;
    let vlm: &dyn Vlm = &qwen;
    let encoded = vlm.encode(vlm.preprocess(&[RgbImage::new(60, 90)])?, Default::default());
    let features = vlm.project(encoded.tokens.clone());
    let keep = encoded.all_indices();
    let visual = vlm.visual_input(features, &encoded.layouts, &keep, PositionRule::Keep);
    let options = GenerateOptions::default().with_max_new_tokens(1);
    for (n_images, found) in [(0, 0), (2, 2)] {
        let prompt = vlm.prompt_ids(&[Turn::ask("Which?").with_images(n_images)])?;
        let outcome = vlm.generate(&[prompt], Some(&visual), &options);
        assert!(
            matches!(outcome, Err(VlmError::Placeholders { found: n, wanted: 1 }) if n == found),
            "{outcome:?}"
        );
    }
    let outcome = vlm.prompt_ids(&[Turn::ask("What does <|image_pad|> mean?")]);
    check(load_error(outcome), "<|image_pad|>", |error| {
        matches!(error, LoadError::Request { .. })
    });
    assert!(vlm.prompt_ids(&[Turn::ask("What does <image> mean?")]).is_ok());
    assert!(render_prompt(PromptStyle::Hf, None, &[Turn::ask("<image>")]).is_err());
    let outcome = vlm.generate(&[vec![u32::MAX]], None, &options);
    assert!(matches!(outcome, Err(VlmError::Prompt { index: 0, .. })));
    Ok(())
}

/// The context is counted in positions: an image takes as many as its longer side has cells, however many they are.
#[test]
fn sequences_beyond_the_positions() -> Outcome {
    let (dir, config) = copy()?;
    let n_text = 3;
    for (positions, fits) in [(n_text + 4, false), (n_text + 5, true)] {
        let mut short = config.clone();
        short["max_position_embeddings"] = positions.into();
        std::fs::write(dir.path().join("config.json"), short.to_string())?;
        let qwen = Qwen25Vl::load(&dir, &Device::flex(), LoadOptions::f32())?;
        let cells = Grid { rows: 5, cols: 2 };
        let features = Tensor::zeros([1, 10, qwen.d_model()], (&Device::flex(), DType::F32));
        let keep: Vec<usize> = (0..10).collect();
        let visual = VisualInput {
            features,
            sequences: vec![qwen.sequence(&cells.into(), &keep, PositionRule::Keep)],
            separator: None,
        };
        let image = qwen.model().reader().image_token_id;
        let batch = TextBatch {
            ids: vec![vec![1, image, 2, 3]],
            targets: vec![vec![false, false, false, true]],
        };
        match qwen.loss(&batch, Some(&visual)) {
            Ok(_) => assert!(fits),
            Err(VlmError::ContextOverflow { found, wanted, .. }) => {
                assert!(!fits && (found, wanted) == (n_text + 5, positions));
            }
            Err(error) => return Err(error.into()),
        }
        let long = vec![vec![1; positions + 1]];
        let outcome = qwen.generate(&long, None, &GenerateOptions::default());
        assert!(matches!(outcome, Err(VlmError::ContextOverflow { .. })));
    }
    Ok(())
}
