//! GlimpsePrune's predictor and its loss.

use diffprune_learned::{GlimpseLossConfig, GlimpsePredictor, GlimpsePredictorConfig};

use super::*;

fn predictor() -> GlimpsePredictor {
    drawn(4, |device| GlimpsePredictorConfig::for_width(16).init(device))
}

fn row(values: &[f32]) -> Tensor<2> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), [1, values.len()]),
        &Device::flex(),
    )
}

#[test]
fn the_loss_is_that_of_the_formula() {
    let (logits, covered) = ([1.5f32, -0.5, 0.25, -3.0], [1.0f32, 0.0, 1.0, 0.0]);
    let p = logits.map(|z| 1.0 / (1.0 + f64::from(-z).exp()));
    let both: f64 = p.iter().zip(covered).map(|(p, y)| p * f64::from(y)).sum();
    let dice = 1.0 - (2.0 * both + 1.0) / (p.iter().sum::<f64>() + 2.0 + 1.0);
    let log = |(p, y): (&f64, f32)| if y > 0.5 { -p.ln() } else { -(1.0 - p).ln() };
    let bce = p.iter().zip(covered).map(log).sum::<f64>() / 4.0;
    let of = |dice_weight, bce_weight, logits: &[f32], covered: &[f32]| {
        let config = GlimpseLossConfig {
            dice_weight,
            bce_weight,
        };
        values(config.loss(row(logits), row(covered), None))[0]
    };
    assert!((of(1.0, 0.0, &logits, &covered) - dice).abs() < 1e-6);
    assert!((of(0.0, 1.0, &logits, &covered) - bce).abs() < 1e-6);
    let published = GlimpseLossConfig::new();
    let whole = values(published.loss(row(&logits), row(&covered), None))[0];
    assert!((whole - dice - 0.1 * bce).abs() < 1e-6);
    // Sure and right, sure and wrong; nothing to find; numbers far from 0.
    assert!(of(1.0, 0.1, &[90.0, -90.0], &[1.0, 0.0]) < 1e-6);
    let wrong = of(1.0, 0.1, &[-90.0, 90.0], &[1.0, 0.0]);
    assert!((wrong - (1.0 - 1.0 / 3.0) - 9.0).abs() < 1e-4, "{wrong}");
    assert!(of(1.0, 0.1, &[-90.0, -90.0], &[0.0, 0.0]) < 1e-6);
    // Padding has no part in it.
    let padded = [logits.to_vec(), vec![7.0, -7.0]].concat();
    let beyond = [covered.to_vec(), vec![1.0, 1.0]].concat();
    let mask = mask(&[&[true, true, true, true, false, false]]);
    let masked = values(published.loss(row(&padded), row(&beyond), Some(&mask)))[0];
    assert!((masked - whole).abs() < 1e-6);
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let device = Device::flex().autodiff();
    let covered = row(&[1.0, 0.0, 1.0, 0.0, 0.0]);
    let logits = [0.5f32, -1.0, -0.75, 1.25, 0.0];
    let loss = |logits: Tensor<2>| GlimpseLossConfig::new().loss(logits, covered.clone(), None);
    let tracked = Tensor::<2>::from_data(TensorData::new(logits.to_vec(), [1, 5]), &device).require_grad();
    let found = values(tracked.grad(&loss(tracked.clone()).backward()).unwrap());
    for i in 0..logits.len() {
        let at = |step: f32| {
            let mut moved = logits;
            moved[i] += step;
            values(loss(row(&moved)))[0]
        };
        let wanted = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!((found[i] - wanted).abs() < 2e-4, "{i}: {} {wanted}", found[i]);
    }

    // Through the whole predictor, from the tokens on.
    let predictor = predictor();
    let (start, covered) = (tokens(8, [1, 5, 16]), covered.clone());
    let objective = |module: &GlimpsePredictor, tokens: Tensor<3>| {
        GlimpseLossConfig::new().loss(module.forward(tokens, None) * 20.0, covered.clone(), None)
    };
    let tracked = Tensor::from_data(start.clone().into_data(), &device).require_grad();
    let gradients = objective(&predictor.clone().train(), tracked.clone()).backward();
    let gradient: Tensor<3> = tracked.grad(&gradients).unwrap();
    let direction = tokens(9, [1, 5, 16]);
    let along = values((gradient * direction.clone()).sum())[0];
    let at = |step: f64| values(objective(&predictor, start.clone() + direction.clone() * step))[0];
    let wanted = (at(5e-3) - at(-5e-3)) / 1e-2;
    assert!(along.abs() > 1e-4, "{along}");
    assert!(
        (along - wanted).abs() < 0.03 * along.abs() + 2e-5,
        "{along} {wanted}"
    );
}

#[test]
fn padding_and_neighbours_change_nothing() {
    let predictor = predictor();
    let pictures = tokens(5, [2, 7, 16]);
    let padded = mask(&[&[true, true, true, true, true, false, false], &[true; 7]]);
    let together = values(predictor.forward(pictures.clone(), Some(padded)));
    let first = values(predictor.forward(pictures.clone().slice([0..1, 0..5, 0..16]), None));
    let second = values(predictor.forward(pictures.slice([1..2, 0..7, 0..16]), None));
    for (a, b) in together[..5]
        .iter()
        .zip(&first)
        .chain(together[7..].iter().zip(&second))
    {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert!(together.iter().all(|logit| logit.is_finite()));
}

#[test]
fn impossible_sizes_and_weights_are_refused() {
    let good = GlimpsePredictorConfig::for_width(1024);
    assert_eq!((good.d_hidden, good.d_condition, good.n_maps), (256, 512, 32));
    for width in 1..70 {
        GlimpsePredictorConfig::for_width(width).check().unwrap();
    }
    for bad in [
        good.clone().with_d_hidden(255),
        good.clone().with_n_maps(0),
        good.clone().with_n_layers(0),
        GlimpsePredictorConfig::new(0),
    ] {
        assert!(
            matches!(bad.check(), Err(HeadConfigError::Width { .. })),
            "{bad:?}"
        );
    }
    assert!(GlimpseLossConfig::new().check().is_ok());
    assert!(
        GlimpseLossConfig::new()
            .with_bce_weight(f64::NAN)
            .check()
            .is_err()
    );
    assert!(
        GlimpseLossConfig {
            dice_weight: 0.0,
            bce_weight: 0.0
        }
        .check()
        .is_err()
    );
}
