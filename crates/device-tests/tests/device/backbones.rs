//! Every tiny backbone of the fixtures: tokens, loss and gradient, answers, and a DiffPrune training step.

use std::path::{Path, PathBuf};

use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use diffprune::vlm::{LoadOptions, PruneOptions, Vlm, load_vlm, prepare_encoded};
use diffprune::{
    Budget, CachePrecision, CaptionBatch, CaptionData, CaptionPrompt, CaptionSample, DataError,
    DiffPruneConfig, FeatureStore, LearnedPruner, ScorerChoice, ScorerPreset, Signals, Trainee,
    training_loss,
};
use image::{Rgb, RgbImage};

use crate::Check;
use crate::compare::{close, host};
use crate::target::Target;

/// The tiny checkpoints of the fixtures.
pub fn checks(root: &Path) -> Result<Vec<Check>, String> {
    let folder = root.join("hf/checkpoints");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut dirs: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().ends_with("_tiny"))
        })
        .collect();
    dirs.sort();
    if dirs.is_empty() {
        return Err(format!(
            "{}: found no checkpoint whose name ends in _tiny",
            folder.display()
        ));
    }
    let mut checks = Vec::new();
    for dir in dirs {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (one, two) = (dir.clone(), dir);
        checks.push(Check::new(format!("{name}: inference"), move |target| {
            inference(&one, target)
        }));
        checks.push(Check::new(format!("{name}: training step"), move |target| {
            training(&two, target)
        }));
    }
    Ok(checks)
}

fn load(dir: &Path, device: &Device, dtype: DType) -> Result<Box<dyn Vlm>, String> {
    let options = LoadOptions::default().with_dtype(dtype);
    load_vlm(dir, device, options).map_err(|error| error.to_string())
}

fn picture(i: u32) -> RgbImage {
    RgbImage::from_fn(90 + 20 * i, 70, |x, y| {
        Rgb([(3 * x + 40 * i) as u8, (5 * y) as u8, ((x * y) % 200) as u8])
    })
}

/// Tokens, their projection, the loss of a pruned prompt and its gradient, and greedy ids.
fn inference(dir: &Path, target: &Target) -> Result<f32, String> {
    let run = |device: &Device, dtype| -> Result<(Vec<Vec<f32>>, Vec<u32>), String> {
        let vlm = load(dir, device, dtype)?;
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let prompt = CaptionPrompt::new(vlm.as_ref(), "what is it", 8).map_err(|e| text(&e))?;
        let batch = prompt
            .batch(vlm.as_ref(), &["red and blue".into(), "green".into()])
            .map_err(|e| text(&e))?;
        let pixels = vlm.preprocess(&[picture(0), picture(1)]).map_err(|e| text(&e))?;
        let encoded = vlm.encode(pixels, Signals::default());
        let config = DiffPruneConfig {
            scorer: ScorerChoice::Preset(ScorerPreset::Mini),
            ..Default::default()
        };
        // The first weights come from the CPU's generator, so that both devices rank alike.
        let scorer = config
            .init(vlm.d_descriptor(), 3, &Device::flex())
            .map_err(|e| text(&e))?
            .head;
        let scorer = burn::module::Module::to_device(scorer, device);
        let options = PruneOptions::new(Budget::rate(1, 3));
        let pruner = LearnedPruner::new(scorer);
        let prepared = prepare_encoded(vlm.as_ref(), &encoded, &pruner, &options).map_err(|e| text(&e))?;
        let visual = prepared.visual().ok_or("no visual tokens")?;
        let features = visual.features.clone().autodiff().require_grad();
        let tracked = diffprune::vlm::VisualInput {
            features: features.clone(),
            ..visual.clone()
        };
        let loss = vlm.loss(&batch, Some(&tracked)).map_err(|e| text(&e))?;
        let gradient = features
            .grad(&loss.backward())
            .ok_or("no gradient of the features")?;
        let loss = vlm.loss(&batch, Some(visual)).map_err(|e| text(&e))?;
        let kept = prepared.keep().iter().flatten().map(|&i| i as f32).collect();
        let prompts = vec![
            vlm.prompt_ids(&[diffprune::vlm::Turn::ask("what is it")])
                .map_err(|e| text(&e))?;
            2
        ];
        let options = vlm.generate_options().with_max_new_tokens(4);
        let ids = vlm
            .generate(&prompts, Some(visual), &options)
            .map_err(|e| text(&e))?;
        Ok((
            vec![
                host(encoded.tokens),
                kept,
                host(visual.features.clone()),
                host(loss),
                host(gradient),
            ],
            ids.concat(),
        ))
    };
    let (found, ids) = run(&target.device, target.dtype)?;
    let (wanted, wanted_ids) = run(&Device::flex(), DType::F32)?;
    if target.dtype == DType::F32 && ids != wanted_ids {
        return Err(format!("greedy ids {ids:?}, expected {wanted_ids:?}"));
    }
    let mut worst = 0f32;
    let names = ["tokens", "kept", "features", "loss", "gradient of the features"];
    for ((name, found), wanted) in names.iter().zip(&found).zip(&wanted) {
        if *name == "kept" && target.dtype != DType::F32 {
            // Near ties may fall the other way in few bits.
            continue;
        }
        worst = worst.max(close(name, found, wanted, target.with_products().tolerance())?);
    }
    Ok(worst)
}

/// Two pictures and their captions.
struct Pair;

impl CaptionData for Pair {
    fn len(&self) -> usize {
        2
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        Ok(CaptionSample {
            image: picture(index as u32),
            caption: ["red and blue", "green"][index % 2].into(),
        })
    }
}

/// The objective and its gradient in every parameter of scorer and denoiser, in f32.
fn training(dir: &Path, target: &Target) -> Result<f32, String> {
    let run = |device: &Device| -> Result<(f32, Vec<f32>), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let vlm = load(dir, device, DType::F32)?;
        let config = DiffPruneConfig {
            budget: Budget::rate(1, 4),
            scorer: ScorerChoice::Preset(ScorerPreset::Mini),
            ..Default::default()
        };
        let plain = config
            .init(vlm.d_descriptor(), 1, &Device::flex())
            .map_err(|e| text(&e))?;
        let model = Trainee::new(plain.head, plain.denoiser, &device.clone().autodiff());
        let store = FeatureStore::new(&Pair, CachePrecision::F32, 0);
        let prompt = CaptionPrompt::new(vlm.as_ref(), "what is it", 8).map_err(|e| text(&e))?;
        let batch = CaptionBatch {
            store: &store,
            prompt: &prompt,
            indices: vec![0, 1],
            draws: vec![0, 1],
            seed: 5,
            tau: 0.5,
            recompute: false,
        };
        let loss = training_loss(&model, vlm.as_ref(), &config, &batch).map_err(|e| text(&e))?;
        let value = loss.nll.clone().without_autodiff().into_scalar::<f32>();
        let gradients = GradientsParams::from_grads(loss.nll.backward(), &model);
        let mut all = Flattened(gradients, Vec::new());
        burn::module::Module::visit(&model, &mut all);
        Ok((value, all.1))
    };
    let (found, wanted) = (run(&target.device)?, run(&Device::flex())?);
    let tolerance = target.in_f32().with_products().tolerance();
    let largest = wanted
        .1
        .iter()
        .fold(0f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return Err("the CPU's gradient is zero".into());
    }
    // Relative to the largest entry, however small the gradient is.
    let scaled = |values: &[f32]| values.iter().map(|value| value / largest).collect::<Vec<_>>();
    let gradient = close(
        "gradient",
        &scaled(&found.1),
        &scaled(&wanted.1),
        10.0 * tolerance,
    )?;
    Ok(gradient.max(close("loss", &[found.0], &[wanted.0], tolerance)?))
}

/// Gradients of all parameters, in the order of the module.
struct Flattened(GradientsParams, Vec<f32>);

impl burn::module::ModuleVisitor for Flattened {
    fn visit_float<const R: usize>(&mut self, parameter: &burn::module::Param<Tensor<R>>) {
        if let Some(gradient) = self.0.get::<R>(parameter.id) {
            self.1.extend(host(gradient));
        }
    }
}
