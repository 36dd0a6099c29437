//! Properties of every denoiser.

use std::sync::{Mutex, PoisonError};

use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Distribution, Tensor};
use diffprune_denoiser::{Denoiser, DenoiserAttention, DenoiserConfig};
use diffprune_test_support::cases;
use proptest::prelude::*;

/// Burn's random numbers come from one generator per process: one test draws at a time.
fn drawing<T>(draw: impl FnOnce() -> T) -> T {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    draw()
}

fn init(config: DenoiserConfig, seed: u64) -> Denoiser {
    let device = Device::flex();
    drawing(|| {
        device.seed(seed);
        config.with_zero_init_residual(false).init(&device)
    })
}

fn tokens(shape: [usize; 3]) -> Tensor<3> {
    drawing(|| Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex()))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("f32")
}

/// Replaces token `j` of every sample by noise.
fn replace_token(x: Tensor<3>, j: usize) -> Tensor<3> {
    let [batch, _, d] = x.dims();
    x.slice_assign([0..batch, j..j + 1, 0..d], tokens([batch, 1, d]) * 30.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(24)))]

    #[test]
    fn diagonal_attention_never_mixes_tokens(
        seed in 0u64..1000, n in 2usize..9, d in 1usize..20, norm_first: bool, at in 0usize..8,
    ) {
        let denoiser = init(DenoiserConfig::new(d).with_norm_first(norm_first), seed);
        let x = tokens([2, n, d]);
        let j = at % n;
        let before = denoiser.forward(x.clone(), None);
        let after = denoiser.forward(replace_token(x, j), None);
        for i in (0..n).filter(|&i| i != j) {
            let token = |y: &Tensor<3>| values(y.clone().slice([0..2, i..i + 1, 0..d]));
            prop_assert_eq!(token(&before), token(&after));
        }
    }

    #[test]
    fn samples_of_a_batch_are_independent(seed in 0u64..1000, n in 1usize..7, global: bool) {
        let attention = if global { DenoiserAttention::Global } else { DenoiserAttention::Diagonal };
        let denoiser = init(DenoiserConfig::new(12).with_n_heads(3).with_attention(attention), seed);
        let x = tokens([3, n, 12]);
        let together = denoiser.forward(x.clone(), None);
        for b in 0..3 {
            let alone = denoiser.forward(x.clone().slice([b..b + 1, 0..n, 0..12]), None);
            let error = (alone - together.clone().slice([b..b + 1, 0..n, 0..12])).abs().max().into_scalar::<f32>();
            prop_assert!(error < 1e-5, "{}", error);
        }
    }
}

#[test]
fn global_attention_mixes_tokens() {
    let denoiser = init(
        DenoiserConfig::new(8)
            .with_n_heads(2)
            .with_attention(DenoiserAttention::Global),
        3,
    );
    let x = tokens([1, 4, 8]);
    let first = |y: Tensor<3>| y.slice([0..1, 0..1, 0..8]);
    let before = first(denoiser.forward(x.clone(), None));
    let after = first(denoiser.forward(replace_token(x, 3), None));
    assert!((before - after).abs().max().into_scalar::<f32>() > 1e-3);
}

#[test]
fn masked_tokens_are_as_good_as_absent() {
    let device = Device::flex();
    let denoiser = init(
        DenoiserConfig::new(8)
            .with_n_heads(2)
            .with_attention(DenoiserAttention::Global),
        4,
    );
    let x = tokens([1, 6, 8]);
    let mask = Tensor::<2, Bool>::from_data([[true, true, true, true, false, false]], &device);
    let masked = denoiser.forward(x.clone(), Some(mask)).slice([0..1, 0..4, 0..8]);
    let short = denoiser.forward(x.slice([0..1, 0..4, 0..8]), None);
    assert!((masked - short).abs().max().into_scalar::<f32>() < 1e-5);
}

#[test]
fn an_untrained_denoiser_is_the_identity_and_can_still_learn() {
    let device = Device::flex().autodiff();
    let denoiser = drawing(|| DenoiserConfig::new(8).init(&device));
    let x = Tensor::<3>::from_data(tokens([1, 3, 8]).into_data(), &device);
    let y = denoiser.forward(x.clone(), None);
    assert_eq!(values(y.clone().without_autodiff()), values(x.without_autodiff()));
    let gradients = y.powi_scalar(2).sum().backward();
    for last in [&denoiser.attn.out_proj.weight, &denoiser.linear2.weight] {
        let size = last
            .grad(&gradients)
            .expect("gradient")
            .abs()
            .max()
            .into_scalar::<f32>();
        assert!(size > 1e-3, "a zero layer without gradient would stay zero");
    }
}

#[test]
fn the_seed_of_the_device_fixes_the_weights() {
    let weights = |seed| {
        let denoiser = init(DenoiserConfig::new(8), seed);
        // Reading in another order than the fields' must not matter.
        [&denoiser.linear2.weight, &denoiser.attn.v_proj.weight].map(|p: &Param<Tensor<2>>| values(p.val()))
    };
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
}

#[test]
fn the_documented_size_is_the_real_one() {
    assert_eq!(init(DenoiserConfig::new(1024), 0).num_params(), 10_497_024);
    let global = DenoiserConfig::new(64).with_attention(DenoiserAttention::Global);
    let global = init(global, 0);
    assert_eq!(
        global.num_params(),
        4 * (64 * 64 + 64) + 2 * 64 * 256 + 256 + 64 + 4 * 64
    );
}

#[test]
#[should_panic(expected = "n_heads 16 must divide d_model 20")]
fn heads_that_do_not_fit_are_refused() {
    let _ = init(
        DenoiserConfig::new(20).with_attention(DenoiserAttention::Global),
        0,
    );
}
