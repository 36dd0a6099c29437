//! Order, padding, batch, seed and float type.

use std::sync::{Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Distribution, FloatDType, Gradients, Int, Tensor, TensorData};
use diffprune_scorer::{Scorer, ScorerConfig};
use diffprune_test_support::cases;
use proptest::prelude::*;

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("f32")
}

/// Burn's random numbers come from one generator per process: one test draws at a time.
pub(crate) fn drawing<T>(draw: impl FnOnce() -> T) -> T {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    draw()
}

pub(crate) fn tokens(shape: [usize; 3]) -> Tensor<3> {
    drawing(|| Tensor::random(shape, Distribution::Normal(0.0, 2.0), &Device::flex()))
}

pub(crate) fn scorer(config: &ScorerConfig, seed: u64) -> Scorer {
    scorer_on(&Device::flex(), config, seed)
}

fn scorer_on(device: &Device, config: &ScorerConfig, seed: u64) -> Scorer {
    drawing(|| {
        device.seed(seed);
        config.init(device)
    })
}

/// The largest difference, relative to the spread of the scores.
fn distance(got: Tensor<2>, wanted: Tensor<2>) -> f32 {
    let scale = wanted.clone().abs().max().into_scalar::<f32>();
    (got - wanted).abs().max().into_scalar::<f32>() / scale
}

fn mask(keep: &[bool]) -> Tensor<2, Bool> {
    Tensor::from_data(TensorData::new(keep.to_vec(), [1, keep.len()]), &Device::flex())
}

fn indices(places: &[usize]) -> Tensor<1, Int> {
    let n = places.len();
    let places: Vec<i32> = places.iter().map(|&place| place as i32).collect();
    Tensor::from_data(TensorData::new(places, [n]), &Device::flex())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(24)))]

    #[test]
    fn scores_follow_the_order_of_the_tokens(
        seed in 0u64..1000, order in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(), heads in 1usize..4,
    ) {
        let scorer = scorer(&ScorerConfig::new(6 * heads, heads), seed);
        let x = tokens([2, 9, 6 * heads]);
        let moved = scorer.forward(x.clone().select(1, indices(&order)), None);
        let expected = scorer.forward(x, None).select(1, indices(&order));
        prop_assert!(distance(moved, expected) < 1e-4);
    }

    #[test]
    fn masked_tokens_are_as_good_as_absent(
        seed in 0u64..1000, keep in prop::collection::vec(any::<bool>(), 1..12), loud in 1.0f64..1e4,
    ) {
        let places: Vec<usize> = (0..keep.len()).filter(|&i| keep[i]).collect();
        prop_assume!(!places.is_empty());
        let scorer = scorer(&ScorerConfig::mini(16), seed);
        let x = tokens([1, keep.len(), 16]);
        let hidden = mask(&keep).bool_not().unsqueeze_dim::<3>(2).expand([1, keep.len(), 16]);
        let padded = x.clone().mask_fill(hidden, loud);
        let masked = scorer.forward(padded, Some(mask(&keep))).select(1, indices(&places));
        let compacted = scorer.forward(x.select(1, indices(&places)), None);
        prop_assert!(distance(masked, compacted) < 1e-4);
    }

    #[test]
    fn samples_of_a_batch_are_independent(seed in 0u64..1000, n in 1usize..9) {
        let scorer = scorer(&ScorerConfig::mini(12), seed);
        let x = tokens([3, n, 12]);
        let together = scorer.forward(x.clone(), None);
        for b in 0..3 {
            let alone = scorer.forward(x.clone().narrow(0, b, 1), None);
            prop_assert!(distance(alone, together.clone().narrow(0, b, 1)) < 1e-4);
        }
    }
}

#[test]
fn a_sample_without_any_real_token_still_has_finite_scores() {
    let scores = scorer(&ScorerConfig::mini(8), 1).forward(tokens([1, 5, 8]), Some(mask(&[false; 5])));
    assert_eq!(scores.dims(), [1, 5]);
    assert!(values(scores).iter().all(|score| score.is_finite()));
}

#[test]
fn other_tokens_matter_to_a_score() {
    let scorer = scorer(&ScorerConfig::mini(8), 1);
    let x = tokens([1, 5, 8]);
    let alone = scorer.forward(x.clone().narrow(1, 0, 1), None);
    let among = scorer.forward(x, None).narrow(1, 0, 1);
    assert!((alone - among).abs().max().into_scalar::<f32>() > 1e-4);
}

#[test]
fn the_input_norm_takes_out_the_scale_of_the_tokens() {
    let x = tokens([1, 6, 16]);
    let normed = scorer(&ScorerConfig::mini(16), 5);
    let raw = scorer(&ScorerConfig::mini(16).with_input_norm(false), 5);
    let change = |scorer: &Scorer| {
        distance(
            scorer.forward(x.clone() * 50.0, None),
            scorer.forward(x.clone(), None),
        )
    };
    assert!(change(&normed) < 1e-3);
    assert!(change(&raw) > 1e-2);
}

#[test]
fn half_precision_tokens_give_full_precision_scores() {
    let scorer = scorer(&ScorerConfig::mini(16), 2);
    let x = tokens([1, 6, 16]).cast(FloatDType::F16);
    let from_half = scorer.forward(x.clone(), None);
    let from_full = scorer.forward(x.cast(FloatDType::F32), None);
    assert_eq!(values(from_half), values(from_full));
}

#[test]
fn the_seed_of_the_device_fixes_the_scores_and_they_differ_from_token_to_token() {
    let x = tokens([1, 6, 16]);
    let scores = |seed| values(scorer(&ScorerConfig::mini(16), seed).forward(x.clone(), None));
    assert_eq!(scores(1), scores(1));
    assert_ne!(scores(1), scores(2));
    assert!(scores(1).windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn every_parameter_gets_a_gradient() {
    let device = Device::flex().autodiff();
    let scorer = scorer_on(&device, &ScorerConfig::mini(8), 1);
    let x = Tensor::from_data(tokens([2, 5, 8]).into_data(), &device);
    let gradients = scorer.forward(x, None).powi_scalar(2).sum().backward();
    let mut trained = Trained {
        gradients: &gradients,
        matrices: 0,
        missing: 0,
    };
    scorer.visit(&mut trained);
    assert_eq!((trained.matrices, trained.missing), (2 * 6 + 1, 0));
}

struct Trained<'a> {
    gradients: &'a Gradients,
    /// Matrices with a gradient other than zero (a key bias has none in exact arithmetic).
    matrices: usize,
    missing: usize,
}

impl ModuleVisitor for Trained<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match param.grad(self.gradients) {
            None => self.missing += 1,
            Some(gradient) if D == 2 && gradient.clone().abs().max().into_scalar::<f32>() > 0.0 => {
                self.matrices += 1
            }
            Some(_) => {}
        }
    }
}

#[test]
fn the_number_of_parameters_is_as_announced() {
    for config in [
        ScorerConfig::base(48),
        ScorerConfig::paper(32),
        ScorerConfig::mini(20)
            .with_n_layers(3)
            .with_input_norm(false)
            .with_d_ff(Some(7)),
    ] {
        assert_eq!(scorer(&config, 0).num_params(), config.num_params(), "{config}");
    }
}

#[test]
#[should_panic(expected = "n_heads 3 does not divide d_model 8")]
fn heads_that_do_not_fit_are_refused() {
    let _ = scorer(&ScorerConfig::new(8, 3), 0);
}
