//! Preprocessing of Qwen2.5-VL: sizes and 8-bit pixels exactly, normalised patches to the rounding of f32.

use std::collections::BTreeMap;

use burn::tensor::Device;
use diffprune_pruner::Grid;
use diffprune_vlm_adapters::{QwenImageProcessor, load_image, smart_resize};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::preprocess::{Case, assert_same_pixels, assert_values, cases, triple};
use crate::{Outcome, fixture, json};

fn number(case: &Case, field: &str) -> Result<u64, String> {
    let found = case.expected[field].as_u64();
    found.ok_or(format!("{} has no {field}", case.name))
}

fn is_qwen(case: &Case) -> bool {
    case.group.starts_with("qwen2_5_vl")
}

#[test]
fn patches_are_exact() -> Outcome {
    let manifest = json("preprocess/manifest.json")?;
    let samples = std::fs::read(fixture("preprocess/samples.safetensors"))?;
    let samples = SafeTensors::deserialize(&samples)?;
    let (mut n_cases, mut n_pictures, mut worst) = (0, 0, 0.0f32);
    for case in cases(&manifest).into_iter().filter(is_qwen) {
        let processor = QwenImageProcessor {
            mean: triple(&manifest["mean"])?,
            std: triple(&manifest["std"])?,
            ..QwenImageProcessor::default().with_budget(
                Some(number(&case, "min_pixels")?),
                Some(number(&case, "max_pixels")?),
            )?
        };
        let image = load_image(fixture("images").join(format!("{}.png", case.source)))?;
        if let Some(pixels) = case.pixels()? {
            let found = processor.pixels8(&image).ok_or("a size that fits")?;
            assert_same_pixels(&found, &pixels, &case.name);
            n_pictures += 1;
        }
        let (values, grids) = processor.preprocess(&[image], &Device::flex())?;
        let thw: [usize; 3] = serde_json::from_value(case.expected["grid_thw"].clone())?;
        let [_, rows, cols] = thw;
        assert_eq!(grids, [Grid { rows, cols }], "{}", case.name);
        let [n_patches, channels, side, _] = values.dims();
        let shape: Vec<usize> = serde_json::from_value(case.expected["shape"].clone())?;
        assert_eq!(shape, [n_patches, channels * side * side], "{}", case.name);
        let values = values.into_data().try_to_vec::<f32>()?;
        worst = worst.max(assert_values(&values, &samples, &case)?);
        n_cases += 1;
    }
    assert!(
        n_cases > 0 && n_pictures > 0,
        "no qwen2_5_vl cases in the manifest"
    );
    println!("{n_cases} cases, {n_pictures} with pictures, largest difference of values {worst:e}");
    Ok(())
}

/// The table of sizes, whose columns name the budgets that the cases spell out.
#[test]
fn sizes_are_exact() -> Outcome {
    let manifest = json("preprocess/manifest.json")?;
    let mut budgets = BTreeMap::new();
    for case in cases(&manifest).into_iter().filter(is_qwen) {
        let file = case.name.rsplit('/').next().unwrap_or_default();
        let id = file.split("__").next().unwrap_or_default().to_string();
        budgets.insert(id, (number(&case, "min_pixels")?, number(&case, "max_pixels")?));
    }
    let side = |row: &Value, field: &str| row[field].as_u64().and_then(|side| u32::try_from(side).ok());
    let mut n_sizes = 0;
    for row in manifest["sizes"].as_array().ok_or("sizes")? {
        let (height, width) = (
            side(row, "h").ok_or("a height")?,
            side(row, "w").ok_or("a width")?,
        );
        for (id, (min_pixels, max_pixels)) in &budgets {
            let found = smart_resize(height, width, 28, *min_pixels, *max_pixels);
            let wanted: Option<(u32, u32)> = serde_json::from_value(row[format!("qwen_{id}_hw")].clone())?;
            assert_eq!(found, wanted, "{height} by {width} with {id}");
            n_sizes += 1;
        }
    }
    assert!(n_sizes > 0, "no sizes");
    println!("{n_sizes} sizes");
    Ok(())
}
