//! Laws of the gate on random input.

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use diffprune_test_support::cases;
use diffprune_throttler::{
    GateFamily, GateKind, NoiseScale, Throttler, ThrottlerConfig, ThrottlerInput, noise,
};
use proptest::prelude::*;

const FAMILIES: [GateFamily; 2] = [GateFamily::Laplace, GateFamily::Sigmoid];

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// `alpha` and `beta` of a curve, in f64.
fn weights(family: GateFamily, u: f64) -> (f64, f64) {
    let e = (-u.abs()).exp();
    let (small, large) = match family {
        GateFamily::Laplace => (0.5 * e, 1.0 - 0.5 * e),
        GateFamily::Sigmoid => (e / (1.0 + e), 1.0 / (1.0 + e)),
    };
    if u > 0.0 { (large, small) } else { (small, large) }
}

fn column(values: Vec<f64>, dtype: DType) -> Tensor<2> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [1, n]), (&Device::flex(), dtype))
}

/// Tokens `[1, n, d]` gated at the arguments `u`, with the tracked tokens and arguments.
fn gate(
    throttler: &Throttler,
    family: GateFamily,
    u: &[f64],
    d: usize,
    dtype: DType,
) -> (Tensor<3>, Tensor<3>, Tensor<2>) {
    let device = Device::flex();
    let tokens = noise([1, u.len(), d], 1, 1, &device)
        .cast(dtype)
        .autodiff()
        .require_grad();
    let argument = column(u.to_vec(), dtype).autodiff().require_grad();
    let gated = throttler.forward(ThrottlerInput {
        tokens: tokens.clone(),
        weights: column(u.iter().map(|&u| weights(family, u).0).collect(), dtype),
        complement: column(u.iter().map(|&u| weights(family, u).1).collect(), dtype),
        argument: argument.clone(),
        family,
        noise: noise([1, u.len(), d], 2, 1, &device),
        mask: None,
    });
    (gated, tokens, argument)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(64)))]

    #[test]
    fn gradients_are_finite_up_to_the_extremes(u in prop::collection::vec(-200.0..200.0_f64, 1..20)) {
        let u: Vec<f64> = u.into_iter().chain([-1e4, -200.0, -104.0, -0.0, 0.0, 17.5, 88.0, 200.0, 1e4]).collect();
        for (family, dtype) in FAMILIES.into_iter().flat_map(|f| [(f, DType::F32), (f, DType::F64)]) {
            let (gated, tokens, argument) = gate(&ThrottlerConfig::new().init(), family, &u, 3, dtype);
            let grads = gated.clone().sum().backward();
            let finite = |x: Vec<f64>| x.iter().all(|x| x.is_finite());
            prop_assert!(finite(values(gated)));
            prop_assert!(finite(values(tokens.grad(&grads).unwrap())));
            prop_assert!(finite(values(argument.grad(&grads).unwrap())));
        }
    }

    #[test]
    fn the_gradient_in_the_argument_equals_finite_differences(u in prop::collection::vec(-30.0..30.0_f64, 1..12)) {
        let throttler = ThrottlerConfig::new().with_noise_scale(NoiseScale::Unit).init();
        for family in FAMILIES {
            let (gated, _, argument) = gate(&throttler, family, &u, 3, DType::F64);
            let found = values(argument.grad(&gated.sum().backward()).unwrap());
            for (i, found) in found.into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut u = u.clone();
                    u[i] += by;
                    values(gate(&throttler, family, &u, 3, DType::F64).0).iter().sum::<f64>()
                };
                let wanted = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                prop_assert!((found - wanted).abs() < 1e-6, "{family:?} u {}: {found} for {wanted}", u[i]);
            }
        }
    }
}

#[test]
fn an_open_gate_is_the_identity_and_a_closed_one_carries_nothing() {
    for scale in [NoiseScale::Unit, NoiseScale::TokenStd, NoiseScale::ChannelStd] {
        let throttler = ThrottlerConfig::new().with_noise_scale(scale).init();
        let (open, tokens, _) = gate(&throttler, GateFamily::Laplace, &[1e4; 4], 5, DType::F32);
        assert_eq!(values(open), values(tokens));
    }
    let throttler = ThrottlerConfig::new().with_noise_scale(NoiseScale::Unit).init();
    let (closed, tokens, _) = gate(&throttler, GateFamily::Laplace, &[-1e4; 4], 5, DType::F32);
    assert_eq!(
        values(closed.clone()),
        values(noise([1, 4, 5], 2, 1, &Device::flex()))
    );
    let grads = closed.sum().backward();
    assert!(values(tokens.grad(&grads).unwrap()).iter().all(|g| *g == 0.0));
}

#[test]
fn the_second_moment_is_kept() {
    let device = Device::flex();
    let shape = [1, 400, 64];
    // Channels of unequal size, mean zero.
    let sizes = Tensor::<1>::arange_sizes(&device);
    let tokens = noise(shape, 3, 0, &device) * sizes.reshape([1, 1, 64]);
    let mean_square = |x: Tensor<3>| values((x.clone() * x).mean())[0];
    let wanted = mean_square(tokens.clone());
    for alpha in [0.0, 0.1, 0.5, 0.9, 1.0] {
        let fill = |a: f64| Tensor::<2>::full([1, 400], a, &device);
        for scale in [NoiseScale::TokenStd, NoiseScale::ChannelStd] {
            let gated = ThrottlerConfig::new()
                .with_noise_scale(scale)
                .init()
                .forward(ThrottlerInput {
                    tokens: tokens.clone(),
                    weights: fill(alpha),
                    complement: fill(1.0 - alpha),
                    argument: fill(0.0),
                    family: GateFamily::Laplace,
                    noise: noise(shape, 4, 0, &device),
                    mask: None,
                });
            let found = mean_square(gated);
            assert!(
                (found / wanted - 1.0).abs() < 0.03,
                "alpha {alpha} {scale:?}: {found} for {wanted}"
            );
        }
    }
}

/// Sizes of 64 channels: 0.1 to 6.4.
trait Sizes {
    fn arange_sizes(device: &Device) -> Self;
}

impl Sizes for Tensor<1> {
    fn arange_sizes(device: &Device) -> Self {
        let sizes: Vec<f32> = (1..=64).map(|i| 0.1 * i as f32).collect();
        Tensor::from_data(TensorData::new(sizes, [64]), device)
    }
}

#[test]
fn padding_does_not_change_the_noise_scale() {
    let device = Device::flex();
    let tokens = noise([1, 6, 4], 3, 0, &device);
    let eps = noise([1, 6, 4], 4, 0, &device);
    let real = Tensor::<2, Bool>::from_data(
        TensorData::from([[true, true, true, true, false, false]]),
        &device,
    );
    for scale in [NoiseScale::TokenStd, NoiseScale::ChannelStd] {
        let run = |tokens: Tensor<3>, n: usize, mask: Option<Tensor<2, Bool>>| {
            let fill = Tensor::<2>::full([1, n], 0.5, &device);
            let gated = ThrottlerConfig::new()
                .with_noise_scale(scale)
                .init()
                .forward(ThrottlerInput {
                    tokens,
                    weights: fill.clone(),
                    complement: fill.clone(),
                    argument: fill,
                    family: GateFamily::Sigmoid,
                    noise: eps.clone().slice([0..1, 0..n, 0..4]),
                    mask,
                });
            values(gated.slice([0..1, 0..4, 0..4]))
        };
        let padded = tokens.clone().slice_fill([0..1, 4..6, 0..4], 1e3);
        let alone = run(tokens.clone().slice([0..1, 0..4, 0..4]), 4, None);
        let found = run(padded, 6, Some(real.clone()));
        assert!(
            found.iter().zip(&alone).all(|(f, a)| (f - a).abs() < 1e-5),
            "{scale:?}"
        );
    }
}

#[test]
fn the_scale_gate_multiplies_and_takes_its_gradient_through_the_weights() {
    let device = Device::flex().autodiff();
    let tokens = noise([1, 2, 3], 5, 0, &device);
    let weights = Tensor::<2>::from_floats([[0.25, 0.0]], &device).require_grad();
    let gated = ThrottlerConfig::new()
        .with_gate(GateKind::Scale)
        .init()
        .forward(ThrottlerInput {
            tokens: tokens.clone(),
            weights: weights.clone(),
            complement: weights.clone().neg() + 1.0,
            argument: Tensor::zeros([1, 2], &device),
            family: GateFamily::Laplace,
            noise: noise([1, 2, 3], 6, 0, &device),
            mask: None,
        });
    let wanted: Vec<f64> = values(tokens.clone())
        .iter()
        .enumerate()
        .map(|(i, x)| if i < 3 { 0.25 * x } else { 0.0 })
        .collect();
    assert_eq!(values(gated.clone()), wanted);
    let found = values(weights.grad(&gated.sum().backward()).unwrap());
    let wanted = values(tokens.sum_dim(2));
    assert!(found.iter().zip(&wanted).all(|(f, w)| (f - w).abs() < 1e-6));
}

#[test]
fn half_precision_tokens_stay_half() {
    let device = Device::flex();
    let fill = Tensor::<2>::full([1, 2], 0.5, &device);
    let gated = ThrottlerConfig::new().init().forward(ThrottlerInput {
        tokens: noise([1, 2, 3], 5, 0, &device).cast(DType::F16),
        weights: fill.clone(),
        complement: fill.clone(),
        argument: fill,
        family: GateFamily::Laplace,
        noise: noise([1, 2, 3], 6, 0, &device),
        mask: None,
    });
    assert_eq!(gated.dtype(), DType::F16);
}

#[test]
fn noise_repeats_by_seed_and_step_and_does_not_depend_on_threads_or_shape() {
    let device = Device::flex();
    let draw = |shape, seed, step| {
        noise(shape, seed, step, &device)
            .into_data()
            .try_to_vec::<f32>()
            .unwrap()
    };
    let shape = [3, 37, 129];
    let first = draw(shape, 9, 4);
    assert_eq!(first, draw(shape, 9, 4));
    assert_ne!(first, draw(shape, 9, 5));
    assert_ne!(first, draw(shape, 10, 4));
    assert_eq!(first[..129 * 37], draw([1, 37, 129], 9, 4));
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(first, one_thread.install(|| draw(shape, 9, 4)));
    // A changed generator must be noticed: resumed runs depend on these numbers.
    let bits: Vec<u32> = first[..4].iter().map(|x| x.to_bits()).collect();
    assert_eq!(bits, KNOWN_BITS, "{bits:x?}");
}

const KNOWN_BITS: [u32; 4] = [0xbbd1_2b26, 0x3f80_3988, 0x3ef5_8206, 0xbf8e_c704];

#[test]
fn noise_is_standard_normal_and_uncorrelated() {
    let device = Device::flex();
    let n = 1 << 20;
    let x = values(noise([1, 1024, 1024], 1, 2, &device));
    let moment = |p: i32| x.iter().map(|x| x.powi(p)).sum::<f64>() / n as f64;
    // Five standard errors each.
    for (p, wanted, spread) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let tolerance = 5.0 * (spread / n as f64).sqrt();
        assert!(
            (moment(p) - wanted).abs() < tolerance,
            "moment {p}: {}",
            moment(p)
        );
    }
    for lag in [1, 512, 1024] {
        let product: f64 = x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum::<f64>() / n as f64;
        assert!(product.abs() < 5.0 / (n as f64).sqrt(), "lag {lag}: {product}");
    }
    let tail = x.iter().filter(|x| x.abs() > 3.0).count() as f64 / n as f64;
    assert!((tail - 0.0027).abs() < 0.0003, "{tail}");
    assert!(x.iter().any(|x| x.abs() > 4.5) && x.iter().all(|x| x.abs() < 6.8));
}

#[test]
fn a_hard_mask_replaces_as_the_gate_does_and_its_gradient_is_the_difference() {
    let device = Device::flex();
    let (n, d) = (6, 4);
    let tokens = noise([1, n, d], 4, 1, &device).cast(DType::F64) * 3.0 + 1.5;
    let drawn = noise([1, n, d], 5, 1, &device).cast(DType::F64);
    let hard = column(vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0], DType::F64);
    for noise_scale in [
        NoiseScale::Unit,
        NoiseScale::TokenStd,
        NoiseScale::ChannelStd,
        NoiseScale::Centred,
    ] {
        let throttler = ThrottlerConfig::new().with_noise_scale(noise_scale).init();
        let mask = hard.clone().autodiff().require_grad();
        let replaced = throttler.replace(tokens.clone(), mask.clone(), drawn.clone(), None);
        let gated = throttler.forward(ThrottlerInput {
            tokens: tokens.clone(),
            weights: hard.clone(),
            complement: hard.clone().neg() + 1.0,
            argument: hard.clone(),
            family: GateFamily::Laplace,
            noise: drawn.clone(),
            mask: None,
        });
        let (replaced_values, gated) = (values(replaced.clone()), values(gated));
        for (a, b) in replaced_values.iter().zip(&gated) {
            assert!((a - b).abs() < 1e-12, "{noise_scale:?}: {a} {b}");
        }
        for (i, (a, b)) in replaced_values.iter().zip(values(tokens.clone())).enumerate() {
            let kept = [true, false, false, true, false, true][i / d];
            assert_eq!((a - b).abs() < 1e-12, kept, "{noise_scale:?}: {a} {b}");
        }
        // Linear in the mask: the difference of the ends is the gradient.
        let gradients = replaced.sum().backward();
        let found = values(mask.grad(&gradients).unwrap());
        let end = |fill: f64| {
            let mask = column(vec![fill; n], DType::F64);
            let out = throttler.replace(tokens.clone(), mask, drawn.clone(), None);
            values(out.sum_dim(2))
        };
        for ((found, open), closed) in found.iter().zip(end(1.0)).zip(end(0.0)) {
            assert!((found - (open - closed)).abs() < 1e-9, "{noise_scale:?}: {found}");
        }
    }
    let scale = ThrottlerConfig::new().with_gate(GateKind::Scale).init();
    let scaled = values(scale.replace(tokens, hard, drawn, None));
    assert!(scaled[d..3 * d].iter().all(|x| *x == 0.0));
}

#[test]
fn the_centred_gate_keeps_the_mean_and_the_spread_around_it() {
    let device = Device::flex();
    let (n, d) = (400, 8);
    // Tokens that have much in common: offsets of 20, departures of 2.
    let offset = noise([1, 1, d], 8, 1, &device) * 20.0;
    let tokens = noise([1, n, d], 9, 1, &device) * 2.0 + offset.clone();
    let throttler = ThrottlerConfig::new()
        .with_noise_scale(NoiseScale::Centred)
        .init();
    for u in [-200.0, -0.5, 0.3, 200.0] {
        let (alpha, beta) = weights(GateFamily::Laplace, u);
        let gated = throttler.forward(ThrottlerInput {
            tokens: tokens.clone(),
            weights: column(vec![alpha; n], DType::F32),
            complement: column(vec![beta; n], DType::F32),
            argument: column(vec![u; n], DType::F32),
            family: GateFamily::Laplace,
            noise: noise([1, n, d], 10, 1, &device),
            mask: None,
        });
        let departure = gated - offset.clone();
        let square = values((departure.clone() * departure).mean())[0];
        assert!((square - 4.0).abs() < 0.4, "u {u}: {square}");
    }
}
