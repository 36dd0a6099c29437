//! ViT and DeiT classifiers against what timm and `transformers` compute: every tensor of every stored model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use diffprune_pruner::Signals;
use diffprune_vlm_adapters::{
    CropCenter, Filter, ImageMode, ImageProcessor, LoadError, Vit, WeightFiles, canonical_vit_name,
    load_image, save_safetensors, take_notes,
};
use serde_json::Value;

use crate::tensors::Tensors;
use crate::{Outcome, entries_of, fixture, json, shipped};

/// The manifest's word for preprocessing, and the models.
fn manifest() -> Result<(String, Vec<Value>), Box<dyn std::error::Error>> {
    let manifest = json("vit/manifest.json")?;
    let models = manifest["models"].as_array().ok_or("a list of models")?.clone();
    assert!(!models.is_empty(), "no models");
    let text = manifest["preprocess"].as_str().ok_or("a word on preprocessing")?;
    Ok((text.into(), models))
}

fn dir(model: &Value) -> Result<PathBuf, Box<dyn std::error::Error>> {
    Ok(fixture("vit").join(model["name"].as_str().ok_or("a name")?))
}

/// The pixels that the reference computed on, and a check that the model's processor gives them.
fn pixels(
    vit: &Vit,
    model: &Value,
    tensors: &Tensors,
    preprocess: &str,
) -> Result<Tensor<4>, Box<dyn std::error::Error>> {
    assert!(
        preprocess.contains("bicubic squash"),
        "another way to make pixels: {preprocess}"
    );
    assert!(
        preprocess.contains("mean=std=0.5"),
        "other statistics: {preprocess}"
    );
    let processor = ImageProcessor {
        keep_ratio: false,
        shortest_edge: vit.processor.size,
        mode: ImageMode::CenterCrop,
        filter: Filter::Bicubic,
        crop: CropCenter::Down,
        ..vit.processor.clone()
    };
    assert_eq!((processor.mean, processor.std), ([0.5; 3], [0.5; 3]));
    let mut images = Vec::new();
    for name in model["images"].as_array().ok_or("names of images")? {
        let name = format!("images/{}.png", name.as_str().ok_or("a name")?);
        images.push(load_image(fixture(&name))?);
    }
    let device = Device::flex();
    let pixels = processor.preprocess(&images, &device);
    tensors.check("pixel_values", &pixels);
    let sampled = tensors.ints("pixel_sample_index");
    let places = sampled.unwrap_or_default();
    let n = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [n]), &device);
    if n > 0 {
        tensors.check(
            "pixel_sample_value",
            &pixels.clone().flatten::<1>(0, 3).select(0, places),
        );
    }
    let exact = dir(model)?.join("pixels.png");
    if exact.exists() {
        assert_eq!(processor.pixels8(&images[0]), load_image(exact)?);
    }
    assert!(n > 0 || tensors.has("pixel_values"), "no pixels to compare with");
    Ok(pixels)
}

/// The same pixels with those of every patch set to zero that is not kept.
fn zeroed(pixels: Tensor<4>, keep: &[usize], patch: usize) -> Tensor<4> {
    let [batch, channels, side, _] = pixels.dims();
    let grid = side / patch;
    (0..grid * grid)
        .filter(|i| !keep.contains(i))
        .fold(pixels, |pixels, i| {
            let (y, x) = (i / grid * patch, i % grid * patch);
            let hole = Tensor::zeros([batch, channels, patch, patch], &pixels.device());
            pixels.slice_assign([0..batch, 0..channels, y..y + patch, x..x + patch], hole)
        })
}

#[test]
fn every_tensor_agrees() -> Outcome {
    let (preprocess, models) = manifest()?;
    for json in &models {
        let dir = dir(json)?;
        let vit = Vit::load(&dir, &Device::flex())?;
        let model = &vit.model;
        assert_eq!(
            model.n_prefix() as u64,
            json["prefix_tokens"].as_u64().ok_or("a number")?
        );
        let epsilon = json["layer_norm_eps"].as_f64().ok_or("a number")?;
        assert!((vit.config.blocks.layer_norm_eps - epsilon).abs() < 1e-3 * epsilon);
        let tensors = Tensors::open(&dir.with_extension("safetensors"));
        let pixels = pixels(&vit, json, &tensors, &preprocess)?;

        let tokens = model.embed(pixels.clone());
        tensors.check("tokens_after_pos_embed", &tokens);
        let logits = vit.forward(pixels.clone());
        tensors.check("logits", &logits);
        let (first, distilled) = model.head_logits(model.run(tokens.clone()));
        tensors.check("cls_logits", &first);
        if let Some(distilled) = distilled {
            tensors.check("distillation_logits", &distilled);
        }

        let kept = tensors.ints("keep_patch_index").ok_or("kept patches")?;
        let kept: Vec<usize> = kept.into_iter().map(|i| i as usize).collect();
        let [batch, ..] = pixels.dims();
        let dropped = vit.forward_keep(pixels.clone(), &vec![kept.clone(); batch]);
        tensors.check("logits_dropped_patches", &dropped);
        let holes = vit.forward(zeroed(pixels.clone(), &kept, vit.config.blocks.patch_size));
        tensors.check("logits_zeroed_pixels", &holes);
        let contrast = (dropped - holes).abs().max().into_scalar::<f32>();
        assert!(contrast > 1e-3, "dropping is not zeroing: {contrast}");

        check_signals(&vit, pixels, tokens);
        tensors.finish(json["name"].as_str().ok_or("a name")?);
    }
    Ok(())
}

/// Tokens and attention are those of the hidden states that the logits come from.
fn check_signals(vit: &Vit, pixels: Tensor<4>, tokens: Tensor<3>) {
    let model = &vit.model;
    let close = |a: Tensor<3>, b: Tensor<3>| (a - b).abs().max().into_scalar::<f32>() < 1e-5;
    let states = model.hidden_states(tokens);
    let last = states.len() - 1;
    let n_tokens = states[0].dims()[1];
    let rows = model.attention_rows(last - 1, states[last - 1].clone(), 0..n_tokens);
    assert_eq!(rows.dims()[2..], [n_tokens, n_tokens]);
    let encoded = vit.encode(
        pixels,
        Signals {
            cls_attention: true,
            class_tokens: true,
            ..Signals::default()
        },
    );
    let n = encoded.layouts[0].n_tokens();
    assert_eq!(model.n_prefix() + n, n_tokens);
    assert!(close(encoded.tokens, model.patches(states[last].clone())));
    let [batch, n_heads, ..] = rows.dims();
    let class = rows.narrow(2, 0, 1).reshape([batch, n_heads, n_tokens]);
    let class = class.narrow(2, model.n_prefix(), n);
    assert!(
        encoded
            .observed
            .cls_attention
            .is_some_and(|row| close(row, class))
    );
    let class = states[last].clone().narrow(1, 0, 1);
    assert!(
        encoded
            .observed
            .class_tokens
            .is_some_and(|token| close(token, class))
    );
}

#[test]
fn newer_names_become_the_older_ones() -> Outcome {
    let names = |list: &Value| -> BTreeSet<String> {
        let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_string).collect()
    };
    let mut n_compared = 0;
    for model in manifest()?.1 {
        let files = WeightFiles::open(dir(&model)?)?;
        let found: BTreeSet<String> = files.names().map(str::to_string).collect();
        let canonical = |names: &BTreeSet<String>| -> BTreeSet<String> {
            names.iter().filter_map(|name| canonical_vit_name(name)).collect()
        };
        assert_eq!(canonical(&found), found, "{}", model["name"]);
        if model.get("module_names_transformers_5").is_some() {
            assert_eq!(names(&model["on_disk_keys"]), found);
            assert_eq!(canonical(&names(&model["module_names_transformers_5"])), found);
            n_compared += 1;
        }
    }
    assert!(n_compared > 0, "no names of another release");
    Ok(())
}

/// A tensor that is not there, one too many, and one of another shape, in both layouts.
#[test]
fn tensors_that_do_not_fit_are_named() -> Outcome {
    let root = shipped("vit");
    for name in entries_of(&root, |name| !name.contains('.'))? {
        let source = root.join(&name);
        let files = WeightFiles::open(&source)?;
        let tensors: BTreeMap<String, TensorData> = files
            .names()
            .map(|name| Ok((name.to_string(), files.tensor_data(name, DType::F32)?)))
            .collect::<Result<_, LoadError>>()?;
        let dir = tempfile::tempdir()?;
        std::fs::copy(source.join("config.json"), dir.path().join("config.json"))?;
        let load = |tensors: &BTreeMap<String, TensorData>| {
            save_safetensors(dir.path().join("model.safetensors"), tensors.clone(), DType::F32)?;
            Vit::load(&dir, &Device::flex()).map(drop)
        };
        load(&tensors)?;
        for (tensor, data) in &tensors {
            let mut fewer = tensors.clone();
            fewer.remove(tensor);
            let error = load(&fewer).expect_err("a missing tensor");
            assert!(
                matches!(&error, LoadError::MissingTensor { name, .. } if name == tensor),
                "{error}"
            );
            let mut shape = data.shape().to_vec();
            shape[0] += 1;
            let mut wrong = tensors.clone();
            wrong.insert(tensor.clone(), TensorData::zeros::<f32, _>(shape.clone()));
            let error = load(&wrong).expect_err("a misshapen tensor");
            assert!(
                matches!(&error, LoadError::TensorShape { found, .. } if *found == shape),
                "{error}"
            );
        }
        let mut more = tensors.clone();
        more.insert("blocks.7.norm1.weight".into(), TensorData::zeros::<f32, _>([1]));
        take_notes();
        assert!(load(&more).is_ok());
        let notes = take_notes();
        assert!(
            notes.iter().any(|note| note.contains("blocks.7.norm1.weight")),
            "{notes:?}"
        );
    }
    Ok(())
}
