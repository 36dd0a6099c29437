//! Training on a tiny LLaVA: exact resume, frozen model, falling loss, and every way to give it bad input.

mod contrasts;
mod fake;
mod families;
mod faults;
mod features;
mod inputs;
mod learner;
mod rivals;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use diffprune::LoadOptions;
use diffprune::training::{Progress, TrainingError};
use diffprune::{
    Budget, CachePrecision, CaptionBatch, CaptionData, CaptionPrompt, CaptionSample, ConfigError, DataError,
    FeatureStore, GateKind, GumbelBackward, GumbelSte, Head, Layout, LearnedPruner, Llava, Pruner,
    ScorerChoice, ScorerPreset, Signals, ThresholdKind, TrainConfig, TrainError, Trainer, Vlm, train,
    training_loss,
};
use image::{Rgb, RgbImage};

/// Burn has one random generator per process, and runs draw their first weights from it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn checkpoint(name: &str) -> PathBuf {
    // No oracle: any small model would do, so the repository's own is used wherever the oracles lie.
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/hf/checkpoints"
    ))
    .join(name)
}

fn tiny() -> Llava {
    Llava::load(checkpoint("llava15_tiny"), &Device::flex(), LoadOptions::f32()).unwrap()
}

fn n_tokens(vlm: &Llava) -> usize {
    let pixels = vlm.preprocess(&[RgbImage::new(4, 4)]).unwrap();
    vlm.encode(pixels, Signals::default()).counts()[0]
}

/// Stripes of two colours, named in the caption.
struct Stripes(usize);

const COLOURS: [(&str, [u8; 3]); 3] = [
    ("red", [230, 20, 10]),
    ("green", [10, 200, 30]),
    ("blue", [20, 10, 220]),
];

impl CaptionData for Stripes {
    fn len(&self) -> usize {
        self.0
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        let ((left, a), (right, b)) = (COLOURS[index % 3], COLOURS[(index / 3) % 3]);
        let pixel = |x, y| {
            if (x + y * (index as u32 % 5)) % 8 < 4 {
                Rgb(a)
            } else {
                Rgb(b)
            }
        };
        Ok(CaptionSample {
            image: RgbImage::from_fn(40, 30, pixel),
            caption: format!("{left} and {right}"),
        })
    }

    /// The left half matters.
    fn relevance(&self, _: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
        let token = |i| f32::from(layout.area(i).is_some_and(|area| area.left < 0.5));
        Ok(Some((0..layout.n_tokens()).map(token).collect()))
    }
}

fn settings() -> TrainConfig {
    let mut config = TrainConfig {
        steps: 8,
        batch: 6,
        shards: Some(3),
        warmup: 2,
        lr: 1e-2,
        checkpoint_every: 2,
        threads: 2,
        ..Default::default()
    };
    config.validation.every = 3;
    config.validation.size = 5;
    config.diffprune.budget = Budget::rate(1, 4);
    config.diffprune.scorer = ScorerChoice::Preset(ScorerPreset::Mini);
    config
}

fn gumbel(backward: GumbelBackward) -> TrainConfig {
    let mut config = settings();
    config.diffprune.method = GumbelSte::new(backward).into();
    config
}

fn run(
    config: &TrainConfig,
    out: &Path,
    stop_after: Option<usize>,
) -> Result<diffprune::TrainReport, TrainError> {
    let vlm = tiny();
    let mut trainer = Trainer::new(&vlm, config);
    if let Some(steps) = stop_after {
        trainer = trainer.stop_after(steps);
    }
    trainer.run(&Stripes(20), Some(&Stripes(7)), out, &mut Progress::silent())
}

/// The files of a finished run that must not depend on how it came about.
fn result(out: &Path) -> Vec<Vec<u8>> {
    [
        "model.safetensors",
        "diffprune.json",
        "metrics.jsonl",
        "train.toml",
    ]
    .iter()
    .map(|name| fs::read(out.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
    .collect()
}

#[test]
fn interrupted_runs_end_with_the_same_bits() {
    let _guard = alone();
    for config in [
        settings(),
        gumbel(GumbelBackward::Identity),
        gumbel(GumbelBackward::Soft),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
        let report = run(&config, &whole, None).unwrap();
        assert!(report.finished && report.steps == 8);
        for stop in [1, 5, 6] {
            let report = run(&config, &torn, Some(stop)).unwrap();
            assert!(!report.finished && report.steps == stop);
            assert!(!torn.join("model.safetensors").exists());
        }
        // Another number of threads makes no difference either.
        let other = TrainConfig {
            threads: 1,
            ..config.clone()
        };
        assert_eq!(
            run(&other, &torn, None).unwrap().best_val_nll,
            report.best_val_nll
        );
        assert_eq!(result(&whole), result(&torn));
        assert_eq!(
            run(&config, &torn, None).unwrap().last_nll,
            None,
            "nothing is left to do"
        );
        assert_eq!(result(&whole), result(&torn));
    }
}

#[test]
fn a_killed_run_ends_with_the_same_bits() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    run(&long(), &whole, None).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_run_that_is_killed", "--test-threads", "1"])
        .env("DIFFPRUNE_TEST_KILLED_RUN", &killed)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let begun = || fs::read_dir(killed.join("checkpoints")).is_ok_and(|entries| entries.count() > 0);
    while !begun() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // On Unix this is SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        !killed.join("model.safetensors").exists(),
        "the run was over before it was killed"
    );
    run(&long(), &killed, None).unwrap();
    assert_eq!(result(&whole), result(&killed));
}

fn long() -> TrainConfig {
    TrainConfig {
        steps: 40,
        checkpoint_every: 1,
        ..settings()
    }
}

#[test]
fn the_run_that_is_killed() {
    if let Ok(out) = std::env::var("DIFFPRUNE_TEST_KILLED_RUN") {
        run(&long(), Path::new(&out), None).unwrap();
    }
}

#[derive(Default)]
struct Bits(Vec<u32>);

impl ModuleVisitor for Bits {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.extend(
            param
                .val()
                .without_autodiff()
                .into_data()
                .iter::<f32>()
                .map(f32::to_bits),
        );
    }
}

fn bits<M: Module>(module: &M) -> Vec<u32> {
    let mut bits = Bits::default();
    module.visit(&mut bits);
    bits.0
}

#[test]
fn the_loss_falls_and_the_model_stays_frozen() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let vlm = tiny();
    let before = bits(vlm.model());
    let mut config = TrainConfig {
        steps: 60,
        ..settings()
    };
    config.validation.every = 20;
    let progress = &mut Progress::silent();
    let report = train(
        &vlm,
        &Stripes(12),
        Some(&Stripes(6)),
        &config,
        folder.path(),
        progress,
    )
    .unwrap();
    assert_eq!(before, bits(vlm.model()));
    let lines = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |key: &str| -> Vec<f64> { lines.iter().filter_map(|line| line[key].as_f64()).collect() };
    let nll = of("nll");
    assert_eq!(nll.len(), 60);
    let budget = config.diffprune.budget.resolve(n_tokens(&vlm)).unwrap() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (first, last) = (mean(&nll[..5]), mean(&nll[55..]));
    println!("nll {first:.4} -> {last:.4}, validation {:?}", of("val_nll"));
    assert!(last < first - 0.1, "nll {first} -> {last}");
    assert!(
        of("alpha_sum").iter().all(|sum| (sum - budget).abs() < 1e-3),
        "the budget is met at every step"
    );
    let leakage = of("leakage");
    assert!(
        leakage[59] < 0.5 * leakage[0],
        "annealing sharpens: {} -> {}",
        leakage[0],
        leakage[59]
    );
    assert_eq!(of("val_nll").len(), 4);
    assert!(report.best_val_nll.is_some());

    let pruner = LearnedPruner::load(folder.path(), vlm.d_descriptor(), &Device::flex()).unwrap();
    assert_eq!(pruner.name(), "diffprune");
    let Head::Scorer(scorer) = pruner.head() else {
        panic!("{:?}", pruner.head().config());
    };
    assert_eq!(bits(scorer).len(), scorer.config().num_params());
}

#[test]
fn early_stopping_keeps_the_best() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    // So large a rate only makes things worse.
    let mut config = TrainConfig {
        steps: 40,
        lr: 5.0,
        clip_norm: 1e3,
        warmup: 0,
        ..settings()
    };
    config.validation.every = 1;
    config.validation.patience = 3;
    let report = run(&config, folder.path(), None).unwrap();
    assert!(report.stopped_early && report.steps < 40, "{report:?}");
    assert_eq!(report.steps, report.best_step.unwrap() + 3);
    let best = fs::read(folder.path().join("best/model.safetensors")).unwrap();
    assert_eq!(best, fs::read(folder.path().join("model.safetensors")).unwrap());
    assert_eq!(
        run(&config, folder.path(), None).unwrap().steps,
        report.steps,
        "a stopped run stays stopped"
    );
}

/// The trainee of these settings, before any step.
fn trainee(config: &TrainConfig, vlm: &dyn Vlm) -> diffprune::Trainee {
    let init = config.diffprune.init(vlm.d_descriptor(), 1, &Device::flex());
    init.unwrap()
}

fn loss_at(
    model: &diffprune::Trainee,
    vlm: &dyn Vlm,
    config: &TrainConfig,
    indices: &[usize],
) -> diffprune::TrainingLoss {
    try_loss_at(model, vlm, config, indices).unwrap()
}

fn try_loss_at(
    model: &diffprune::Trainee,
    vlm: &dyn Vlm,
    config: &TrainConfig,
    indices: &[usize],
) -> Result<diffprune::TrainingLoss, TrainError> {
    try_loss_on(&Stripes(20), model, vlm, config, indices)
}

/// The loss on samples of `data`, with noise that is the same at every call.
fn try_loss_on(
    data: &dyn CaptionData,
    model: &diffprune::Trainee,
    vlm: &dyn Vlm,
    config: &TrainConfig,
    indices: &[usize],
) -> Result<diffprune::TrainingLoss, TrainError> {
    let store = FeatureStore::new(data, CachePrecision::F32, 0);
    let prompt = CaptionPrompt::new(vlm, "What?", 32).unwrap();
    let draws = indices.iter().map(|&index| index as u64).collect();
    let batch = CaptionBatch {
        store: &store,
        prompt: &prompt,
        indices: indices.to_vec(),
        draws,
        seed: 3,
        tau: 0.5,
        recompute: false,
    };
    training_loss(model, vlm, &config.diffprune, &batch)
}

#[test]
fn gradients_of_the_whole_path_are_slopes() {
    let _guard = alone();
    let (vlm, config) = (tiny(), settings());
    let device = Device::flex();
    let model = config
        .diffprune
        .init(vlm.d_descriptor(), 1, &device.clone().autodiff())
        .unwrap();
    let value = |model: &diffprune::Trainee| {
        f64::from(
            loss_at(model, &vlm, &config, &[0, 4, 5])
                .nll
                .without_autodiff()
                .into_scalar::<f32>(),
        )
    };
    // The scorer alone, then everything: the denoiser's gradient would hide the scorer's.
    for scorer_only in [true, false] {
        let grads = || {
            let mut all = loss_at(&model, &vlm, &config, &[0, 4, 5]).nll.backward();
            match scorer_only {
                true => GradientsParams::from_module(&mut all, &model.head),
                false => GradientsParams::from_grads(all, &model),
            }
        };
        let square = diffprune::training::global_norm(&grads(), &model).powi(2);
        let step = 2e-4 / square.sqrt();
        let moved = |lr: f64| value(&SgdConfig::new().init().step(lr, model.clone(), grads()));
        let slope = (moved(-step) - moved(step)) / (2.0 * step);
        println!("scorer only {scorer_only}: squared norm {square:.6e}, slope {slope:.6e}");
        assert!(square > 1e-12);
        assert!(
            (slope / square - 1.0).abs() < 0.05,
            "slope {slope}, squared norm {square}"
        );
    }
}

#[test]
fn every_curve_trains_the_scorer_through_the_scale_gate_and_some_are_refused_with_noise() {
    let _guard = alone();
    let (vlm, mut config) = (tiny(), settings());
    let device = Device::flex().autodiff();
    let model = config.diffprune.init(vlm.d_descriptor(), 1, &device).unwrap();
    for kind in ThresholdKind::ALL {
        config.diffprune.softtopk.kind = kind;
        config.diffprune.throttler.gate = GateKind::Scale;
        let mut grads = loss_at(&model, &vlm, &config, &[0, 4, 5]).nll.backward();
        let grads = GradientsParams::from_module(&mut grads, &model.head);
        let norm = diffprune::training::global_norm(&grads, &model);
        assert!(norm.is_finite() && norm > 1e-8, "{kind:?}: {norm:e}");

        // Also when nobody has checked the settings.
        config.diffprune.throttler.gate = GateKind::VpNoise;
        match (
            kind.supports_vp_noise(),
            try_loss_at(&model, &vlm, &config, &[0, 4, 5]),
        ) {
            (Ok(()), Ok(loss)) => assert!(loss.nll.into_scalar::<f32>().is_finite()),
            (Err(_), Err(TrainError::Config(error))) => assert_eq!(error.field, "diffprune.softtopk.kind"),
            (expected, found) => panic!("{kind:?}: {expected:?}, {:?}", found.err()),
        }
    }
}

#[test]
fn a_batch_is_the_mean_of_its_samples() {
    let _guard = alone();
    let (vlm, config) = (tiny(), settings());
    let model = trainee(&config, &vlm);
    let sum = |indices: &[usize]| {
        let loss = loss_at(&model, &vlm, &config, indices);
        (
            f64::from(loss.nll.into_scalar::<f32>()) * loss.n_targets as f64,
            loss.n_targets,
        )
    };
    let whole = sum(&[2, 3, 7]);
    let parts = [sum(&[2]), sum(&[3, 7])];
    assert_eq!(whole.1, parts[0].1 + parts[1].1);
    assert!((whole.0 - parts[0].0 - parts[1].0).abs() < 1e-4 * whole.0);
}

#[test]
fn captions_become_targets_with_an_end() {
    let vlm = tiny();
    let prompt = CaptionPrompt::new(&vlm, "Describe the image.", 64).unwrap();
    let batch = prompt.batch(&vlm, &["red and blue".to_string()]).unwrap();
    let pairs = batch.ids[0].iter().zip(&batch.targets[0]);
    let (targets, before): (Vec<_>, Vec<_>) = pairs.partition(|(_, target)| **target);
    let ids = |pairs: Vec<(&u32, &bool)>| -> Vec<u32> { pairs.into_iter().map(|(id, _)| *id).collect() };
    let (targets, before) = (ids(targets), ids(before));
    assert_eq!(targets.last().copied(), vlm.tokenizer().eos_id());
    assert_eq!(vlm.tokenizer().decode(&targets, true).trim(), "red and blue");
    let image = vlm.tokenizer().image_token_id().unwrap();
    assert_eq!(before.iter().filter(|&&id| id == image).count(), 1);
    let cut = CaptionPrompt::new(&vlm, "Describe the image.", 2).unwrap();
    let cut = cut.batch(&vlm, &["red and blue".to_string()]).unwrap();
    assert_eq!(cut.targets[0].iter().filter(|&&target| target).count(), 3);
}

#[test]
fn held_and_recomputed_tokens_are_equal() {
    let (vlm, data) = (tiny(), Stripes(9));
    let tokens = |precision, limit: u64, indices: &[usize]| {
        let store = FeatureStore::new(&data, precision, limit);
        store.encode(&vlm, &[8, 3]).unwrap();
        let (encoded, captions) = store.encode(&vlm, indices).unwrap();
        assert!(store.held_bytes() <= limit);
        assert_eq!(captions.len(), indices.len());
        encoded.tokens.into_data()
    };
    for precision in [CachePrecision::F32, CachePrecision::F16] {
        let fresh = tokens(precision, 0, &[3, 1, 8]);
        assert_eq!(fresh, tokens(precision, 1 << 20, &[3, 1, 8]));
        assert_eq!(fresh, tokens(precision, 3000, &[3, 1, 8]));
    }
}

#[test]
fn bad_input_is_a_typed_error() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut config = settings();
    config.diffprune.budget = Budget::Tokens(0);
    let error = run(&config, &out, None).unwrap_err();
    assert!(
        matches!(&error, TrainError::Config(ConfigError { field, .. }) if field == "diffprune.budget"),
        "{error}"
    );
    assert!(!out.exists(), "nothing is left of a run that could not start");

    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = run(&settings(), &file.join("run"), None).unwrap_err();
    assert!(
        matches!(error, TrainError::State(TrainingError::Io { .. })),
        "{error}"
    );

    let vlm = tiny();
    let error = train(
        &vlm,
        &Stripes(0),
        None,
        &settings(),
        &out,
        &mut Progress::silent(),
    )
    .unwrap_err();
    assert!(
        matches!(error, TrainError::Data(DataError::Empty { .. })),
        "{error}"
    );

    let config = TrainConfig {
        lr: 1e30,
        clip_norm: 1e30,
        warmup: 0,
        ..settings()
    };
    let error = run(&config, &folder.path().join("diverged"), None).unwrap_err();
    assert!(
        matches!(
            error,
            TrainError::NotFinite { .. } | TrainError::Vlm(_) | TrainError::Prune(_)
        ),
        "{error}"
    );
}

#[test]
fn large_budgets_keep_all_and_teach_nothing() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut config = TrainConfig {
        steps: 2,
        ..settings()
    };
    config.diffprune.budget = Budget::Tokens(1000);
    run(&config, folder.path(), None).unwrap();
    let metrics = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let all = format!("\"alpha_sum\":{:?},", n_tokens(&tiny()) as f64);
    assert!(metrics.contains(&all), "{metrics}");
}

#[test]
fn other_settings_and_other_models_are_refused() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    run(&settings(), folder.path(), Some(2)).unwrap();
    let error = run(
        &TrainConfig {
            lr: 0.5,
            ..settings()
        },
        folder.path(),
        None,
    )
    .unwrap_err();
    assert!(
        matches!(&error, TrainError::OtherRun { field, .. } if field == "train.lr"),
        "{error}"
    );

    let text = fs::read_to_string(folder.path().join("train.toml")).unwrap();
    let width = format!("d_descriptor = {}", tiny().d_descriptor());
    assert!(text.contains("tau_end = 0.1") && text.contains(&width), "{text}");
    fs::write(
        folder.path().join("train.toml"),
        text.replace(&width, "d_descriptor = 7"),
    )
    .unwrap();
    let error = run(&settings(), folder.path(), None).unwrap_err();
    assert!(
        matches!(&error, TrainError::OtherRun { field, .. } if field == "vlm.d_descriptor"),
        "{error}"
    );
    fs::write(folder.path().join("train.toml"), "not toml [").unwrap();
    assert!(matches!(
        run(&settings(), folder.path(), None).unwrap_err(),
        TrainError::Toml { .. }
    ));
}

#[test]
fn damaged_checkpoints_are_noticed() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let (whole, damaged) = (folder.path().join("whole"), folder.path().join("damaged"));
    run(&settings(), &whole, None).unwrap();
    run(&settings(), &damaged, Some(5)).unwrap();
    let newest = damaged.join("checkpoints/step-00000004/module.safetensors");
    let bytes = fs::read(&newest).unwrap();

    let mut other = bytes.clone();
    other[..16].copy_from_slice(&[0xff; 16]);
    fs::write(&newest, other).unwrap();
    let error = run(&settings(), &damaged, None).unwrap_err();
    assert!(
        matches!(&error, TrainError::State(TrainingError::Corrupt { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("module.safetensors"), "{error}");

    // A file that was cut off makes the checkpoint incomplete: the run goes back to the one before.
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    run(&settings(), &damaged, None).unwrap();
    assert_eq!(result(&whole), result(&damaged));
}
