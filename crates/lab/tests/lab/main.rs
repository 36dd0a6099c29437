//! Comparisons and experiments on small models, without the program around them.

mod archives;
mod comparison;
mod evaluation;
mod experiment;
mod pilots;

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use diffprune::LoadOptions;
use diffprune_lab::{LoadedModel, Plan, World};
use diffprune_mini::{Family, PretrainConfig, WorldConfig, untrained, write_processor_files};
use tempfile::TempDir;

/// A folder with the smallest world and a narrow model of random weights.
struct Setup {
    dir: TempDir,
    world: World,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        random_model(&dir.path().join("model"));
        let stages = dir.path().join("stages");
        let world = World::write(&Plan::smallest(), 0, &stages, "a", &mut ()).unwrap();
        Self { dir, world }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn model(&self) -> LoadedModel {
        LoadedModel::load(&self.at("model"), &Device::flex(), LoadOptions::default()).unwrap()
    }
}

/// The architecture and the texts of the small LLaVA-1.5, narrower.
fn random_model(dir: &Path) {
    let world = WorldConfig::default();
    let recipe = PretrainConfig {
        d_vision: 32,
        vision_layers: 1,
        vision_heads: 2,
        d_model: 32,
        language_layers: 1,
        n_heads: 2,
        ..PretrainConfig::of(Family::Llava15)
    };
    let model = untrained(&recipe, &world, &Device::flex()).unwrap();
    model.save_pretrained(dir, DType::F16).unwrap();
    write_processor_files(dir, recipe.family, &world).unwrap();
}
