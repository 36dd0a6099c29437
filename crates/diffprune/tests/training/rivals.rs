//! The rivals of DiffPrune under the same tests: other operators on the same scorer, and heads of other methods.

use std::fs;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use diffprune::training::Progress;
use diffprune::vlm::{PruneOptions, prepare_encoded};
use diffprune::{
    Atp, Budget, CaptionData, CaptionSample, CheckpointError, ConfigError, DataError, DenoiserConfig,
    DiffPruneConfig, DynamicLlava, DynamicVit, GateKind, GlimpsePrune, GumbelBackward, GumbelSte,
    HeadCheckpoint, HeadConfig, Layout, LearnedPruner, Method, Operator, ScorerChoice, ScorerPreset, Signals,
    SoftTopKKind, ThresholdKind, TrainConfig, Trainer, Vlm, train,
};
use image::RgbImage;

use super::{Stripes, alone, bits, loss_at, result, run, settings, tiny, trainee};

/// Settings of a method; operators with the scale gate.
fn with(method: impl Into<Method>) -> TrainConfig {
    let mut config = settings();
    config.diffprune.method = method.into();
    if matches!(config.diffprune.method, Method::Operator(_)) {
        config.diffprune.throttler.gate = GateKind::Scale;
    }
    config
}

fn with_noise(kind: SoftTopKKind) -> TrainConfig {
    let mut config = with(Operator::new(kind));
    config.diffprune.throttler.gate = GateKind::VpNoise;
    config
}

fn heads() -> Vec<TrainConfig> {
    vec![
        with(DynamicVit::default()),
        with(DynamicLlava::default()),
        with(Atp::default()),
        with(GlimpsePrune::default()),
    ]
}

/// Every operator with the scale gate, three with noise, the hard mask in the noise gate, every head.
fn rivals() -> Vec<TrainConfig> {
    let scaled = SoftTopKKind::ALL.map(|kind| with(Operator::new(kind)));
    let noisy = [
        ThresholdKind::Laplace.into(),
        ThresholdKind::Sigmoid.into(),
        SoftTopKKind::DfTopK,
    ];
    let noisy = noisy.map(with_noise);
    let hard =
        [GumbelBackward::Identity, GumbelBackward::Soft].map(|backward| with(GumbelSte::noise(backward)));
    [scaled.to_vec(), noisy.to_vec(), hard.to_vec(), heads()].concat()
}

/// Paths of parameters without a gradient, or with one that is 0 everywhere.
struct Untrained<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for Untrained<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.grad(self.gradients);
        if !gradient.is_some_and(|gradient| gradient.into_data().iter::<f32>().any(|g| g != 0.0)) {
            self.found.push(self.path.join("."));
        }
    }
}

#[test]
fn gradients_of_every_method_reach_every_parameter() {
    let _guard = alone();
    let vlm = tiny();
    let device = Device::flex().autodiff();
    for mut config in rivals() {
        // A denoiser that starts as the identity hides its inner layers in the first step.
        let denoiser = DenoiserConfig::new(vlm.d_descriptor()).with_zero_init_residual(false);
        config.diffprune.denoiser = Some(denoiser);
        let model = config.diffprune.init(vlm.d_descriptor(), 1, &device).unwrap();
        let gradients = loss_at(&model, &vlm, &config, &[0, 4, 5]).objective().backward();
        let mut visitor = Untrained {
            gradients: &gradients,
            path: vec![],
            found: vec![],
        };
        model.visit(&mut visitor);
        // A key bias shifts all scores of a query alike, so rounding is all the gradient it may have.
        visitor.found.retain(|path| !path.ends_with("k_proj.bias"));
        assert!(
            visitor.found.is_empty(),
            "{:?}: {:?}",
            config.diffprune.method,
            visitor.found
        );
    }
}

#[test]
fn the_batch_of_a_sample_does_not_matter_to_any_method() {
    let _guard = alone();
    let vlm = tiny();
    for config in rivals() {
        let model = trainee(&config, &vlm);
        let sum = |indices: &[usize]| {
            let loss = loss_at(&model, &vlm, &config, indices);
            let weights: Vec<f32> = loss.weights.into_data().iter::<f32>().collect();
            (
                f64::from(loss.nll.into_scalar::<f32>()) * loss.n_targets as f64,
                weights,
            )
        };
        let ((whole, weights), (first, part), (rest, _)) = (sum(&[2, 3, 7]), sum(&[2]), sum(&[3, 7]));
        let name = config.diffprune.method.name();
        assert!(
            (whole - first - rest).abs() < 1e-4 * whole,
            "{name}: {whole} {first} {rest}"
        );
        for (a, b) in weights.iter().zip(&part) {
            assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
        }
    }
}

#[test]
fn interrupted_rivals_end_with_the_same_bits() {
    let _guard = alone();
    let operators = [
        with(Operator::new(ThresholdKind::Clip)),
        with(Operator::new(SoftTopKKind::GumbelSoftmax)),
        with_noise(SoftTopKKind::DfTopK),
    ];
    for config in [heads(), operators.to_vec()].concat() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
        assert!(run(&config, &whole, None).unwrap().finished);
        for stop in [3, 6] {
            assert!(!run(&config, &torn, Some(stop)).unwrap().finished);
        }
        let one_thread = TrainConfig {
            threads: 1,
            ..config.clone()
        };
        run(&one_thread, &torn, None).unwrap();
        assert_eq!(result(&whole), result(&torn), "{:?}", config.diffprune.method);
        let metadata = HeadCheckpoint::metadata(&whole).unwrap();
        assert_eq!(metadata.method, config.diffprune.method.name());
    }
}

#[test]
fn tensors_of_unfinished_runs_keep_their_names() {
    let _guard = alone();
    // Names that runs had when there was nothing but a scorer: they can still be continued.
    for (config, name) in [
        (settings(), "scorer.final_norm.gamma"),
        (with(DynamicVit::default()), "scorer.entry.norm.gamma"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        run(&config, folder.path(), Some(3)).unwrap();
        for file in ["module.safetensors", "optimizer.safetensors"] {
            let bytes = fs::read(folder.path().join("checkpoints/step-00000002").join(file)).unwrap();
            assert!(String::from_utf8_lossy(&bytes).contains(name), "{file}: {name}");
        }
    }
}

#[test]
fn losses_of_rivals_fall_and_the_model_stays_frozen() {
    let _guard = alone();
    let vlm = tiny();
    let before = bits(vlm.model());
    let methods = [
        with(Operator::new(ThresholdKind::Clip)),
        // Against the losses of this model, which never learnt anything, the published weights hold no ratio.
        with(DynamicVit { ratio_weight: 1e4 }),
        with(DynamicLlava { ratio_weight: 1e4 }),
        with(Atp::default()),
    ];
    for config in methods {
        let config = TrainConfig {
            steps: 80,
            lr: 2e-2,
            ..config
        };
        let folder = tempfile::tempdir().unwrap();
        let progress = &mut Progress::silent();
        train(&vlm, &Stripes(12), None, &config, folder.path(), progress).unwrap();
        let lines = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        let of = |key: &str| -> Vec<f64> {
            let values = lines
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            values.filter_map(|line| line[key].as_f64()).collect()
        };
        let (nll, penalty, kept) = (of("nll"), of("penalty"), of("alpha_sum"));
        let ends = |values: &[f64]| {
            let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
            (mean(&values[..5]), mean(&values[70..]))
        };
        let name = config.diffprune.method.name();
        println!(
            "{name}: nll {:?}, kept {:?}, penalty {:?}",
            ends(&nll),
            ends(&kept),
            penalty.first().map(|_| ends(&penalty))
        );
        assert!(ends(&nll).1 < ends(&nll).0 - 0.1, "{name}: nll {:?}", ends(&nll));
        match config.diffprune.method {
            Method::Operator(_) => assert!(penalty.is_empty()),
            _ => {
                assert_eq!(penalty.len(), 80);
                let (first, last) = ends(&penalty);
                assert!(last < 0.5 * first, "{name}: penalty {first} -> {last}");
            }
        }
        assert_eq!(before, bits(vlm.model()));
    }
}

/// The tokens that a pruner keeps of some pictures.
fn choice(pruner: &LearnedPruner, vlm: &dyn Vlm, budget: Budget) -> Vec<Vec<usize>> {
    let picture =
        |i: u32| RgbImage::from_fn(40, 30, |x, y| image::Rgb([(x * 5) as u8, (y * 7) as u8, i as u8]));
    let pixels = vlm.preprocess(&[picture(3), picture(200)]).unwrap();
    let encoded = vlm.encode(pixels, Signals::default());
    let images = prepare_encoded(vlm, &encoded, pruner, &PruneOptions::new(budget)).unwrap();
    images.keep().to_vec()
}

/// Stripes about which nothing more is known, from some sample on.
struct Boxless(usize);

impl CaptionData for Boxless {
    fn len(&self) -> usize {
        12
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        Stripes(12).sample(index)
    }

    fn relevance(&self, index: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
        match index < self.0 {
            true => Stripes(12).relevance(index, layout),
            false => Ok(None),
        }
    }
}

#[test]
fn boxes_are_learned_and_data_without_them_is_refused() {
    let _guard = alone();
    let vlm = tiny();
    // As above: the published weights would be nothing beside the losses of this model.
    let config = TrainConfig {
        steps: 200,
        lr: 5e-3,
        ..with(GlimpsePrune {
            dice_weight: 1e3,
            bce_weight: 1e2,
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let (run, refused) = (folder.path().join("run"), folder.path().join("refused"));
    let progress = &mut Progress::silent();
    train(&vlm, &Stripes(12), None, &config, &run, progress).unwrap();
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let penalty: Vec<f64> = lines
        .lines()
        .filter_map(|text| line(text)["penalty"].as_f64())
        .collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&penalty[..5]), mean(&penalty[195..]));
    println!("penalty {first} -> {last}");
    assert!(last < 0.5 * first, "{first} {last}");
    let pruner = LearnedPruner::load(&run, vlm.d_descriptor(), &Device::flex()).unwrap();
    let mut ordered = (0, 0);
    for index in 0..12 {
        let sample = Stripes(12).sample(index).unwrap();
        let encoded = vlm.encode(vlm.preprocess(&[sample.image]).unwrap(), Signals::default());
        let relevance = Stripes(12)
            .relevance(index, &encoded.layouts[0])
            .unwrap()
            .unwrap();
        let scores = pruner.scores(encoded.tokens.clone(), None);
        let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
        for (inside, _) in relevance.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            for (outside, _) in relevance.iter().enumerate().filter(|(_, share)| **share == 0.0) {
                ordered.0 += usize::from(scores[inside] > scores[outside]);
                ordered.1 += 1;
            }
        }
        let kept = |pruner: &LearnedPruner, budget| {
            let options = PruneOptions::new(budget);
            let images = prepare_encoded(&vlm, &encoded, pruner, &options).unwrap();
            images.keep_indices(0).len()
        };
        // The count is the method's own, as far as the budget allows.
        assert!((1..relevance.len()).contains(&kept(&pruner, Budget::All)));
        assert_eq!(kept(&pruner, Budget::Tokens(2)), 2);
        assert_eq!(kept(&pruner.clone().at_budget(), Budget::All), relevance.len());
    }
    // Which tokens a training puts on which side of its threshold depends on the processor's rounding. Untrained, half
    // of the pairs are in order; after this training more than three quarters are, with AVX-512, with AVX2 and with neither.
    assert!(4 * ordered.0 > 3 * ordered.1, "{ordered:?}");

    for known in [0, 6] {
        let progress = &mut Progress::silent();
        let error = train(&vlm, &Boxless(known), None, &config, &refused, progress).unwrap_err();
        let diffprune::TrainError::Data(DataError::NoBoxes { method, samples }) = &error else {
            panic!("{error}");
        };
        assert_eq!(method, "glimpse_prune");
        assert!(samples.iter().any(|&sample| sample >= known) && error.to_string().contains("boxes"));
        assert_eq!(
            refused.exists(),
            known > 0,
            "known at once, or when the sample comes"
        );
    }
    let weights = |dice_weight, bce_weight| {
        let config = with(GlimpsePrune {
            dice_weight,
            bce_weight,
        });
        config.diffprune.resolve(vlm.d_descriptor()).is_ok()
    };
    assert!(weights(1.0, 0.0) && weights(0.0, 0.1));
    assert!(!weights(0.0, 0.0) && !weights(-1.0, 2.0) && !weights(1.0, f64::NAN));
}

#[test]
fn checkpoints_of_every_head_give_the_same_choice() {
    let _guard = alone();
    let vlm = tiny();
    let width = vlm.d_descriptor();
    let device = Device::flex();
    for config in [vec![settings()], heads()].concat() {
        let config = config.diffprune;
        let model = config.init(width, 5, &device).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let metadata =
            HeadCheckpoint::describe(config.method.name(), &model.head).with_vlm(vlm.family().name());
        HeadCheckpoint::save_with_denoiser(folder.path(), &model.head, &model.denoiser, &metadata).unwrap();
        assert_eq!(HeadCheckpoint::metadata(folder.path()).unwrap(), metadata);
        let loaded = LearnedPruner::load(folder.path(), width, &device).unwrap();
        assert_eq!(diffprune::Pruner::name(&loaded), config.method.name());
        assert_eq!(bits(loaded.head()), bits(&model.head));
        let own = LearnedPruner::new(model.head.clone());
        for budget in [Budget::Tokens(3), Budget::rate(1, 2), Budget::All] {
            let found = choice(&loaded, &vlm, budget);
            assert_eq!(found, choice(&own, &vlm, budget));
            let exact = choice(&loaded.clone().at_budget(), &vlm, budget);
            for row in 0..2 {
                let most = budget.resolve(super::n_tokens(&vlm)).unwrap();
                assert!((1..=most).contains(&found[row].len()));
                assert_eq!(exact[row].len(), most);
            }
        }
        let error = LearnedPruner::load(folder.path(), width + 4, &device).unwrap_err();
        assert!(matches!(error, CheckpointError::Width { .. }), "{error}");
        let head = matches!(metadata.sizes.config(), HeadConfig::Scorer(_))
            .then_some("scorer")
            .unwrap_or("selector");
        let path = folder.path().join("diffprune.json");
        let good: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (edit, value) in [
            ("format_version", 99.into()),
            (head, serde_json::json!({"kind": "magic"})),
        ] {
            let mut bad = good.clone();
            bad[edit] = value;
            fs::write(&path, serde_json::to_vec(&bad).unwrap()).unwrap();
            let error = LearnedPruner::load(folder.path(), width, &device).unwrap_err();
            assert!(
                matches!(
                    error,
                    CheckpointError::Version { .. } | CheckpointError::Json { .. }
                ),
                "{error}"
            );
        }
    }
}

#[test]
fn heads_and_tensors_that_do_not_belong_together_are_refused() {
    let _guard = alone();
    let (width, device) = (tiny().d_descriptor(), Device::flex());
    let save = |method: Method, dir: &std::path::Path| {
        let config = with(method).diffprune;
        let model = config.init(width, 5, &device).unwrap();
        let metadata = HeadCheckpoint::describe(method.name(), &model.head);
        HeadCheckpoint::save_with_denoiser(dir, &model.head, &model.denoiser, &metadata).unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let (vit, atp) = (folder.path().join("vit"), folder.path().join("atp"));
    save(DynamicVit::default().into(), &vit);
    save(Atp::default().into(), &atp);
    fs::copy(atp.join("model.safetensors"), vit.join("model.safetensors")).unwrap();
    let error = LearnedPruner::load(&vit, width, &device).unwrap_err();
    assert!(matches!(error, CheckpointError::MissingTensor { .. }), "{error}");
    fs::write(atp.join("model.safetensors"), b"short").unwrap();
    let error = LearnedPruner::load(&atp, width, &device).unwrap_err();
    assert!(matches!(error, CheckpointError::Safetensors { .. }), "{error}");
}

#[test]
fn all_methods_start_from_the_same_scorer_and_denoiser() {
    let _guard = alone();
    let (width, device) = (tiny().d_descriptor(), Device::flex());
    let own = settings().diffprune.init(width, 9, &device).unwrap();
    for config in rivals() {
        let config = config.diffprune;
        let model = config.init(width, 9, &device).unwrap();
        assert_eq!(bits(&model.denoiser), bits(&own.denoiser));
        match config.method.head(width) {
            None => assert_eq!(bits(&model.head), bits(&own.head)),
            Some(head) => assert_eq!(model.head.config(), head),
        }
        assert_eq!(bits(&model), bits(&config.init(width, 9, &device).unwrap()));
    }
}

#[test]
fn unusable_methods_are_refused_before_anything_is_written() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let vlm = tiny();
    let refused = |config: TrainConfig| match Trainer::new(&vlm, &config)
        .run(&Stripes(6), None, &out, &mut Progress::silent())
        .unwrap_err()
    {
        diffprune::TrainError::Config(ConfigError { field, .. }) => field,
        error => panic!("{error}"),
    };
    for kind in SoftTopKKind::ALL {
        if kind.supports_vp_noise().is_err() {
            assert_eq!(refused(with_noise(kind)), "diffprune.method.operator");
        }
    }
    let unheld = Operator {
        operator: SoftTopKKind::GumbelSoftmax,
        ratio_weight: Some(0.0),
    };
    assert_eq!(refused(with(unheld)), "diffprune.method.ratio_weight");
    for weight in [0.0, -1.0, f64::NAN] {
        let vit = DynamicVit { ratio_weight: weight };
        assert_eq!(refused(with(vit)), "diffprune.method.ratio_weight");
        let atp = Atp { count_weight: weight };
        assert_eq!(refused(with(atp)), "diffprune.method.count_weight");
    }
    let head = |method: Method, head: Option<HeadConfig>| {
        let mut config = with(method);
        config.diffprune.selector = head;
        config
    };
    let (vit, llava): (Method, Method) = (DynamicVit::default().into(), DynamicLlava::default().into());
    assert_eq!(
        refused(head(vit, llava.head(vlm.d_descriptor()))),
        "diffprune.selector"
    );
    assert_eq!(
        refused(head(Method::default(), vit.head(vlm.d_descriptor()))),
        "diffprune.selector"
    );
    assert_eq!(
        refused(head(vit, vit.head(vlm.d_descriptor() + 4))),
        "diffprune.selector.d_model"
    );
    assert_eq!(
        refused(head(vit, vit.head(vlm.d_descriptor() + 1))),
        "diffprune.selector"
    );
    assert!(!out.exists());

    // And where nobody has checked: a module that the method does not train.
    let mut config = with(vit);
    let model = trainee(&config, &vlm);
    config.diffprune.method = Method::default();
    let error = super::try_loss_at(&model, &vlm, &config, &[0]).err().unwrap();
    assert!(error.to_string().contains("diffprune.method"), "{error}");
}

#[test]
fn settings_of_methods_survive_toml_and_old_ones_stay_as_they_were() {
    for config in rivals() {
        let resolved = config.diffprune.resolve(32).unwrap();
        let text = toml::to_string(&resolved).unwrap();
        let read: DiffPruneConfig = toml::from_str(&text).unwrap();
        assert_eq!(toml::to_string(&read.resolve(32).unwrap()).unwrap(), text);
    }
    let config = DiffPruneConfig {
        scorer: ScorerChoice::Preset(ScorerPreset::Mini),
        ..Default::default()
    };
    let text = toml::to_string(&config.resolve(32).unwrap()).unwrap();
    assert!(
        !text.contains("selector") && text.contains("kind = \"throttle\""),
        "{text}"
    );
}
