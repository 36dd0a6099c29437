//! The stored cases, as far as they are alike in every family.

use diffprune_pruner::{Budget, PruneError, Pruner, PruningContext, Selection};
use diffprune_vlm_adapters::{GenerateOptions, PruneOptions, Vlm, answer, load_image};
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

/// `true` when the best two scores of every greedy choice of `key` are far enough apart to be compared.
pub fn decides(case: &Value, key: &str) -> bool {
    let gap = case[&format!("{key}_min_top2_gap")].as_f64().unwrap();
    if gap < LEAST_GAP {
        let id = &case["id"];
        println!("{key} of {id} not compared: best two scores only {gap} apart");
    }
    gap >= LEAST_GAP
}

/// The whole path from the pictures' pixels to an answer, with a method that keeps given tokens.
pub fn check_answer(vlm: &dyn Vlm, case: &Value, prompt: &[u32], keep: &[Vec<usize>], wanted: &[u32]) {
    let options = GenerateOptions::default().with_max_new_tokens(wanted.len());
    let (pruner, prune) = (Fixed(keep.to_vec()), PruneOptions::new(Budget::All));
    let found = answer(vlm, &images(case), &[prompt.to_vec()], &pruner, &prune, &options).unwrap();
    assert_eq!(found.ids, [wanted]);
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
