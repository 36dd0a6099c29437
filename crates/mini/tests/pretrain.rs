//! Training of the small models: each family, few steps, through to a checkpoint that the loader reads.

use burn::tensor::{DType, Device};
use diffprune_mini::{
    Family, PretrainConfig, SceneDataset, Split, StageConfig, Stop, WorldConfig, pretrain, render, untrained,
    write_processor_files,
};
use diffprune_pruner::Signals;
use diffprune_vlm_adapters::{LoadOptions, load_vlm};
use std::path::Path;
use std::sync::Mutex;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Weights are drawn from the device's one stream; tests take turns.
static DEVICE: Mutex<()> = Mutex::new(());

fn recipe(family: Family) -> PretrainConfig {
    let stage = |steps| StageConfig {
        steps,
        lr: 2e-3,
        warmup: 2,
        weight_decay: 0.02,
        clip: 1.0,
    };
    PretrainConfig {
        d_vision: 24,
        vision_layers: 2,
        vision_heads: 2,
        d_model: 32,
        language_layers: 2,
        n_heads: 2,
        shards: 2,
        images_per_shard: 2,
        turns: 3,
        tower: stage(6),
        language: stage(6),
        checkpoint_every: 3,
        log_every: 1,
        ..PretrainConfig::of(family)
    }
}

fn weights(
    recipe: &PretrainConfig,
    dir: &Path,
    threads: Option<usize>,
    start: Option<&Path>,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let device = Device::flex();
    let run = dir.join("run");
    std::fs::create_dir_all(&run)?;
    let out = dir.join("model");
    std::fs::create_dir_all(&out)?;
    let (world, stop) = (WorldConfig::default(), Stop::default());
    pretrain(recipe, &world, &run, &device, threads, start, &stop)?.save_pretrained(&out, DType::F16)?;
    write_processor_files(&out, recipe.family, &WorldConfig::default())?;
    Ok(std::fs::read(out.join("model.safetensors"))?)
}

#[test]
fn every_family_trains_resumes_and_loads() -> Outcome {
    let _turn = DEVICE.lock()?;
    for family in Family::ALL {
        let recipe = recipe(family);
        let whole = tempfile::tempdir()?;
        let wanted = weights(&recipe, whole.path(), Some(1), None)?;
        // Stopped in the middle of stage two and taken up again, on threads.
        let halves = tempfile::tempdir()?;
        weights(&recipe, halves.path(), Some(2), None)?;
        let kept = halves.path().join("run/language");
        let last = std::fs::read_dir(&kept)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .max();
        let last = last.ok_or("no checkpoint")?;
        if last.is_dir() {
            std::fs::remove_dir_all(last)?;
        } else {
            std::fs::remove_file(last)?;
        }
        assert!(
            weights(&recipe, halves.path(), Some(2), None)? == wanted,
            "{family}"
        );
        // Nothing is learned in no steps, so the checkpoint comes back.
        let mut idle = recipe.clone();
        (idle.tower.steps, idle.language.steps) = (0, 0);
        let (again, model) = (tempfile::tempdir()?, whole.path().join("model"));
        assert!(
            weights(&idle, again.path(), Some(1), Some(&model))? == wanted,
            "{family}"
        );
        let other = Family::ALL
            .into_iter()
            .find(|other| *other != family)
            .ok_or("one family")?;
        let refused = weights(
            &self::recipe(other),
            &again.path().join("other"),
            None,
            Some(&model),
        );
        assert!(refused.is_err(), "{family} is no {other}");
        let vlm = load_vlm(whole.path().join("model"), &Device::flex(), LoadOptions::f32())?;
        assert_eq!(vlm.family(), family);
        let scenes = SceneDataset::new(WorldConfig::default(), 1, Split::Val)?;
        let pixels = vlm.preprocess(&[render(&scenes.get(0))])?;
        let n_tokens = vlm.encode(pixels, Signals::default()).layouts[0].n_tokens();
        let extra = if family == Family::LlavaNext { 36 } else { 0 };
        assert_eq!(n_tokens, 144 + extra, "{family}");
    }
    Ok(())
}

#[test]
fn a_tower_is_taken_alone_for_a_reader_of_another_size() -> Outcome {
    let _turn = DEVICE.lock()?;
    let tokens = |dir: &Path| -> Result<Vec<f32>, Box<dyn std::error::Error>> {
        let vlm = load_vlm(dir.join("model"), &Device::flex(), LoadOptions::f32())?;
        let scenes = SceneDataset::new(WorldConfig::default(), 1, Split::Val)?;
        let pixels = vlm.preprocess(&[render(&scenes.get(0))])?;
        Ok(vlm
            .encode(pixels, Signals::default())
            .tokens
            .into_data()
            .try_to_vec()?)
    };
    for family in Family::ALL {
        let (whole, wider) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut recipe = recipe(family);
        (recipe.tower.steps, recipe.language.steps) = (1, 1);
        weights(&recipe, whole.path(), Some(1), None)?;
        let start = whole.path().join("model");
        (recipe.tower.steps, recipe.start_tower, recipe.d_model) = (0, true, 48);
        weights(&recipe, wider.path(), Some(1), Some(&start))?;
        assert!(tokens(whole.path())? == tokens(wider.path())?, "{family}");
        assert!(recipe.model_name().ends_with("-48"));
        recipe.d_vision = 48;
        let error = weights(&recipe, &wider.path().join("other"), Some(1), Some(&start)).unwrap_err();
        assert!(error.to_string().contains("start_tower"), "{family}: {error}");
    }
    Ok(())
}

#[test]
fn the_shipped_recipes_fit_in_eight_megabytes() -> Outcome {
    let _turn = DEVICE.lock()?;
    for family in Family::ALL {
        let dir = tempfile::tempdir()?;
        let model = untrained(
            &PretrainConfig::of(family),
            &WorldConfig::default(),
            &Device::flex(),
        )?;
        model.save_pretrained(dir.path(), DType::F16)?;
        let bytes = std::fs::metadata(dir.path().join("model.safetensors"))?.len();
        assert!(bytes < 8_000_000, "{family}: {bytes}");
    }
    Ok(())
}
