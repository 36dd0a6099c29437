//! Stage one: the vision tower alone, with labels for every token and a list of facts for `[CLS]`.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use diffprune_kernels::{apply_layer_norm, cross_entropy};

use super::body::{Body, Seen};
use super::labels::{N_ANSWERS, NOT_ASKED, QUESTIONS, SceneLabels};
use super::parts::Tower;
use super::pixels::Pictures;
use crate::ImageLabels;

/// Weight of a token whose right answer is "none": most tokens are background.
const NONE_WEIGHT: f32 = 0.1;
/// Weight of the facts of `[CLS]` beside the tokens.
const CLASS_WEIGHT: f64 = 2.0;

/// The tower with the heads that only training needs.
#[derive(Module, Debug)]
pub struct TowerPupil {
    /// The tower.
    pub vision: Tower,
    token_norm: LayerNorm,
    token_head: Linear,
    class: Option<ClassHead>,
}

/// The head on `[CLS]`.
#[derive(Module, Debug)]
pub struct ClassHead {
    norm: LayerNorm,
    head: Linear,
}

/// Loss of a batch and its share of right answers per question, counted where the right answer is not "none".
pub struct TowerReport {
    /// Summed loss, `[1]`.
    pub loss: Tensor<1>,
    /// Tokens asked and tokens right, per question.
    pub counts: Vec<(usize, usize)>,
}

impl TowerPupil {
    /// Fresh heads on a tower that makes tokens of `d_token` numbers, and `[CLS]` of `d_class` where it has one.
    pub fn new(vision: Tower, d_token: usize, d_class: Option<usize>, device: &Device) -> Self {
        let class = |width| ClassHead {
            norm: LayerNormConfig::new(width).init(device),
            head: LinearConfig::new(width, ImageLabels::LEN).init(device),
        };
        Self {
            vision,
            token_norm: LayerNormConfig::new(d_token).init(device),
            token_head: LinearConfig::new(d_token, N_ANSWERS).init(device),
            class: d_class.map(class),
        }
    }

    /// The loss of pictures whose scenes are known; with `count` also the right answers.
    pub fn forward(&self, body: &Body, pictures: &Pictures, device: &Device, count: bool) -> TowerReport {
        let Seen { tokens, class } = body.see(&self.vision, pictures.pixels(device), pictures.len());
        let [batch, n_tokens, width] = tokens.dims();
        let tokens = tokens.reshape([batch * n_tokens, width]);
        let logits = self.token_head.forward(norm(&self.token_norm, tokens));
        let (mut loss, counts) = token_loss(logits, &pictures.labels, device, count);
        if let (Some(class), Some(head)) = (class, &self.class) {
            let facts = head.head.forward(norm(&head.norm, class));
            loss = loss + fact_loss(facts, &pictures.labels, device) * CLASS_WEIGHT;
        }
        TowerReport { loss, counts }
    }
}

fn norm(layer: &LayerNorm, x: Tensor<2>) -> Tensor<2> {
    apply_layer_norm(layer, x, 1e-5)
}

/// Weighted cross entropy of every question over every token, summed over the questions.
pub(crate) fn token_loss(
    logits: Tensor<2>,
    labels: &[SceneLabels],
    device: &Device,
    count: bool,
) -> (Tensor<1>, Vec<(usize, usize)>) {
    let mut total = Tensor::<1>::zeros([1], device);
    let mut counts = Vec::new();
    let mut first = 0;
    for (question, (_, n_classes)) in QUESTIONS.iter().enumerate() {
        let answers: Vec<u8> = labels
            .iter()
            .flat_map(|of| &of.tokens[question])
            .copied()
            .collect();
        let logits = logits.clone().narrow(1, first, *n_classes);
        first += n_classes;
        if count {
            counts.push(count_right(logits.clone(), &answers));
        }
        let weight = |&answer: &u8| match answer {
            NOT_ASKED => 0.0,
            0 => NONE_WEIGHT,
            _ => 1.0,
        };
        let weights: Vec<f32> = answers.iter().map(weight).collect();
        let sum: f32 = weights.iter().sum();
        let target = |&answer: &u8| if answer == NOT_ASKED { 0 } else { i64::from(answer) };
        let targets: Vec<i64> = answers.iter().map(target).collect();
        let n = targets.len();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [n]), device);
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), device);
        total = total + (cross_entropy(logits, targets) * weights).sum() / sum;
    }
    (total, counts)
}

/// Tokens with something in them, and how many of those are answered right.
fn count_right(logits: Tensor<2>, answers: &[u8]) -> (usize, usize) {
    let best = logits.argmax(1).into_data().iter::<i64>().collect::<Vec<_>>();
    let asked = answers.iter().zip(best);
    let asked = asked.filter(|(answer, _)| ![0, NOT_ASKED].contains(answer));
    asked.fold((0, 0), |(n, right), (answer, best)| {
        (n + 1, right + usize::from(i64::from(*answer) == best))
    })
}

/// Binary cross entropy of the facts about the views, averaged over those that are asked.
fn fact_loss(logits: Tensor<2>, labels: &[SceneLabels], device: &Device) -> Tensor<1> {
    let rows = || labels.iter().flat_map(|of| &of.facts);
    let shape = [rows().count(), ImageLabels::LEN];
    let facts: Vec<f32> = rows().flat_map(|(facts, _)| facts).copied().collect();
    let asked: Vec<f32> = rows()
        .flat_map(|(_, asked)| asked)
        .map(|&asked| f32::from(u8::from(asked)))
        .collect();
    let n_asked: f32 = asked.iter().sum();
    let facts = Tensor::<2>::from_data(TensorData::new(facts, shape), device);
    let asked = Tensor::<2>::from_data(TensorData::new(asked, shape), device);
    let softplus = (logits.clone().abs().neg().exp() + 1.0).log();
    ((logits.clone().clamp_min(0.0) - logits * facts + softplus) * asked).sum() / n_asked
}
