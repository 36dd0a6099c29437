//! Image preprocessing: 8-bit pixels exactly, normalised values to the rounding of f32.

use burn::tensor::Device;
use diffprune_vlm_adapters::{ImageMode, ImageProcessor, load_image, resize_bicubic};
use image::RgbImage;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::{Outcome, fixture, json};

/// Largest difference of a normalised value, which is of order one.
pub const TOLERANCE: f32 = 1e-6;

/// One preprocessing case.
pub struct Case<'a> {
    pub name: String,
    pub source: String,
    pub group: &'a str,
    pub expected: &'a Value,
}

impl Case<'_> {
    fn side(&self) -> Option<u32> {
        self.expected["shape"]
            .as_array()?
            .last()?
            .as_u64()
            .and_then(|side| u32::try_from(side).ok())
    }

    /// The 8-bit pixels, where they are stored.
    pub fn pixels(&self) -> Result<Option<RgbImage>, diffprune_vlm_adapters::ImageFileError> {
        let file = self.expected["png"].as_str();
        file.map(|file| load_image(fixture("preprocess").join(file)))
            .transpose()
    }
}

pub fn cases(manifest: &Value) -> Vec<Case<'_>> {
    let groups = manifest["groups"].as_object().into_iter().flatten();
    groups
        .flat_map(|(group, cases)| {
            cases
                .as_object()
                .into_iter()
                .flatten()
                .map(move |(name, expected)| Case {
                    name: format!("{group}/{name}"),
                    source: name.rsplit("__").next().unwrap_or(name).to_string(),
                    group,
                    expected,
                })
        })
        .collect()
}

pub fn triple(value: &Value) -> Result<[f32; 3], serde_json::Error> {
    serde_json::from_value(value.clone())
}

fn mode(group: &str) -> Option<ImageMode> {
    match group {
        _ if group.ends_with("_center_crop") => Some(ImageMode::CenterCrop),
        _ if group.ends_with("_pad_square") => Some(ImageMode::PadSquare),
        _ => None,
    }
}

#[test]
fn clip_pixels_are_exact_and_values_agree() -> Outcome {
    let manifest = json("preprocess/manifest.json")?;
    let samples = std::fs::read(fixture("preprocess/samples.safetensors"))?;
    let samples = SafeTensors::deserialize(&samples)?;
    let (mut n_cases, mut n_pictures, mut worst) = (0, 0, 0.0f32);
    for case in cases(&manifest) {
        let (Some(mode), Some(side)) = (mode(case.group), case.side()) else {
            continue;
        };
        let processor = ImageProcessor {
            mean: triple(&manifest["mean"])?,
            std: triple(&manifest["std"])?,
            ..ImageProcessor::clip(side).with_mode(mode)
        };
        let image = load_image(fixture("images").join(format!("{}.png", case.source)))?;
        if let Some(pixels) = case.pixels()? {
            assert_same_pixels(&processor.pixels8(&image), &pixels, &case.name);
            n_pictures += 1;
        }
        let values = processor
            .preprocess(&[image], &Device::flex())
            .into_data()
            .try_to_vec::<f32>()?;
        worst = worst.max(assert_values(&values, &samples, &case)?);
        n_cases += 1;
    }
    assert!(n_cases > 0 && n_pictures > 0, "no clip cases in the manifest");
    println!("{n_cases} cases, {n_pictures} with pictures, largest difference of values {worst:e}");
    Ok(())
}

#[test]
fn resized_pictures_of_the_other_models_are_exact() -> Outcome {
    let manifest = json("preprocess/manifest.json")?;
    let mut n_cases = 0;
    for case in cases(&manifest) {
        let Some(wanted) = case.pixels()? else {
            continue;
        };
        let image = load_image(fixture("images").join(format!("{}.png", case.source)))?;
        let tile = if let Some(resized) = case.expected["resized_hw"].as_array() {
            let sides: Vec<u64> = resized.iter().filter_map(Value::as_u64).collect();
            assert_eq!(
                sides,
                [u64::from(wanted.height()), u64::from(wanted.width())],
                "{}",
                case.name
            );
            wanted
        } else if case.group.starts_with("llava_next") {
            // The first tile is the whole image squashed to a square.
            let side = wanted.width();
            image::imageops::crop_imm(&wanted, 0, 0, side, side).to_image()
        } else {
            continue;
        };
        assert_same_pixels(
            &resize_bicubic(&image, tile.width(), tile.height()),
            &tile,
            &case.name,
        );
        n_cases += 1;
    }
    assert!(n_cases > 0, "no resized pictures in the manifest");
    println!("{n_cases} cases");
    Ok(())
}

pub fn assert_same_pixels(found: &RgbImage, wanted: &RgbImage, name: &str) {
    assert_eq!(found.dimensions(), wanted.dimensions(), "{name}");
    let differ = found
        .as_raw()
        .iter()
        .zip(wanted.as_raw())
        .filter(|(a, b)| a != b)
        .count();
    assert_eq!(
        differ,
        0,
        "{name}: levels that differ of {}",
        wanted.as_raw().len()
    );
}

/// Compares the sampled values and the sums of a case; returns the largest difference of a value.
pub fn assert_values(
    values: &[f32],
    samples: &SafeTensors,
    case: &Case,
) -> Result<f32, Box<dyn std::error::Error>> {
    let mut worst = 0.0f32;
    for (index, wanted) in sampled(samples, case)? {
        let error = (values[index] - wanted).abs();
        assert!(
            error <= TOLERANCE,
            "{}: value {index} is {} not {wanted}",
            case.name,
            values[index]
        );
        worst = worst.max(error);
    }
    assert_sums(values, case);
    Ok(worst)
}

/// Pairs of an index into the flattened values and the value there.
pub fn sampled(samples: &SafeTensors, case: &Case) -> Result<Vec<(usize, f32)>, Box<dyn std::error::Error>> {
    let key = case.expected["samples"]
        .as_str()
        .ok_or("a case without samples")?;
    let indices = samples.tensor(&format!("{key}/sample_index"))?;
    let values = samples.tensor(&format!("{key}/sample_value"))?;
    let values = values
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes));
    let indices: Vec<usize> = match indices.dtype() {
        safetensors::Dtype::I32 => indices
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| i32::from_le_bytes(*bytes) as usize)
            .collect(),
        _ => indices
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| i64::from_le_bytes(*bytes) as usize)
            .collect(),
    };
    assert!(!indices.is_empty(), "{key} has no samples");
    Ok(indices.into_iter().zip(values).collect())
}

/// The sums over all values, which see what the samples miss.
pub fn assert_sums(values: &[f32], case: &Case) {
    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
    let abs_sum: f64 = values.iter().map(|&value| f64::from(value.abs())).sum();
    for (found, field) in [(sum, "sum"), (abs_sum, "abs_sum")] {
        let wanted = case.expected[field].as_f64().unwrap_or(f64::NAN);
        let close = (found - wanted).abs() <= 1e-6 * abs_sum;
        assert!(close, "{}: {field} is {found} not {wanted}", case.name);
    }
}
