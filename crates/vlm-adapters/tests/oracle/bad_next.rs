//! LLaVA-NeXT on files and inputs that do not fit: typed errors, no panic.

use std::path::Path;

use burn::tensor::{DType, Device, TensorData};
use diffprune_pruner::{Budget, PruneError, Pruner, PruningContext, Selection, Signals};
use diffprune_vlm_adapters::{
    LlavaNext, LlavaNextConfig, LoadError, LoadOptions, PruneOptions, Vlm, VlmError, WeightFiles, load_vlm,
    prepare_encoded, save_safetensors,
};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bad_input::{check, copy_of};
use crate::{Outcome, fixture};

/// A writable copy of the smallest shipped checkpoint of the family.
fn copy() -> Result<TempDir, Box<dyn std::error::Error>> {
    copy_of(|dir| {
        let config: Option<Value> = std::fs::read(dir.join("config.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        config.is_some_and(|config| {
            config["model_type"] == "llava_next" && config["vision_config"]["image_size"].as_u64() < Some(100)
        })
    })
}

fn edit(path: &Path, change: impl Fn(&mut Value)) -> Outcome {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    change(&mut value);
    Ok(std::fs::write(path, value.to_string())?)
}

fn load(dir: &TempDir) -> Result<LlavaNext, LoadError> {
    LlavaNext::load(dir, &Device::flex(), LoadOptions::f32())
}

#[test]
fn configurations_that_cannot_be_honoured() -> Outcome {
    for (field, value) in [
        ("image_grid_pinpoints", json!([])),
        ("image_grid_pinpoints", json!([[56, 100]])),
        ("image_grid_pinpoints", json!([[56, 0]])),
        ("image_grid_pinpoints", json!([[56, 5_600_000_000_u64]])),
        ("use_image_newline_parameter", json!(false)),
        ("vision_feature_select_strategy", json!("full")),
        ("vision_feature_layer", json!(-9)),
    ] {
        let dir = copy()?;
        edit(&dir.path().join("config.json"), |config| {
            config[field] = value.clone()
        })?;
        check(load(&dir), field, |error| {
            matches!(error, LoadError::Config { .. })
        });
    }
    let dir = copy()?;
    edit(&dir.path().join("config.json"), |config| {
        config["image_grid_pinpoints"] = json!([[56]])
    })?;
    check(load(&dir), "config.json", |error| {
        matches!(error, LoadError::Json { .. })
    });
    Ok(())
}

#[test]
fn preprocessing_that_is_not_that_of_the_model() -> Outcome {
    for (field, value) in [
        ("image_grid_pinpoints", json!([[56, 112]])),
        ("crop_size", json!({"height": 28, "width": 28})),
        ("resample", json!(2)),
    ] {
        let dir = copy()?;
        edit(&dir.path().join("preprocessor_config.json"), |file| {
            file[field] = value.clone()
        })?;
        check(load(&dir), field, |error| {
            matches!(error, LoadError::Config { .. })
        });
    }
    // Without the file the configuration is enough.
    let dir = copy()?;
    std::fs::remove_file(dir.path().join("preprocessor_config.json"))?;
    assert!(load(&dir).is_ok());
    Ok(())
}

#[test]
fn newlines_that_are_missing_or_misshapen() -> Outcome {
    let dir = copy()?;
    let files = WeightFiles::open(&dir)?;
    let tensor = |name: &str| Ok((name.to_string(), files.tensor_data(name, DType::F32)?));
    let mut tensors = files.names().map(tensor).collect::<Result<Vec<_>, LoadError>>()?;
    let place = tensors
        .iter()
        .position(|(name, _)| name == "image_newline")
        .ok_or("a newline")?;
    let path = dir.path().join("model.safetensors");
    tensors[place].1 = TensorData::zeros::<f32, _>([3]);
    save_safetensors(&path, tensors.clone(), DType::F32)?;
    check(load(&dir), "image_newline", |error| {
        matches!(error, LoadError::TensorShape { .. })
    });
    tensors.remove(place);
    save_safetensors(&path, tensors, DType::F32)?;
    check(load(&dir), "image_newline", |error| {
        matches!(error, LoadError::MissingTensor { .. })
    });
    Ok(())
}

#[test]
fn folders_of_no_family() -> Outcome {
    let dir = copy()?;
    edit(&dir.path().join("config.json"), |config| {
        config["model_type"] = json!("blip-2")
    })?;
    let open = || load_vlm(&dir, &Device::flex(), LoadOptions::f32()).map(|_| ());
    check(
        open(),
        "llava_next",
        |error| matches!(error, LoadError::UnsupportedArchitecture { found, .. } if found == "blip-2"),
    );
    check(LlavaNextConfig::from_dir(&dir), "blip-2", |error| {
        matches!(error, LoadError::UnsupportedArchitecture { .. })
    });
    Ok(())
}

/// Keeps every third token.
struct Third;

impl Pruner for Third {
    fn name(&self) -> &str {
        "third"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let keep = |row| (0..context.n_tokens(row)).step_by(3).collect();
        Ok(Selection::keep((0..context.batch()).map(keep).collect()))
    }
}

/// One pixel, and pictures so long that their whole map is padding.
#[test]
fn extreme_images_are_answered_about() -> Outcome {
    let next = load(&copy()?)?;
    let picture = |width, height| RgbImage::from_pixel(width, height, Rgb([90, 20, 200]));
    let pictures = [
        picture(1, 1),
        picture(20000, 10),
        picture(10, 20000),
        picture(640, 427),
    ];
    let encoded = next.encode(next.preprocess(&pictures)?, Signals::default());
    let cells = next.config().llava.vision.n_patches();
    assert_eq!(
        encoded.counts()[1..3],
        [cells; 2],
        "nothing but the small view is left"
    );
    assert!(encoded.mask.is_some());
    assert!(
        encoded
            .tokens
            .clone()
            .abs()
            .max()
            .into_scalar::<f32>()
            .is_finite()
    );
    let images = prepare_encoded(&next, &encoded, &Third, &PruneOptions::new(Budget::All))?;
    let visual = images.visual();
    assert_eq!(images.kept(1), cells.div_ceil(3));
    let image = next.model().reader().image_token_id;
    let prompts: Vec<Vec<u32>> = (0..4).map(|_| vec![1, image, 5]).collect();
    let options = next.generate_options().with_max_new_tokens(2);
    assert_eq!(next.generate(&prompts, visual, &options)?.len(), 4);
    let nothing = next.preprocess(&[picture(5, 5), RgbImage::new(0, 7)]);
    assert!(matches!(nothing, Err(VlmError::Image { index: 1, .. })));
    Ok(())
}

#[test]
fn placeholders_and_images_must_agree() -> Outcome {
    let next = load(&copy()?)?;
    let picture = RgbImage::from_pixel(100, 80, Rgb([90, 20, 200]));
    let encoded = next.encode(next.preprocess(&[picture])?, Signals::default());
    let images = prepare_encoded(&next, &encoded, &Third, &PruneOptions::new(Budget::All))?;
    let (image, options) = (next.model().reader().image_token_id, next.generate_options());
    for (prompt, count) in [(vec![1, 5], 0), (vec![1, image, image], 2)] {
        let outcome = next.generate(&[prompt], images.visual(), &options);
        assert!(matches!(outcome, Err(VlmError::Placeholders { found, wanted: 1 }) if found == count));
    }
    Ok(())
}

#[test]
fn a_checkpoint_of_another_family_is_refused_by_name() -> Outcome {
    let mut n = 0;
    for name in crate::entries("checkpoints", |_| true)? {
        let dir = fixture("checkpoints").join(&name);
        let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json"))?)?;
        if config["model_type"] != "llava_next" {
            check(LlavaNextConfig::from_dir(&dir), "llava_next", |error| {
                matches!(error, LoadError::UnsupportedArchitecture { .. })
            });
            n += 1;
        }
    }
    assert!(n > 0, "no other family");
    Ok(())
}
