//! The test without a language model.

use std::collections::HashMap;
use std::fs;

use diffprune_eval::{
    ImageNet, PatchRule, is_in_top_k, patches, resize_area, resize_bilinear, resize_nearest, top_k,
};
use diffprune_pruner::Grid;
use serde_json::Value;

use super::support::*;

fn numbers(value: &Value) -> Vec<f32> {
    let list = value.as_array().unwrap();
    list.iter().map(|item| number(item) as f32).collect()
}

fn indices(value: &Value) -> Vec<usize> {
    let list = value.as_array().unwrap();
    list.iter().map(|item| item.as_u64().unwrap() as usize).collect()
}

fn square(n_tokens: usize) -> Grid {
    let side = n_tokens.isqrt();
    assert_eq!(side * side, n_tokens);
    Grid {
        rows: side,
        cols: side,
    }
}

fn above(values: &[f32], keep: impl Fn(f32) -> bool) -> Vec<usize> {
    (0..values.len()).filter(|&place| keep(values[place])).collect()
}

#[test]
fn patches_are_the_stored_ones() {
    each_row("imagenet_mask.jsonl", |row| {
        let id = text(row, "id");
        let scores = numbers(&row["scores_24x24"]);
        let (from, to) = (
            square(scores.len()),
            square(row["area_values"].as_array().unwrap().len()),
        );
        let k = row["K"].as_u64().unwrap() as usize;
        let mut selected = top_k(&scores, k);
        selected.sort_unstable();
        assert_eq!(selected, indices(&row["selected_24"]), "{id}");
        let mut mask = vec![0.0; scores.len()];
        selected.iter().for_each(|&token| mask[token] = 1.0);
        let near = |found: &[f32], wanted: &Value| {
            let wanted = numbers(wanted);
            assert_eq!(found.len(), wanted.len());
            let apart = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f32::max) < 3e-6, "{id}");
        };
        let bilinear = resize_bilinear(&mask, from, to);
        near(&bilinear, &row["bilinear_values"]);
        assert_eq!(
            above(&bilinear, |v| v > 0.0),
            indices(&row["bilinear_gt_zero"]),
            "{id}"
        );
        assert_eq!(
            above(&bilinear, |v| v >= 0.5),
            indices(&row["bilinear_ge_half"]),
            "{id}"
        );
        near(&resize_area(&mask, from, to), &row["area_values"]);
        assert_eq!(
            above(&resize_nearest(&mask, from, to), |v| v > 0.0),
            indices(&row["nearest"]),
            "{id}"
        );
        for (rule, key) in [
            (PatchRule::MaskNearest, "nearest"),
            (PatchRule::MaskArea, "area_gt_zero"),
            (PatchRule::ScoreTopk, "score_bilinear_topk"),
        ] {
            assert_eq!(
                patches(&scores, from, to, k, rule),
                indices(&row[key]),
                "{id} {key}"
            );
        }
    });
}

#[test]
fn the_best_classes_are_the_stored_ones() {
    let stored = json("imagenet_topk.json");
    let logits: Vec<Vec<f32>> = stored["logits"].as_array().unwrap().iter().map(numbers).collect();
    let labels = indices(&stored["labels"]);
    let flags = |k: usize| -> Vec<bool> {
        let right = |(logits, &label): (&Vec<f32>, &usize)| is_in_top_k(logits, label, k);
        logits.iter().zip(&labels).map(right).collect()
    };
    for (logits, top5) in logits.iter().zip(stored["top5"].as_array().unwrap()) {
        assert_eq!(logits.len() as u64, stored["num_classes"].as_u64().unwrap());
        assert_eq!(top_k(logits, 5), indices(top5));
    }
    for (k, name) in [(1, "top1"), (5, "top5")] {
        let flags = flags(k);
        assert_eq!(
            serde_json::to_value(&flags).unwrap(),
            stored[format!("{name}_correct")]
        );
        let share = flags.iter().filter(|&&right| right).count() as f64 / flags.len() as f64;
        close(100.0 * share, &stored[format!("{name}_percent")], name);
    }
}

#[test]
fn the_imagenet_folders_score_as_stored() {
    let root = dataset("imagenet");
    let expected = json("datasets/imagenet/expected.json");
    let folders = ImageNet::read(&root, true).unwrap();
    let flat = tempfile::tempdir().unwrap();
    copy_tree(&root, flat.path());
    fs::remove_dir_all(flat.path().join("val")).unwrap();
    let flat = ImageNet::read(flat.path(), true).unwrap();
    let bare = tempfile::tempdir().unwrap();
    copy_tree(&root.join("val"), &bare.path().join("val"));
    let bare = ImageNet::read(bare.path(), true).unwrap();
    let best: HashMap<String, Vec<usize>> = lines(&root.join("predictions.jsonl"))
        .iter()
        .map(|row| (text(row, "image").to_string(), indices(&row["top5"])))
        .collect();
    for data in [&folders, &flat, &bare] {
        assert_eq!(data.classes, texts(&expected["classes_in_order"]));
        assert_eq!(data.samples.len() as u64, expected["samples"].as_u64().unwrap());
        let (mut top1, mut top5) = (0.0, 0.0);
        for sample in &data.samples {
            let name = sample.image.file_name().unwrap().to_str().unwrap();
            assert!(sample.image.is_file() && name.starts_with(&sample.id));
            assert_eq!(
                sample.class as u64,
                expected["labels"][name].as_u64().unwrap(),
                "{name}"
            );
            top1 += f64::from(best[name][0] == sample.class);
            top5 += f64::from(best[name].contains(&sample.class));
        }
        let percent = 100.0 / data.samples.len() as f64;
        close(percent * top1, &expected["top1_percent"], "top 1");
        close(percent * top5, &expected["top5_percent"], "top 5");
    }
}
