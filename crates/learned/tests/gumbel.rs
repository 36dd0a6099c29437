//! The Gumbel contrasts: what goes on, and the straight-through gradient against finite differences of its surrogate.

use burn::module::Param;
use burn::tensor::{Device, Distribution, Tensor};
use diffprune_learned::{
    Draws, GateInput, GateSettings, Gated, GumbelBackward, GumbelSte, Head, Method, Unselected,
};
use diffprune_pruner::{Grid, Layout};
use diffprune_scorer::{Scorer, ScorerConfig};
use diffprune_softtopk::{SoftTopKConfig, SoftTopKInput, Tau, gumbel_noise};
use diffprune_throttler::{GateKind, ThrottlerConfig};

const IMAGES: usize = 2;
const N_TOKENS: usize = 12;
const WIDTH: usize = 8;
const BUDGET: usize = 4;
const TAU: f64 = 0.5;
const NUMBERS: [u64; IMAGES] = [5, 9];

/// Burn has one random generator per process.
static DRAWING: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn draws() -> Draws<'static> {
    Draws {
        seed: 3,
        numbers: &NUMBERS,
    }
}

fn settings() -> GateSettings {
    GateSettings {
        // Scores as they come: the surrogates below are then functions of the scores themselves.
        softtopk: SoftTopKConfig::new().with_z_score(false),
        throttler: ThrottlerConfig::new(),
    }
}

/// A scorer whose scores differ by about 1, tokens, and the direction of a linear loss.
fn parts() -> (Scorer, Tensor<3>, Tensor<3>) {
    let _guard = DRAWING.lock();
    let device = Device::flex();
    device.seed(11);
    let scorer = ScorerConfig::mini(WIDTH).init(&device);
    let shape = [IMAGES, N_TOKENS, WIDTH];
    let tokens = Tensor::random(shape, Distribution::Normal(0.3, 2.0), &device);
    let direction = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let weight = Tensor::random([WIDTH, 1], Distribution::Normal(0.0, 0.5), &device);
    (with_weight(&scorer, weight), tokens, direction)
}

/// The scorer with another linear head.
fn with_weight(scorer: &Scorer, weight: Tensor<2>) -> Scorer {
    let mut scorer = scorer.clone();
    scorer.head.weight = Param::from_tensor(weight);
    scorer
}

fn gated(method: GumbelSte, scorer: &Scorer, tokens: &Tensor<3>, settings: &GateSettings) -> Gated {
    let layout = Layout::from(Grid { rows: 3, cols: 4 });
    let layouts = vec![layout; IMAGES];
    let input = GateInput {
        tokens: tokens.clone(),
        descriptors: tokens.clone(),
        budgets: &[BUDGET; IMAGES],
        layouts: &layouts,
        mask: None,
        relevance: None,
        tau: TAU,
        draws: draws(),
        settings,
    };
    let head = Head::Scorer(scorer.clone());
    Method::from(method).gate(&head, &input).unwrap()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.without_autodiff().into_data().iter::<f64>().collect()
}

fn close(what: &str, found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!((f - w).abs() < 1e-4, "{what}[{i}]: found {f}, expected {w}");
    }
}

/// The vector in the place of an unselected token.
fn instead(unselected: Unselected, tokens: &Tensor<3>) -> Tensor<3> {
    match unselected {
        Unselected::Noise => {
            let noise = draws().noise([N_TOKENS, WIDTH], &Device::flex());
            // The deviation of all numbers of an image around their mean.
            let flat = tokens.clone().reshape([IMAGES, N_TOKENS * WIDTH]);
            let centred = flat.clone() - flat.mean_dim(1);
            let deviation = (centred.clone() * centred).mean_dim(1).sqrt();
            noise * deviation.reshape([IMAGES, 1, 1])
        }
        Unselected::Zeroed | Unselected::Removed => tokens.zeros_like(),
    }
}

const KINDS: [Unselected; 3] = [Unselected::Zeroed, Unselected::Noise, Unselected::Removed];

#[test]
fn selected_tokens_pass_whole_and_the_others_do_not_pass() {
    let (scorer, tokens, _) = parts();
    for unselected in KINDS {
        let method = GumbelSte {
            unselected,
            ..GumbelSte::default()
        };
        let gated = gated(method, &scorer, &tokens, &settings());
        let mask = values(gated.weights.clone());
        assert!(mask.iter().all(|m| *m == 0.0 || *m == 1.0), "{mask:?}");
        for row in mask.chunks(N_TOKENS) {
            assert_eq!(row.iter().sum::<f64>(), BUDGET as f64, "the budget is exact");
        }
        let keep = gated.weights.reshape([IMAGES, N_TOKENS, 1]);
        let wanted = tokens.clone() * keep.clone() + instead(unselected, &tokens) * (keep.neg() + 1.0);
        close(&format!("{unselected:?}"), &values(gated.tokens), &values(wanted));
        let ones = |row: &[f64]| (0..N_TOKENS).filter(|&i| row[i] == 1.0).collect::<Vec<_>>();
        let wanted: Vec<Vec<usize>> = mask.chunks(N_TOKENS).map(ones).collect();
        assert_eq!(gated.kept, (unselected == Unselected::Removed).then_some(wanted));
    }
}

#[test]
fn the_same_noise_selects_the_same_tokens_whatever_becomes_of_the_others() {
    let (scorer, tokens, _) = parts();
    let mask = |method| values(gated(method, &scorer, &tokens, &settings()).weights);
    let first = mask(GumbelSte::new(GumbelBackward::Identity));
    for backward in [GumbelBackward::Identity, GumbelBackward::Soft] {
        for unselected in KINDS {
            assert_eq!(mask(GumbelSte { backward, unselected }), first);
        }
    }
}

#[test]
fn straight_through_gradients_are_slopes_of_the_surrogate() {
    let (scorer, tokens, direction) = parts();
    let weight = scorer.head.weight.val();
    for backward in [GumbelBackward::Identity, GumbelBackward::Soft] {
        for unselected in KINDS {
            let method = GumbelSte { backward, unselected };
            let what = Method::from(method).name();
            let tracked = weight.clone().autodiff().require_grad();
            let recorded = with_weight(&scorer, tracked.clone());
            let gated = gated(method, &recorded, &tokens, &settings());
            // Only what goes on is in the loss.
            let seen = match unselected {
                Unselected::Removed => {
                    let keep = gated.weights.clone().without_autodiff();
                    direction.clone() * keep.reshape([IMAGES, N_TOKENS, 1])
                }
                _ => direction.clone(),
            };
            let gradients = (gated.tokens * seen.clone()).sum().backward();
            let gradient = tracked.grad(&gradients).unwrap();

            // Tokens are linear in the mask: its gradient is what a whole token adds to the loss, against what stands instead.
            let of_mask = (seen * (tokens.clone() - instead(unselected, &tokens))).sum_dim(2);
            let of_mask = of_mask.reshape([IMAGES, N_TOKENS]);
            let surrogate = |weight: Tensor<2>| {
                let scores = with_weight(&scorer, weight).forward(tokens.clone(), None);
                let path = match backward {
                    GumbelBackward::Identity => scores,
                    GumbelBackward::Soft => {
                        let noise = (0..IMAGES)
                            .map(|row| gumbel_noise([1, N_TOKENS], draws().seed(row), &Device::flex()) * TAU);
                        let noise = Tensor::cat(noise.collect(), 0);
                        let soft = SoftTopKConfig::new().with_z_score(false).init();
                        let input = SoftTopKInput {
                            scores: scores + noise,
                            k: BUDGET.into(),
                            tau: Tau::Batch(TAU),
                            mask: None,
                        };
                        soft.forward(input).weights
                    }
                };
                values((path * of_mask.clone()).sum())[0]
            };
            for axis in 0..WIDTH {
                let mut step = vec![0.0_f32; WIDTH];
                step[axis] = 2e-3;
                let step = Tensor::<1>::from_floats(step.as_slice(), &Device::flex()).reshape([WIDTH, 1]);
                let ends = [weight.clone() + step.clone(), weight.clone() - step];
                let [up, down] = ends.map(surrogate);
                let slope = (up - down) / 4e-3;
                let found = values(gradient.clone())[axis];
                assert!(
                    (found - slope).abs() < 0.02 * slope.abs().max(1.0),
                    "{what}, axis {axis}: found {found}, expected {slope}"
                );
            }
        }
    }
}

#[test]
fn noise_without_the_noise_gate_is_refused() {
    let shared = GateSettings {
        throttler: ThrottlerConfig::new().with_gate(GateKind::Scale),
        ..settings()
    };
    let error = Method::from(GumbelSte::noise(GumbelBackward::Identity))
        .check(&shared)
        .unwrap_err();
    assert_eq!(error.field, "diffprune.throttler.gate");
    for method in [
        GumbelSte::new(GumbelBackward::Soft),
        GumbelSte::gathered(GumbelBackward::Soft),
    ] {
        assert!(Method::from(method).check(&shared).is_ok());
    }
}
