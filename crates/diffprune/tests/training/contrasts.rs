//! The fair contrasts in training, the start as a candidate, and warnings.

use std::fs;
use std::path::Path;

use burn::optim::GradientsParams;
use burn::tensor::Device;
use diffprune::scorer::ScorerCheckpoint;
use diffprune::{
    Budget, DenoiserConfig, DynamicVit, GumbelBackward, GumbelSte, HeadCheckpoint, Method, TrainConfig,
    TrainReport, TrainWarning, Unselected, Vlm, variants,
};

use super::{alone, bits, loss_at, result, run, settings, tiny};

fn with(method: impl Into<Method>) -> TrainConfig {
    let mut config = settings();
    config.diffprune.method = method.into();
    config
}

fn contrasts() -> Vec<TrainConfig> {
    let kinds = [Unselected::Zeroed, Unselected::Noise, Unselected::Removed];
    let both = [GumbelBackward::Identity, GumbelBackward::Soft];
    let all = both.map(|backward| kinds.map(|unselected| with(GumbelSte { backward, unselected })));
    all.concat()
}

/// Norm of the head's gradient, with the same noise for all methods and a denoiser that is no longer the identity that it
/// starts as: its layer norm is then in the way, as it is a few updates into any training.
fn gradient_norm(config: &TrainConfig) -> f64 {
    let (vlm, mut config) = (tiny(), config.clone());
    let denoiser = DenoiserConfig::new(vlm.d_descriptor()).with_zero_init_residual(false);
    config.diffprune.denoiser = Some(denoiser);
    let device = Device::flex().autodiff();
    let model = config.diffprune.init(vlm.d_descriptor(), 1, &device).unwrap();
    let mut gradients = loss_at(&model, &vlm, &config, &[0, 4, 5]).nll.backward();
    let gradients = GradientsParams::from_module(&mut gradients, &model.head);
    diffprune::training::global_norm(&gradients, &model)
}

#[test]
fn gradients_in_the_noise_gate_are_of_the_size_of_diffprunes() {
    let _guard = alone();
    let own = gradient_norm(&settings());
    let norms: Vec<(String, f64)> = contrasts()
        .iter()
        .map(|config| (config.diffprune.method.name(), gradient_norm(config)))
        .collect();
    println!("diffprune {own:.4}, {norms:.4?}");
    let of = |name: &str| {
        norms
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, norm)| *norm)
            .unwrap()
    };
    assert!(norms.iter().all(|(_, norm)| norm.is_finite()), "{norms:?}");
    for name in ["gumbel_noise", "gumbel_noise_soft"] {
        let ratio = of(name) / own;
        assert!((0.02..50.0).contains(&ratio), "{name}: {ratio} times {own}");
    }
    assert!(
        of("gumbel_ste") > 1000.0 * of("gumbel_noise"),
        "zeroed tokens have the steeper loss: {norms:?}"
    );
}

#[test]
fn interrupted_contrasts_and_variants_end_with_the_same_bits() {
    let _guard = alone();
    let named = |name: &str| {
        let mut config = settings();
        let variant = variants().iter().find(|variant| variant.name == name).unwrap();
        config.diffprune = variant.of(&config.diffprune, tiny().d_descriptor());
        config
    };
    let configs = [
        with(GumbelSte::noise(GumbelBackward::Identity)),
        with(GumbelSte::gathered(GumbelBackward::Soft)),
        named("diffprune-no-denoiser"),
        named("diffprune-centred-noise"),
    ];
    for config in configs {
        let folder = tempfile::tempdir().unwrap();
        let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
        let once = run(&config, &whole, None).unwrap();
        assert!(!run(&config, &torn, Some(3)).unwrap().finished);
        let again = run(&config, &torn, None).unwrap();
        assert_eq!(result(&whole), result(&torn), "{:?}", config.diffprune.method);
        let told = |report: TrainReport| (report.warnings, report.start_val_nll, report.best_step);
        assert_eq!(told(once), told(again));
    }
}

#[test]
fn the_state_before_the_first_update_competes() {
    let _guard = alone();
    // With every token kept all states are equally good at inference, and the first of them is the start; the denoiser is
    // trained all the same.
    let mut config = TrainConfig {
        steps: 6,
        ..settings()
    };
    config.diffprune.budget = Budget::All;
    config.validation.every = 2;
    let folder = tempfile::tempdir().unwrap();
    let report = run(&config, folder.path(), None).unwrap();
    assert_eq!(report.best_step, Some(0));
    assert_eq!(report.best_val_nll, report.start_val_nll);
    let vlm = tiny();
    let first = config
        .diffprune
        .init(vlm.d_descriptor(), config.seed, &Device::flex())
        .unwrap();
    let (head, metadata) = HeadCheckpoint::load(folder.path(), &Device::flex()).unwrap();
    assert_eq!(metadata.training.unwrap()["step"], 0);
    assert_eq!(bits(&head), bits(&first.head));
    let denoiser = |folder: &Path| {
        let denoiser = ScorerCheckpoint::load_denoiser(folder, first.denoiser.clone()).unwrap();
        bits(&denoiser)
    };
    assert_eq!(denoiser(folder.path()), bits(&first.denoiser));

    config.validation.keep_best = false;
    let last = tempfile::tempdir().unwrap();
    run(&config, last.path(), None).unwrap();
    assert_ne!(
        denoiser(last.path()),
        bits(&first.denoiser),
        "the last state is another one"
    );
}

#[test]
fn the_best_of_all_validations_is_kept() {
    let _guard = alone();
    // So large a rate goes up and down.
    let mut config = TrainConfig {
        steps: 6,
        lr: 5.0,
        clip_norm: 1e3,
        warmup: 0,
        ..settings()
    };
    config.validation.every = 1;
    let folder = tempfile::tempdir().unwrap();
    let report = run(&config, folder.path(), None).unwrap();
    let metrics = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let lines = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let validations: Vec<(usize, f64)> = lines
        .filter_map(|line| Some((line["step"].as_u64()? as usize, line["val_nll"].as_f64()?)))
        .collect();
    assert_eq!((validations.len(), validations[0].0), (7, 0));
    assert_eq!(report.start_val_nll, Some(validations[0].1));
    let best = validations.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(
        (report.best_step, report.best_val_nll),
        (Some(best.0), Some(best.1))
    );
    let worse = report
        .warnings
        .iter()
        .any(|warning| matches!(warning, TrainWarning::WorseThanStart { .. }));
    assert_eq!(
        worse,
        validations[6].1 > validations[0].1,
        "{:?}",
        report.warnings
    );
}

#[test]
fn another_kept_mass_is_a_warning() {
    let _guard = alone();
    let off = |config: &TrainConfig| {
        let folder = tempfile::tempdir().unwrap();
        let report = run(config, folder.path(), None).unwrap();
        report
            .warnings
            .into_iter()
            .find(|warning| matches!(warning, TrainWarning::OffBudget { .. }))
    };
    assert_eq!(off(&settings()), None, "a soft top-k meets the budget");
    // Without a loss that is worth the name, half of the tokens stay.
    let config = with(DynamicVit { ratio_weight: 1e-6 });
    let Some(TrainWarning::OffBudget { kept, budget }) = off(&config) else {
        panic!("no warning");
    };
    assert!(kept > budget && budget > 1.0, "{kept} {budget}");
}
