//! Qwen2.5-VL as a whole: ragged batches, the names of both module trees, and finding the family.

use std::ops::Range;

use burn::tensor::{DType, Device};
use diffprune_pruner::{PositionRule, Selection, Signals};
use diffprune_vlm_adapters::{
    Encoded, Family, LoadOptions, Padding, PruningSite, Qwen25VlConfig, TextTokenizer, Turn, VisualInput,
    Vlm, load_vlm,
};

use crate::cases::{LEAST_GAP, cases, ids, images, manifests};
use crate::fixture;
use crate::language::{check_saved_files, logits, n_decided};
use crate::qwen25vl::{FAMILY, assert_close, load, plain};

/// All cases of a checkpoint in one ragged batch, each image pruned to another count, give what they give alone.
#[test]
fn a_ragged_batch_computes_as_its_parts_alone() {
    const CLOSE: f32 = 1e-4;
    let mut n_compared = 0;
    let signals = Signals {
        received_attention: true,
        ..Signals::default()
    };
    for (name, manifest) in manifests(FAMILY) {
        let qwen = load(&manifest, PruningSite::BeforeMerger);
        let (mut prompts, mut pictures, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        for case in cases(&manifest) {
            prompts.push(ids(&case["prompt_ids_unexpanded"]));
            let own = images(case);
            ranges.push(pictures.len()..pictures.len() + own.len());
            pictures.extend(own);
        }
        // A text without an image, between the others.
        prompts.insert(
            1,
            prompts[0]
                .iter()
                .copied()
                .filter(|&id| id != qwen.model().reader().image_token_id)
                .collect(),
        );
        ranges.insert(1, ranges[0].end..ranges[0].end);
        let encoded = qwen.encode(qwen.preprocess(&pictures).unwrap(), signals);
        assert_eq!(
            encoded.mask.is_some(),
            encoded.counts().iter().any(|&n| n != encoded.counts()[0])
        );
        let keep: Vec<Vec<usize>> = encoded
            .counts()
            .iter()
            .enumerate()
            .map(|(i, &n)| (0..n).step_by(i + 1).collect())
            .collect();
        for (i, picture) in pictures.iter().enumerate() {
            let pixels = qwen.preprocess(std::slice::from_ref(picture)).unwrap();
            let alone = qwen.encode(pixels, signals);
            let n = alone.counts()[0];
            let own = encoded.tokens.clone().slice([i..i + 1, 0..n]);
            let scale = alone.tokens.clone().abs().max().into_scalar::<f32>().max(1.0);
            assert_close(
                &own,
                &alone.tokens,
                CLOSE * scale,
                &format!("{name}, tokens of image {i}"),
            );
            let received = |encoded: &Encoded| encoded.observed.received_attention.clone().unwrap();
            let own = received(&encoded).slice([i..i + 1, 0..n]);
            assert_close(
                &own,
                &received(&alone),
                CLOSE,
                &format!("{name}, attention of image {i}"),
            );
        }
        let visual = |range: Range<usize>| {
            if range.is_empty() {
                return None;
            }
            let tokens = encoded.tokens.clone().narrow(0, range.start, range.len());
            let keep = keep[range.clone()].to_vec();
            let features = qwen.project(Selection::keep(keep.clone()).gather(tokens));
            Some(qwen.visual_input(features, &encoded.layouts[range], &keep, PositionRule::Keep))
        };
        let run = |prompts: &[Vec<u32>], visual: Option<&VisualInput>| {
            let spliced = qwen
                .model()
                .reader()
                .splice(prompts, visual, Padding::Right)
                .unwrap();
            let (embeds, positions) = (spliced.embeds.clone(), spliced.position_ids.clone());
            let hidden = qwen.model().language.forward(embeds, positions, None, None);
            (logits(&qwen.model().language, hidden), spliced)
        };
        let all = visual(0..pictures.len());
        let (together, _) = run(&prompts, all.as_ref());
        let answers = qwen.generate(&prompts, all.as_ref(), &plain(6)).unwrap();
        for (i, (prompt, range)) in prompts.iter().zip(&ranges).enumerate() {
            let own = visual(range.clone());
            let (alone, spliced) = run(std::slice::from_ref(prompt), own.as_ref());
            let part = together.clone().slice([i..i + 1, 0..spliced.width]);
            assert_close(&part, &alone, CLOSE, &format!("{name}, scores of prompt {i}"));
            let Some(own) = own else { continue };
            let alone = qwen
                .generate(std::slice::from_ref(prompt), Some(&own), &plain(6))
                .unwrap()
                .remove(0);
            let n = n_decided(&qwen.model().reader(), prompt, &own, &alone, 1.0);
            let reached = |ids: &[u32]| ids[..n.min(ids.len())].to_vec();
            assert_eq!(reached(&answers[i]), reached(&alone), "{name}, prompt {i}");
            n_compared += n;
        }
    }
    assert!(n_compared > 0, "no answer is decided by more than {LEAST_GAP}");
}

/// The name of a tensor in the newer module tree.
fn newer_name(name: &str) -> String {
    match name.strip_prefix("model.") {
        Some(rest) => format!("model.language_model.{rest}"),
        None if name.starts_with("visual.") => format!("model.{name}"),
        None => name.to_string(),
    }
}

/// The names of the newer module tree load to the same weights, and what we save others would read back.
#[test]
fn newer_names_and_saved_files_load_to_the_same_weights() {
    for (name, manifest) in manifests(FAMILY) {
        let dir = fixture(manifest["checkpoint"].as_str().unwrap());
        let config = Qwen25VlConfig::from_dir(&dir).unwrap();
        check_saved_files(&name, &dir, newer_name, |renamed, saved| {
            let model = config.load_weights(renamed, DType::F32, &Device::flex()).unwrap();
            model.save_pretrained(&config, saved, DType::F32).unwrap();
            assert_eq!(Qwen25VlConfig::from_dir(saved).unwrap(), config, "{name}");
        });
    }
}

#[test]
fn the_family_is_found_by_its_configuration() {
    for (_, manifest) in manifests(FAMILY) {
        let dir = fixture(manifest["checkpoint"].as_str().unwrap());
        let vlm = load_vlm(&dir, &Device::flex(), LoadOptions::f32()).unwrap();
        assert_eq!(vlm.family(), Family::Qwen25Vl);
        assert_eq!(vlm.d_descriptor() * vlm.group(), vlm.d_vision());
        let prompt = vlm.prompt_ids(&[Turn::ask("Which?").with_images(3)]).unwrap();
        let tokenizer = TextTokenizer::from_file(dir.join("tokenizer.json")).unwrap();
        let image = tokenizer.image_token_id();
        assert_eq!(prompt.iter().filter(|&&id| Some(id) == image).count(), 3);
    }
}
