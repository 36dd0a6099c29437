//! What the stored cases of every family have in common.

use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection};
use diffprune_vlm_adapters::load_image;
use image::RgbImage;
use serde_json::Value;

use crate::tensors::TOLERANCE;
use crate::{entries, fixture, json};

/// Greedy ids mean something only where the best two scores are further apart than the tolerance allows to swap.
pub const LEAST_GAP: f64 = 4.0 * TOLERANCE as f64;

/// The manifests of `family` with their names; at least one.
pub fn manifests(family: &str) -> Vec<(String, Value)> {
    let names = entries("expected", |name| name.ends_with(".json")).unwrap();
    let read = |file: String| {
        let manifest = json(&format!("expected/{file}")).unwrap();
        (file.trim_end_matches(".json").to_string(), manifest)
    };
    let found = names.into_iter().map(read);
    let found: Vec<_> = found
        .filter(|(_, manifest)| manifest["family"] == family)
        .collect();
    assert!(
        !found.is_empty(),
        "no {family} manifest in {}",
        fixture("expected").display()
    );
    found
}

/// The cases of a manifest; at least one.
pub fn cases(manifest: &Value) -> &[Value] {
    let cases = manifest["cases"].as_array().unwrap();
    assert!(!cases.is_empty(), "{} has no cases", manifest["checkpoint"]);
    cases
}

pub fn ids(json: &Value) -> Vec<u32> {
    let id = |id: &Value| id.as_u64().unwrap() as u32;
    json.as_array().unwrap().iter().map(id).collect()
}

pub fn images(case: &Value) -> Vec<RgbImage> {
    let names = case["images"].as_array().unwrap().iter();
    let path = |name: &Value| fixture("images").join(format!("{}.png", name.as_str().unwrap()));
    names.map(|name| load_image(path(name)).unwrap()).collect()
}

/// Keeps given tokens.
pub struct Fixed(pub Vec<Vec<usize>>);

impl Pruner for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    fn select(&self, _: &PruningContext) -> Result<Selection, PruneError> {
        Ok(Selection::keep(self.0.clone()))
    }
}
