//! LLaVA-1.5 against what `transformers` computes: every tensor of every case of every `llava` checkpoint.

use burn::tensor::{DType, Device};
use diffprune_pruner::Signals;
use diffprune_vlm_adapters::{ImageMode, Llava, LlavaConfig, LoadOptions, Pixels, Vlm};
use serde_json::Value;

use crate::cases::{cases, images, manifests};
use crate::language::check_saved_files;
use crate::llava_case::{Case, check_samples, newer_name, root, stored_views};
use crate::llava_ragged::check_ragged;
use crate::tensors::Tensors;

const FAMILY: &str = "llava";

fn load(manifest: &Value) -> Llava {
    let dir = root().join(manifest["checkpoint"].as_str().unwrap());
    let options = LoadOptions::f32().with_image_mode(ImageMode::CenterCrop);
    Llava::load(dir, &Device::flex(), options).unwrap()
}

/// Pixels as stored, and a check that our own preprocessing gives the same.
fn pixels(llava: &Llava, json: &Value, tensors: &Tensors) -> Pixels {
    let pixels = llava.preprocess(&images(json)).unwrap();
    tensors.check("pixel_values", &pixels.values);
    if let Some(views) = stored_views(json) {
        let stored = llava.preprocess(&views).unwrap().values;
        assert_eq!(stored.into_data(), pixels.values.clone().into_data(), "pixels");
    }
    check_samples(tensors, &pixels.values.clone().flatten(0, 3));
    pixels
}

#[test]
fn every_tensor_agrees() {
    for (name, manifest) in manifests(FAMILY) {
        let llava = load(&manifest);
        for json in cases(&manifest) {
            let tensors = Tensors::open(&root().join(json["file"].as_str().unwrap()));
            let case = Case::new(&llava, llava.model(), json, &tensors, llava.tokenizer());
            let pixels = pixels(&llava, json, &tensors);
            case.check_vision(&pixels.values);
            let encoded = llava.encode(pixels, Signals::default());
            let visual = case.full(&encoded);
            let spliced = case.check_splice(&visual);
            case.check_language(&spliced);
            if let Some(grad) = case.check_loss(&encoded) {
                tensors.check("grad_vision_selected_without_cls", &grad);
            }
            if let Some(keep) = case.check_pruned(&encoded) {
                case.check_answer(&keep, "prune_greedy");
            }
            case.check_generation(&visual);
            tensors.finish(&format!("{name}/{}", json["id"].as_str().unwrap()));
        }
    }
}

#[test]
fn a_ragged_batch_answers_as_its_prompts_alone() {
    let mut n_compared = 0;
    for (name, manifest) in manifests(FAMILY) {
        let llava = load(&manifest);
        n_compared += check_ragged(&name, &manifest, &llava, llava.model());
    }
    assert!(n_compared > 0, "no answer is decided");
}

/// The names of the newer module tree load to the same weights, and what we save others would read back.
#[test]
fn newer_names_and_saved_files_load_to_the_same_weights() {
    for (name, manifest) in manifests(FAMILY) {
        let dir = root().join(manifest["checkpoint"].as_str().unwrap());
        let config = LlavaConfig::from_dir(&dir).unwrap();
        check_saved_files(&name, &dir, newer_name, |renamed, saved| {
            let model = config.load_weights(renamed, DType::F32, &Device::flex()).unwrap();
            model.save_pretrained(&config, saved, DType::F32).unwrap();
            assert_eq!(LlavaConfig::from_dir(saved).unwrap(), config, "{name}");
        });
    }
}
