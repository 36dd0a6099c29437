//! Properties of every head: shapes, gradients, padding, and the published arithmetic.

#[path = "heads/glimpse.rs"]
mod glimpse;

use std::sync::{Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Distribution, Gradients, Tensor, TensorData};
use diffprune_learned::{
    AtpInput, AtpLossConfig, AtpSelectorConfig, AtpStage, AtpThresholdConfig, DecisionInput,
    DynamicLlavaPredictorConfig, DynamicVitPredictorConfig, HeadConfigError, geometric_tau, keep_decision,
    keep_scores, spatial_scores, stage_ratio_loss,
};
use diffprune_softtopk::gumbel_noise;
use proptest::prelude::*;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Burn's random numbers come from one generator per process: one test draws at a time.
fn drawing<T>(seed: u64, draw: impl FnOnce(&Device) -> T) -> T {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let device = Device::flex();
    device.seed(seed);
    draw(&device)
}

/// A module with its values drawn, so that nothing is drawn later.
fn drawn<M: Module>(seed: u64, init: impl FnOnce(&Device) -> M) -> M {
    drawing(seed, |device| {
        let module = init(device);
        module.visit(&mut Values::default());
        module
    })
}

fn tokens(seed: u64, shape: [usize; 3]) -> Tensor<3> {
    drawing(seed, |device| {
        Tensor::random(shape, Distribution::Normal(0.0, 2.0), device)
    })
}

fn mask(rows: &[&[bool]]) -> Tensor<2, Bool> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), &Device::flex())
}

fn noise(seed: u64, batch: usize, n: usize) -> Tensor<3> {
    gumbel_noise([batch, 2 * n], seed, &Device::flex()).reshape([batch, n, 2])
}

/// All parameters in the order of the fields.
#[derive(Default)]
struct Values(Vec<Vec<f64>>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(values(param.val()));
    }
}

/// Parameters without a gradient, or with one that is 0 everywhere.
struct Untrained<'a> {
    gradients: &'a Gradients,
    shapes: Vec<Vec<usize>>,
}

impl ModuleVisitor for Untrained<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.grad(self.gradients);
        let moved = gradient.is_some_and(|gradient| values(gradient).iter().any(|g| *g != 0.0));
        if !moved {
            self.shapes.push(param.val().dims().to_vec());
        }
    }
}

fn untrained(module: &impl Module, loss: Tensor<1>) -> Vec<Vec<usize>> {
    let gradients = loss.backward();
    let mut visitor = Untrained {
        gradients: &gradients,
        shapes: vec![],
    };
    module.visit(&mut visitor);
    visitor.shapes
}

fn small_llava() -> DynamicLlavaPredictorConfig {
    DynamicLlavaPredictorConfig::new(12)
        .with_d_hidden(8)
        .with_n_heads(2)
        .with_d_ff(16)
}

/// A differentiable number that depends on all entries in its own way.
fn weigh(x: Tensor<2>) -> Tensor<1> {
    let count = x.dims().iter().product::<usize>();
    let factors: Vec<f64> = (0..count).map(|i| (i as f64 * 0.7).sin()).collect();
    let factors = Tensor::<2>::from_data(TensorData::new(factors, x.dims()), &Device::flex());
    (x * factors).sum()
}

#[test]
fn decisions_train_every_parameter_of_the_predictors() {
    let x = tokens(1, [2, 7, 12]);
    let input = || DecisionInput {
        tokens: x.clone(),
        keep: None,
        noise: noise(3, 2, 7),
        tau: 0.8,
        mask: None,
    };
    let vit = drawn(2, |device| DynamicVitPredictorConfig::new(12).init(device)).train();
    let decision = vit.decide(input());
    assert_eq!(decision.dims(), [2, 7]);
    assert!(values(decision.clone()).iter().all(|d| *d == 0.0 || *d == 1.0));
    assert_eq!(untrained(&vit, weigh(decision)), Vec::<Vec<usize>>::new());

    let llava = drawn(2, |device| small_llava().init(device)).train();
    let decision = llava.decide(input());
    assert_eq!(decision.dims(), [2, 7]);
    // A key bias shifts all scores of a query alike, so its exact gradient is 0: rounding is all it may have.
    let missing = untrained(&llava, weigh(decision));
    assert!(
        missing.iter().all(|shape| *shape == [8]) && missing.len() <= 2,
        "{missing:?}"
    );
}

#[test]
fn thresholds_train_every_parameter() {
    let selector = drawn(4, |device| AtpSelectorConfig::new(12).init(device)).train();
    // Half of the sample's scores above those of importance, so that both thresholds decide somewhere.
    let spatial = spatial_scores(3, 3, 0.25, &Device::flex()) * 4.0;
    let output = selector.forward(tokens(5, [2, 9, 12]), Some(spatial), None);
    assert_eq!(output.weights.dims(), [2, 9]);
    assert_eq!(output.thresholds.dims(), [2, 2]);
    let loss = AtpLossConfig::new().with_target(1.0);
    let stages = [AtpStage {
        layer: 3,
        weights: output.weights,
    }];
    let loss = loss.loss(&stages, None, &Device::flex());
    assert_eq!(untrained(&selector, loss), Vec::<Vec<usize>>::new());
}

#[test]
fn a_decision_stays_and_hides_nothing_of_what_is_left() {
    let vit = drawn(6, |device| DynamicVitPredictorConfig::new(8).init(device));
    let x = tokens(7, [1, 6, 8]);
    let keep = Tensor::<2>::from_floats([[1.0, 0.0, 1.0, 1.0, 0.0, 1.0]], &Device::flex());
    for seed in 0..20 {
        let input = DecisionInput {
            tokens: x.clone(),
            keep: Some(keep.clone()),
            noise: noise(seed, 1, 6),
            tau: 1.0,
            mask: None,
        };
        let after = values(vit.decide(input));
        assert!(after[1] == 0.0 && after[4] == 0.0, "{after:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn masked_tokens_are_as_good_as_absent(seed in 0u64..1000, holes in prop::collection::vec(any::<bool>(), 9), loud in 1.0f64..1e3) {
        let real: Vec<bool> = (0..9).map(|i| i == 4 || !holes[i]).collect();
        let places: Vec<i32> = (0..9).filter(|&i| real[i as usize]).collect();
        let count = places.len();
        let places = Tensor::<1, burn::tensor::Int>::from_data(TensorData::new(places, [count]), &Device::flex());
        let mask = mask(&[&real]);
        let hidden = mask.clone().bool_not().reshape([1, 9, 1]).expand([1, 9, 12]);
        let x = tokens(seed, [1, 9, 12]);
        let padded = x.clone().mask_fill(hidden, loud);
        let compact = x.select(1, places.clone());
        let near = |masked: Tensor<2>, alone: Tensor<2>| {
            let masked = values(masked.select(1, places.clone()));
            masked.iter().zip(values(alone)).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs()))
        };
        let vit = drawn(seed, |device| DynamicVitPredictorConfig::new(12).init(device));
        prop_assert!(near(vit.forward(padded.clone(), Some(mask.clone())), vit.forward(compact.clone(), None)));
        let llava = drawn(seed, |device| small_llava().init(device));
        prop_assert!(near(llava.forward(padded.clone(), Some(mask.clone())), llava.forward(compact.clone(), None)));
        let atp = drawn(seed, |device| AtpSelectorConfig::new(12).init(device));
        let masked = atp.forward(padded, None, Some(mask));
        let alone = atp.forward(compact, None, None);
        let weights = values(masked.weights.clone());
        prop_assert!(near(masked.weights, alone.weights));
        let keep: Vec<bool> = masked.keep.into_data().iter::<bool>().collect();
        prop_assert!((0..9).all(|i| real[i] || (weights[i] == 0.0 && !keep[i])));
    }

    #[test]
    fn images_of_a_batch_are_independent(seed in 0u64..1000, n in 1usize..9) {
        let x = tokens(seed, [3, n, 12]);
        let vit = drawn(seed, |device| DynamicVitPredictorConfig::new(12).init(device));
        let llava = drawn(seed, |device| small_llava().init(device));
        let heads: [&dyn Fn(Tensor<3>) -> Tensor<2>; 2] = [&|x| vit.forward(x, None), &|x| llava.forward(x, None)];
        for head in heads {
            let together = values(head(x.clone()));
            for b in 0..3 {
                let alone = values(head(x.clone().narrow(0, b, 1)));
                prop_assert!(alone.iter().zip(&together[b * n..]).all(|(a, t)| (a - t).abs() < 1e-5));
            }
        }
    }
}

fn gelu(x: f64) -> f64 {
    // The error function by its integral, Simpson's rule.
    let (steps, top) = (2000, x / 2f64.sqrt());
    let h = top / f64::from(steps);
    let area: f64 = (0..=steps)
        .map(|i| {
            let weight = if i == 0 || i == steps {
                1.0
            } else {
                f64::from(2 + 2 * (i % 2))
            };
            weight * (-(f64::from(i) * h).powi(2)).exp()
        })
        .sum();
    let erf = area * h / 3.0 * 2.0 / std::f64::consts::PI.sqrt();
    0.5 * x * (1.0 + erf)
}

/// `x W + b` with `W` in rows of inputs.
fn dense(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let columns = bias.len();
    let product = |column: usize| -> f64 { (0..x.len()).map(|i| x[i] * weight[i * columns + column]).sum() };
    (0..columns)
        .map(|column| product(column) + bias[column])
        .collect()
}

#[test]
fn the_dynamicvit_predictor_is_the_published_arithmetic() {
    let d = 8;
    let vit = drawn(11, |device| DynamicVitPredictorConfig::new(d).init(device));
    let mut parameters = Values::default();
    vit.visit(&mut parameters);
    // gamma, beta, then weight and bias of four layers.
    let [_, _, w0, b0, w1, b1, w2, b2, w3, b3] = parameters.0.try_into().unwrap();
    let x = tokens(12, [1, 5, d]);
    let keep = [1.0, 0.0, 1.0, 1.0, 0.0];
    let z: Vec<Vec<f64>> = values(x.clone())
        .chunks(d)
        .map(|x| {
            let mean = x.iter().sum::<f64>() / d as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let normed: Vec<f64> = x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt()).collect();
            dense(&normed, &w0, &b0).into_iter().map(gelu).collect()
        })
        .collect();
    let global: Vec<f64> = (d / 2..d)
        .map(|c| z.iter().zip(keep).map(|(z, keep)| keep * z[c]).sum::<f64>() / 3.0)
        .collect();
    let mut wanted = vec![];
    for z in &z {
        let joined = [&z[..d / 2], &global].concat();
        let hidden: Vec<f64> = dense(&joined, &w1, &b1).into_iter().map(gelu).collect();
        let hidden: Vec<f64> = dense(&hidden, &w2, &b2).into_iter().map(gelu).collect();
        wanted.extend(dense(&hidden, &w3, &b3));
    }
    let keep = Tensor::<2>::from_data(TensorData::new(keep.to_vec(), [1, 5]), &Device::flex());
    let logits = vit.logits(x, keep);
    let size = wanted.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    let found = values(logits.clone());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!((found - wanted).abs() < 1e-5 * size, "{found} for {wanted}");
    }
    let scores = values(keep_scores(logits));
    for (score, pair) in scores.iter().zip(wanted.chunks(2)) {
        let log_softmax = pair[0] - (pair[0].exp() + pair[1].exp()).ln();
        assert!((score - log_softmax).abs() < 1e-6);
    }
}

#[test]
fn a_decision_is_the_larger_perturbed_logit() {
    let device = Device::flex();
    let logits = Tensor::<3>::from_floats([[[0.0, 1.0], [2.0, 1.0], [5.0, 0.0]]], &device);
    let noise = Tensor::<3>::from_floats([[[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]], &device);
    let keep = Tensor::<2>::from_floats([[1.0, 1.0, 0.0]], &device);
    assert_eq!(values(keep_decision(logits, noise, 1.0, keep)), [1.0, 0.0, 0.0]);
}

#[test]
fn thresholds_are_compared_as_published() {
    let device = Device::flex();
    let head = drawn(1, |device| {
        AtpThresholdConfig::new().with_sharpness(10.0).init(device)
    });
    let output = head.forward(AtpInput {
        scores: Tensor::from_floats([[0.9, 0.1, 0.2, 0.6]], &device),
        spatial: Some(Tensor::from_floats([[0.0, 0.0, 0.7, 0.3]], &device)),
        features: Tensor::from_floats([[0.4, 0.3]], &device),
        mask: None,
    });
    let thresholds = values(output.thresholds);
    assert!(thresholds.iter().all(|t| (t - 0.5).abs() < 0.1), "{thresholds:?}");
    let sigmoid = |x: f64| 1.0 / (1.0 + (-10.0 * x).exp());
    let pairs = [(0.9, 0.0), (0.1, 0.0), (0.2, 0.7), (0.6, 0.3)];
    let wanted = pairs.map(|(s, p)| sigmoid(s - thresholds[0]).max(sigmoid(p - thresholds[1])));
    for (found, wanted) in values(output.weights).iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
    }
    let keep: Vec<bool> = output.keep.into_data().iter::<bool>().collect();
    assert_eq!(keep, [true, false, true, true]);
}

#[test]
fn losses_are_the_published_sums() {
    let device = Device::flex();
    let halves = |a: f32, b: f32| Tensor::<2>::from_floats([[a, a, b, b], [b, b, b, b]], &device);
    let stages = [halves(1.0, 0.5), halves(0.5, 0.25)];
    // Kept: 3 and 2 of 4 after the first stage, 1.5 and 1 after the second.
    let wanted = (0.5 * ((0.75_f64 - 0.6).powi(2) + (0.5_f64 - 0.6).powi(2))
        + 0.5 * ((0.375_f64 - 0.36).powi(2) + (0.25_f64 - 0.36).powi(2)))
        / 2.0;
    let found = values(stage_ratio_loss(&stages, 0.6, None, &device))[0];
    assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
    assert_eq!(values(stage_ratio_loss(&[], 0.6, None, &device)), [0.0]);

    let stages: Vec<AtpStage> = stages
        .into_iter()
        .zip([4, 14])
        .map(|(weights, layer)| AtpStage { layer, weights })
        .collect();
    let loss = AtpLossConfig::new().with_target(1.0);
    let wanted = 0.05 * (0.625 * 4.0 + 0.3125 * 14.0) + 0.2 * ((2.5 + 1.25) / 2.0 - 1.0);
    let found = values(loss.loss(&stages, None, &device))[0];
    assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
    // Two real tokens in the first image and all in the second.
    let mask = mask(&[&[true, true, false, false], &[true; 4]]);
    let wanted =
        0.05 * ((1.0 + 0.5) / 2.0 * 4.0 + (0.5 + 0.25) / 2.0 * 14.0) + 0.2 * ((2.0 + 1.0) / 2.0 - 1.0);
    let found = values(loss.loss(&stages, Some(&mask), &device))[0];
    assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
}

#[test]
fn the_spatial_sample_is_a_grid() {
    let scores = values(spatial_scores(4, 6, 0.25, &Device::flex()));
    let on: Vec<usize> = (0..24).filter(|&i| scores[i] > 0.0).collect();
    assert_eq!(on, [0, 2, 4, 12, 14, 16]);
    assert!((scores[0] - 0.25).abs() < 1e-6);
    assert!(
        values(spatial_scores(2, 2, 0.5, &Device::flex()))
            .iter()
            .all(|s| *s == 0.0)
    );
}

#[test]
fn the_temperature_falls_geometrically() {
    assert_eq!(geometric_tau(1.0, 0.1, 0, 100), 1.0);
    assert!((geometric_tau(1.0, 0.1, 50, 100) - 0.1_f64.sqrt()).abs() < 1e-12);
    assert!((geometric_tau(1.0, 0.1, 200, 100) - 0.1).abs() < 1e-12);
    assert!((geometric_tau(1.0, 0.1, 0, 0) - 0.1).abs() < 1e-12);
}

#[test]
fn unfit_sizes_are_named() {
    let error = DynamicVitPredictorConfig::new(10).check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "d_model is 10, expected a positive multiple of 4"
    );
    let heads = DynamicLlavaPredictorConfig::new(16)
        .with_d_hidden(12)
        .with_n_heads(5);
    assert!(matches!(
        heads.check(),
        Err(HeadConfigError::Width {
            field: "d_hidden",
            ..
        })
    ));
    let soft = AtpThresholdConfig::new().with_sharpness(0.0);
    assert!(matches!(
        soft.check(),
        Err(HeadConfigError::Number {
            field: "sharpness",
            ..
        })
    ));
    let three = AtpSelectorConfig::new(8).with_threshold(AtpThresholdConfig::new().with_n_features(3));
    assert!(three.check().unwrap_err().to_string().contains("n_features is 3"));
}

#[test]
#[should_panic(expected = "d_model is 0")]
fn a_width_of_nothing_is_refused() {
    let _ = AtpSelectorConfig::new(0).init(&Device::flex());
}
