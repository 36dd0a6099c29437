//! LLaVA-NeXT against what `transformers` computes: every tensor of every case of every `llava_next` checkpoint.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use diffprune_pruner::{Budget, PositionRule, Selection, Signals};
use diffprune_vlm_adapters::{
    AnyRes, Encoded, Family, GenerateOptions, LlavaNext, LlavaNextConfig, LoadOptions, Newlines, NextOptions,
    NextTokens, Packing, Pixels, PruneOptions, Slot, Spliced, Vlm, answer, load_image, load_vlm,
};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::cases::{Fixed, cases, ids, images, manifests};
use crate::language::check_saved_files;
use crate::llava_case::{Case, check_samples, newer_name, root, stored_views};
use crate::llava_ragged::check_ragged;
use crate::tensors::Tensors;
use crate::{json, preprocess};

const FAMILY: &str = "llava_next";

fn load(manifest: &Value) -> LlavaNext {
    let dir = root().join(manifest["checkpoint"].as_str().unwrap());
    LlavaNext::load(dir, &Device::flex(), LoadOptions::f32()).unwrap()
}

fn sizes(json: &Value) -> Vec<usize> {
    ids(json).into_iter().map(|n| n as usize).collect()
}

/// Pixels, and a check that they are the stored ones. The oracle fills images with fewer views up with zeros.
fn pixels(next: &LlavaNext, json: &Value, tensors: &Tensors) -> Pixels {
    let pictures = images(json);
    let pixels = next.preprocess(&pictures).unwrap();
    let rows: Vec<usize> = pixels.images.iter().map(|image| image.rows).collect();
    assert_eq!(rows, sizes(&json["tiles_per_image"]));
    let sides = pixels.images.iter().flat_map(|image| [image.height, image.width]);
    tensors.check_ints("image_sizes", sides.map(i64::from));
    let [n_images, most, channels, side, _]: [usize; 5] =
        sizes(&json["pixel_values_shape"]).try_into().unwrap();
    let (mut parts, mut first) = (Vec::new(), 0);
    for &n in &rows {
        parts.push(pixels.values.clone().narrow(0, first, n));
        if n < most {
            parts.push(Tensor::zeros([most - n, channels, side, side], &Device::flex()));
        }
        first += n;
    }
    let padded = Tensor::cat(parts, 0);
    assert_eq!(padded.dims(), [n_images * most, channels, side, side]);
    check_samples(tensors, &padded.clone().flatten(0, 3));
    tensors.check("pixel_values", &padded);
    if let Some(stored) = stored_views(json) {
        assert_eq!(stored.len(), n_images * most);
        for (i, picture) in pictures.iter().enumerate() {
            let found = next.processor().pixels8(picture);
            assert!(
                found == stored[i * most..i * most + rows[i]],
                "pixels of image {i}"
            );
        }
    }
    pixels
}

/// Which feature of which view stands at each place of the images, -1 for a newline.
fn check_packing(next: &LlavaNext, pixels: &Pixels, encoded: &Encoded, tensors: &Tensors) {
    let side = next.config().llava.vision.n_patches();
    let (mut found, mut first) = (Vec::new(), 0);
    for ((image, layout), all) in pixels
        .images
        .iter()
        .zip(&encoded.layouts)
        .zip(encoded.all_indices())
    {
        let sources = next.packing(image).sources();
        let sequence = next.sequence(layout, &all, PositionRule::Keep);
        found.extend(sequence.slots.iter().map(|slot| match slot.source {
            diffprune_vlm_adapters::VisualSource::Feature(token) => (first * side + sources[token]) as i64,
            diffprune_vlm_adapters::VisualSource::Separator => -1,
        }));
        first += image.rows;
    }
    tensors.check_ints("packed_source", found);
}

/// The embeddings of the images' places alone.
fn check_packed_features(spliced: &Spliced, tensors: &Tensors) {
    let slots = spliced.plans[0].slots.iter().enumerate();
    let places: Vec<i64> = slots
        .filter(|(_, slot)| !matches!(slot, Slot::Text(_)))
        .map(|(place, _)| place as i64)
        .collect();
    let n = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [n]), &spliced.embeds.device());
    tensors.check("packed_features", &spliced.embeds.clone().select(1, places));
}

/// Gradients of tokens back at the features that they are; features that were cut off have none.
fn at_features(next: &LlavaNext, pixels: &Pixels, grad: Tensor<3>) -> Tensor<3> {
    let [_, _, width] = grad.dims();
    let side = next.config().llava.vision.n_patches();
    let mut parts = Vec::new();
    for (i, image) in pixels.images.iter().enumerate() {
        let sources: Vec<i64> = next.packing(image).sources().iter().map(|&s| s as i64).collect();
        let n = sources.len();
        let own = grad.clone().slice([i..i + 1, 0..n]).reshape([n, width]);
        let index = Tensor::<1, Int>::from_data(TensorData::new(sources, [n]), &own.device());
        let zeros = Tensor::<2>::zeros([image.rows * side, width], &own.device());
        let all = zeros.select_assign(0, index, own, burn::tensor::IndexingUpdateOp::Add);
        parts.push(all.reshape([image.rows, side, width]));
    }
    Tensor::cat(parts, 0)
}

#[test]
fn every_tensor_agrees() {
    for (name, manifest) in manifests(FAMILY) {
        let next = load(&manifest);
        for json in cases(&manifest) {
            let tensors = Tensors::open(&root().join(json["file"].as_str().unwrap()));
            let case = Case::new(&next, next.model(), json, &tensors, next.tokenizer());
            let pixels = pixels(&next, json, &tensors);
            case.check_vision(&pixels.values);
            let encoded = next.encode(pixels.clone(), Signals::default());
            check_packing(&next, &pixels, &encoded, &tensors);
            let visual = case.full(&encoded);
            let spliced = case.check_splice(&visual);
            check_packed_features(&spliced, &tensors);
            case.check_language(&spliced);
            if let Some(grad) = case.check_loss(&encoded) {
                let grad = at_features(&next, &pixels, grad);
                tensors.check("grad_vision_selected_without_cls", &grad);
            }
            case.check_pruned(&encoded);
            case.check_generation(&visual);
            case.check_answer(&encoded.all_indices(), "greedy");
            tensors.finish(&format!("{name}/{}", json["id"].as_str().unwrap()));
        }
    }
}

#[test]
fn a_ragged_batch_answers_as_its_prompts_alone() {
    let mut n_compared = 0;
    for (name, manifest) in manifests(FAMILY) {
        let next = load(&manifest);
        n_compared += check_ragged(&name, &manifest, &next, next.model());
    }
    assert!(n_compared > 0, "no answer is decided");
}

/// Every way of counting tokens and keeping newlines gives sequences that generate, through the one path.
#[test]
fn options_change_the_sequence_and_nothing_else() {
    for (name, manifest) in manifests(FAMILY) {
        let next = load(&manifest);
        let case = &manifest["cases"][0];
        let (pictures, prompt) = (images(case), ids(&case["prompt_ids_unexpanded"]));
        let prompts = [prompt.clone()];
        let text = prompt
            .iter()
            .filter(|&&id| id != next.model().reader().image_token_id)
            .count();
        for tokens in [NextTokens::Unpadded, NextTokens::All] {
            for newlines in [Newlines::All, Newlines::KeptRows, Newlines::None] {
                let next = next
                    .clone()
                    .with_options(NextOptions::default().with_tokens(tokens).with_newlines(newlines));
                let encoded = next.encode(next.preprocess(&pictures).unwrap(), Signals::default());
                if tokens == NextTokens::All {
                    let views = sizes(&case["tiles_per_image"]);
                    let side = next.config().llava.vision.n_patches();
                    let counts: Vec<usize> = views.iter().map(|views| views * side).collect();
                    assert_eq!(encoded.counts(), counts, "{name}: every feature is a token");
                }
                let keep: Vec<Vec<usize>> = encoded
                    .counts()
                    .into_iter()
                    .map(|n| (n / 3..n).step_by(7).collect())
                    .collect();
                let features = next.project(Selection::keep(keep.clone()).gather(encoded.tokens.clone()));
                let visual = next.visual_input(features, &encoded.layouts, &keep, PositionRule::Keep);
                let spliced = next
                    .model()
                    .reader()
                    .splice(&prompts, Some(&visual), diffprune_vlm_adapters::Padding::Left)
                    .unwrap();
                let rows: usize = encoded
                    .layouts
                    .iter()
                    .map(|layout| layout.segments[1].grid.rows)
                    .sum();
                let n_newlines = spliced.plans[0]
                    .slots
                    .iter()
                    .filter(|slot| **slot == Slot::Separator)
                    .count();
                let full = match newlines {
                    Newlines::None => 0,
                    _ => rows,
                } + encoded.counts().iter().sum::<usize>();
                assert_eq!(
                    spliced.plans[0].next_position,
                    text + full,
                    "{name} {tokens:?} {newlines:?}"
                );
                match newlines {
                    Newlines::All => assert_eq!(n_newlines, rows),
                    Newlines::KeptRows => assert!((1..=rows).contains(&n_newlines)),
                    Newlines::None => assert_eq!(n_newlines, 0),
                }
                let options = GenerateOptions::default().with_max_new_tokens(4);
                let wanted = next.generate(&prompts, Some(&visual), &options).unwrap();
                let pruner = Fixed(keep);
                let found = answer(
                    &next,
                    &pictures,
                    &prompts,
                    &pruner,
                    &PruneOptions::new(Budget::All),
                    &options,
                )
                .unwrap();
                assert_eq!(found.ids, wanted);
            }
        }
    }
}

/// The pure arithmetic of tiles and packing.
#[test]
fn sizes_agree() {
    let manifest = json("preprocess/manifest.json").unwrap();
    let anyres = AnyRes::new(&LlavaNextConfig::vicuna_7b()).unwrap();
    let mut n = 0;
    for entry in manifest["sizes"].as_array().unwrap() {
        let pair = |field: &str| -> [usize; 2] { sizes(&entry[field]).try_into().unwrap() };
        let (width, height) = (
            entry["w"].as_u64().unwrap() as u32,
            entry["h"].as_u64().unwrap() as u32,
        );
        let grid = anyres.grid(width, height);
        let (canvas_width, canvas_height) = anyres.canvas(grid);
        assert_eq!(
            [canvas_height as usize, canvas_width as usize],
            pair("next_best_hw"),
            "{entry}"
        );
        let (inner_width, inner_height) = anyres.inner(width, height, grid);
        assert_eq!(
            [inner_height as usize, inner_width as usize],
            pair("next_inner_hw"),
            "{entry}"
        );
        let packing = Packing::new(width, height, grid, 24, NextTokens::Unpadded);
        let map = packing.map();
        assert_eq!([map.rows, map.cols], pair("next_unpadded_hw"), "{entry}");
        assert_eq!(
            (packing.n_tokens() + map.rows) as u64,
            entry["next_tokens"].as_u64().unwrap(),
            "{entry}"
        );
        // Sources beyond the small view, as places of the whole map.
        let cell = |source: &usize| {
            let (tile, cell) = (source / 576 - 1, source % 576);
            let (row, col) = (
                tile / grid.cols * 24 + cell / 24,
                tile % grid.cols * 24 + cell % 24,
            );
            row * grid.cols * 24 + col
        };
        let sources = packing.sources();
        let map: Vec<usize> = sources[576..].iter().map(cell).collect();
        let ends = map.first().zip(map.last()).map(|(&first, &last)| [first, last]);
        let wanted = entry["next_unpadded_first_last"]
            .is_array()
            .then(|| pair("next_unpadded_first_last"));
        assert_eq!(ends, wanted, "{entry}");
        n += 1;
    }
    assert!(n > 0, "no sizes");
    println!("{n} sizes");
}

/// Views of pictures, exactly; `1 + tiles` of them stacked in one picture.
#[test]
fn views_are_exact() {
    let manifest = json("preprocess/manifest.json").unwrap();
    let samples = std::fs::read(root().join("preprocess/samples.safetensors")).unwrap();
    let samples = SafeTensors::deserialize(&samples).unwrap();
    let (mut n, mut n_pictures) = (0, 0);
    for case in preprocess::cases(&manifest) {
        if !case.group.starts_with("llava_next") {
            continue;
        }
        let shape = sizes(&case.expected["shape"]);
        let mut config = LlavaNextConfig::vicuna_7b();
        let side = config.llava.vision.image_size;
        config.llava.vision.image_size = shape[3];
        let canvas = |[height, width]: [usize; 2]| [height / side * shape[3], width / side * shape[3]];
        config.image_grid_pinpoints = config.image_grid_pinpoints.into_iter().map(canvas).collect();
        let anyres = AnyRes::new(&config).unwrap();
        let image = load_image(root().join("images").join(format!("{}.png", case.source))).unwrap();
        let views = anyres.pixels8(&image);
        assert_eq!(views.len(), shape[0], "{}", case.name);
        let (width, height) = anyres.canvas(anyres.grid(image.width(), image.height()));
        let best = [height as usize, width as usize];
        assert_eq!(best.to_vec(), sizes(&case.expected["best_resolution_hw"]));
        if let Some(stack) = case.pixels().unwrap() {
            let found: Vec<u8> = views.iter().flat_map(|view| view.as_raw().clone()).collect();
            assert!(&found == stack.as_raw(), "{}", case.name);
            n_pictures += 1;
        }
        let values: Vec<f32> = anyres
            .preprocess(&[image], &Device::flex())
            .into_data()
            .try_to_vec()
            .unwrap();
        preprocess::assert_values(&values, &samples, &case).unwrap();
        n += 1;
    }
    assert!(n > 0 && n_pictures > 0, "no cases");
    println!("{n} cases, {n_pictures} with pictures");
}

/// The names of the newer module tree load to the same weights, and what we save others would read back.
#[test]
fn newer_names_and_saved_files_load_to_the_same_weights() {
    for (name, manifest) in manifests(FAMILY) {
        let dir = root().join(manifest["checkpoint"].as_str().unwrap());
        let next = load(&manifest);
        let config = next.config();
        check_saved_files(&name, &dir, newer_name, |renamed, saved| {
            let model = config.load_weights(renamed, DType::F32, &Device::flex()).unwrap();
            model.save_pretrained(config, saved, DType::F32).unwrap();
            assert_eq!(&LlavaNextConfig::from_dir(saved).unwrap(), config, "{name}");
        });
        // The model's own copy.
        check_saved_files(&name, &dir, newer_name, |_, saved| {
            next.save_pretrained(saved, DType::F32).unwrap();
        });
    }
}

/// One door for every family; weights held in half precision answer nearly the same.
#[test]
fn folders_open_by_their_model_type() {
    for (name, manifest) in manifests(FAMILY) {
        let dir = root().join(manifest["checkpoint"].as_str().unwrap());
        let json = &manifest["cases"][0];
        let pictures = images(json);
        let mut tokens = Vec::new();
        for dtype in [DType::F32, DType::BF16] {
            let options = LoadOptions::default().with_dtype(dtype);
            let vlm = load_vlm(&dir, &Device::flex(), options).unwrap();
            assert_eq!(vlm.family(), Family::LlavaNext, "{name}");
            let encoded = vlm.encode(vlm.preprocess(&pictures).unwrap(), Signals::default());
            assert_eq!(encoded.tokens.dtype(), DType::F32);
            tokens.push(encoded.tokens);
        }
        let scale = tokens[0].clone().abs().max().into_scalar::<f32>();
        let off = (tokens[0].clone() - tokens[1].clone())
            .abs()
            .max()
            .into_scalar::<f32>();
        assert!(off > 0.0 && off < 0.05 * scale, "{name}: off by {off} of {scale}");
    }
}
