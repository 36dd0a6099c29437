//! Every stored case of every backbone, on the device, against what `transformers` computed.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor};
use diffprune::vlm::{
    Encoded, Family, GenerateOptions, ImageMode, LoadOptions, TextBatch, load_image, load_vlm,
};
use diffprune::{PositionRule, Signals};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::Check;
use crate::compare::{close, host};
use crate::target::Target;

/// Greedy ids mean something only where the best two scores are further apart than rounding may swap.
const GAP: f32 = 10.0;

/// One check for each case of each manifest.
pub fn checks(root: &Path) -> Result<Vec<Check>, String> {
    let root = root.join("hf");
    let folder = root.join("expected");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    let mut checks = Vec::new();
    for file in files {
        let text = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let manifest: Value =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for case in manifest["cases"].as_array().into_iter().flatten() {
            let name = format!("{name}/{}: oracle", case["id"].as_str().unwrap_or_default());
            let (root, dir, case) = (
                root.clone(),
                root.join(text_of(&manifest, "checkpoint")?),
                case.clone(),
            );
            checks.push(Check::new(name, move |target| oracle(&root, &dir, &case, target)));
        }
    }
    if checks.is_empty() {
        return Err(format!("{}: found no stored case", folder.display()));
    }
    Ok(checks)
}

fn text_of<'a>(json: &'a Value, key: &str) -> Result<&'a str, String> {
    json[key].as_str().ok_or_else(|| format!("no `{key}` in {json}"))
}

fn ids(json: &Value) -> Vec<u32> {
    let numbers = json.as_array().into_iter().flatten();
    numbers
        .filter_map(|id| u32::try_from(id.as_u64()?).ok())
        .collect()
}

/// The stored tensors of a case.
struct Stored<'a>(SafeTensors<'a>);

impl Stored<'_> {
    fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let bytes = self.0.tensor(name).ok()?.data().to_vec();
        let number = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        Some(bytes.chunks_exact(4).map(number).collect())
    }

    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        let bytes = self.0.tensor(name).ok()?.data().to_vec();
        let number = |eight: &[u8]| i64::from_le_bytes(std::array::from_fn(|i| eight[i]));
        Some(bytes.chunks_exact(8).map(number).collect())
    }
}

/// Projected tokens, loss, its gradient at the tokens, and greedy ids.
fn oracle(root: &Path, dir: &Path, case: &Value, target: &Target) -> Result<f32, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    // Images as the processors of `transformers` have them.
    let options = LoadOptions::default()
        .with_dtype(target.dtype)
        .with_image_mode(ImageMode::CenterCrop);
    let vlm = load_vlm(dir, &target.device, options).map_err(|e| text(&e))?;
    let path = root.join(text_of(case, "file")?);
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let stored = Stored(SafeTensors::deserialize(&bytes).map_err(|e| text(&e))?);
    let tolerance = target.with_products().tolerance();
    let prompt = ids(&case["prompt_ids_unexpanded"]);
    let image = case["image_token_id"].as_i64().ok_or("no `image_token_id`")?;
    let mut images = Vec::new();
    for name in case["images"].as_array().into_iter().flatten() {
        let file = format!("{}.png", name.as_str().unwrap_or_default());
        images.push(load_image(root.join("images").join(file)).map_err(|e| text(&e))?);
    }
    let mut worst = 0f32;
    let encoded = match images.is_empty() {
        true => None,
        false => {
            let pixels = vlm.preprocess(&images).map_err(|e| text(&e))?;
            Some(vlm.encode(pixels, Signals::default()))
        }
    };
    let tokens = encoded
        .as_ref()
        .map(|encoded| encoded.tokens.clone().autodiff().require_grad());
    let visual = encoded.as_ref().zip(tokens.clone()).map(|(encoded, tokens)| {
        let all = encoded.all_indices();
        vlm.visual_input(vlm.project(tokens), &encoded.layouts, &all, PositionRule::Keep)
    });
    if let (Some(encoded), Some(visual)) = (&encoded, &visual) {
        let found = rows(visual.features.clone().without_autodiff(), encoded);
        let wanted = match projected(&stored, vlm.d_model()) {
            Some(wanted) => wanted,
            // Of some cases only ids are stored, which decide nothing in few bits: the CPU's f32 agrees with them.
            None => {
                let options = options.with_dtype(DType::F32);
                let vlm = load_vlm(dir, &Device::flex(), options).map_err(|e| text(&e))?;
                let encoded = vlm.encode(vlm.preprocess(&images).map_err(|e| text(&e))?, Signals::default());
                rows(vlm.project(encoded.tokens.clone()), &encoded)
            }
        };
        worst = worst.max(close("projected tokens", &found, &wanted, tolerance)?);
    }
    if let Some((targets, wanted)) = targets(&stored, &prompt, image).zip(stored.floats("loss")) {
        let batch = TextBatch {
            ids: vec![prompt.clone()],
            targets: vec![targets],
        };
        let loss = vlm.loss(&batch, visual.as_ref()).map_err(|e| text(&e))?;
        worst = worst.max(close(
            "loss",
            &host(loss.clone().without_autodiff()),
            &wanted,
            tolerance,
        )?);
        let gradient = stored.floats("grad_vision_selected_without_cls");
        // LLaVA-NeXT's is stored before its tokens are packed.
        let gradient = gradient.filter(|_| vlm.family() == Family::Llava15);
        if let Some((wanted, tokens)) = gradient.zip(tokens) {
            let found: Tensor<3> = tokens.grad(&loss.backward()).ok_or("no gradient of the tokens")?;
            let largest = wanted
                .iter()
                .fold(0f32, |largest, value| largest.max(value.abs()));
            let scaled = |values: Vec<f32>| values.iter().map(|value| value / largest).collect::<Vec<_>>();
            let (found, wanted) = (scaled(host(found)), scaled(wanted));
            worst = worst.max(close(
                "gradient of the tokens",
                &found,
                &wanted,
                10.0 * tolerance,
            )?);
        }
    }
    let gap = case["greedy_min_top2_gap"].as_f64().unwrap_or(0.0) as f32;
    if target.dtype == DType::F32 && gap > GAP * tolerance {
        let wanted = ids(&case["greedy_new_tokens"]);
        let visual = visual.map(|visual| diffprune::vlm::VisualInput {
            features: visual.features.without_autodiff(),
            ..visual
        });
        let options = GenerateOptions::default().with_max_new_tokens(wanted.len());
        let found = vlm
            .generate(&[prompt], visual.as_ref(), &options)
            .map_err(|e| text(&e))?;
        if found != [wanted.clone()] {
            return Err(format!("greedy ids {found:?}, expected {wanted:?}"));
        }
    }
    Ok(worst)
}

/// The tokens of every image, one after the other.
fn rows(features: Tensor<3>, encoded: &Encoded) -> Vec<f32> {
    let counts = encoded.counts().into_iter().enumerate();
    counts
        .flat_map(|(i, n)| host(features.clone().slice([i..i + 1, 0..n])))
        .collect()
}

/// The stored tokens as the language model gets them, without newlines.
fn projected(stored: &Stored<'_>, d_model: usize) -> Option<Vec<f32>> {
    if let Some((packed, sources)) = stored.floats("packed_features").zip(stored.ints("packed_source")) {
        let rows = packed.chunks_exact(d_model).zip(sources);
        return Some(
            rows.filter(|(_, source)| *source >= 0)
                .flat_map(|(row, _)| row.to_vec())
                .collect(),
        );
    }
    stored
        .floats("vision_features_merged")
        .or_else(|| stored.floats("projector_output"))
}

/// Which ids of the prompt are targets: labels that are not -100, without the places of images.
fn targets(stored: &Stored<'_>, prompt: &[u32], image: i64) -> Option<Vec<bool>> {
    let (labels, inputs) = (stored.ints("labels")?, stored.ints("input_ids")?);
    let of_text = labels.iter().zip(inputs).filter(|(_, input)| *input != image);
    let mut of_text = of_text.map(|(label, _)| *label >= 0);
    let target = |id: &u32| {
        if i64::from(*id) == image {
            Some(false)
        } else {
            of_text.next()
        }
    };
    let targets: Option<Vec<bool>> = prompt.iter().map(target).collect();
    targets.filter(|_| of_text.next().is_none())
}
