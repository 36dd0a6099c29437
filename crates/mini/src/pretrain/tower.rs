//! Stage one: the vision tower alone, with a label for every patch and a list of facts for `[CLS]`.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use diffprune_kernels::{cross_entropy, layer_norm};
use diffprune_vlm::ClipVision;

use super::pixels::Pictures;
use crate::{DenseLabels, ImageLabels, dense_labels, image_labels};

/// What each patch is asked, with its number of classes (class 0 is "none").
const QUESTIONS: [(&str, usize); 7] = [
    ("shape", 9),
    ("colour", 9),
    ("size", 3),
    ("row", 4),
    ("column", 4),
    ("letter", 13),
    ("letter place", 4),
];

/// Weight of a patch whose right answer is "none": most patches are background.
const NONE_WEIGHT: f32 = 0.1;
/// Weight of the facts of `[CLS]` beside the patches.
const CLASS_WEIGHT: f64 = 2.0;

/// The tower with the heads that only training needs.
#[derive(Module, Debug)]
pub struct TowerPupil {
    /// The tower.
    pub vision: ClipVision,
    patch_norm: LayerNorm,
    patch_head: Linear,
    class_norm: LayerNorm,
    class_head: Linear,
}

/// Loss of a batch and its share of right answers per question, counted where the right answer is not "none".
pub struct TowerReport {
    /// Summed loss, `[1]`.
    pub loss: Tensor<1>,
    /// Patches asked and patches right, per question.
    pub counts: Vec<(usize, usize)>,
}

impl TowerPupil {
    /// Fresh heads on a tower.
    pub fn new(vision: ClipVision, device: &Device) -> Self {
        let width = vision.d_vision();
        let n_outputs = QUESTIONS.iter().map(|(_, classes)| classes).sum();
        Self {
            vision,
            patch_norm: LayerNormConfig::new(width).init(device),
            patch_head: LinearConfig::new(width, n_outputs).init(device),
            class_norm: LayerNormConfig::new(width).init(device),
            class_head: LinearConfig::new(width, ImageLabels::LEN).init(device),
        }
    }

    /// Names of the questions, in the order of [`TowerReport::counts`].
    pub fn questions() -> impl Iterator<Item = &'static str> {
        QUESTIONS.iter().map(|(name, _)| *name)
    }

    /// The loss of pictures whose scenes are known; with `count` also the right answers.
    pub fn forward(&self, pictures: &Pictures, device: &Device, count: bool) -> TowerReport {
        let hidden = self.vision.hidden_state(pictures.pixels(device), -2);
        let [batch, n_states, width] = hidden.dims();
        let patches = hidden
            .clone()
            .narrow(1, 1, n_states - 1)
            .reshape([batch * (n_states - 1), width]);
        let class = hidden.narrow(1, 0, 1).reshape([batch, width]);
        let logits = self.patch_head.forward(norm(&self.patch_norm, patches));
        let labels: Vec<DenseLabels> = pictures.scenes.iter().map(dense_labels).collect();
        let (patch_loss, counts) = patch_loss(logits, &labels, device, count);
        let facts = self.class_head.forward(norm(&self.class_norm, class));
        let loss = patch_loss + fact_loss(facts, pictures, device) * CLASS_WEIGHT;
        TowerReport { loss, counts }
    }
}

fn norm(layer: &LayerNorm, x: Tensor<2>) -> Tensor<2> {
    match &layer.beta {
        Some(beta) => layer_norm(x, layer.gamma.val(), beta.val(), 1e-5),
        None => layer.forward(x),
    }
}

/// Weighted cross entropy of every question over every patch, summed over the questions.
fn patch_loss(
    logits: Tensor<2>,
    labels: &[DenseLabels],
    device: &Device,
    count: bool,
) -> (Tensor<1>, Vec<(usize, usize)>) {
    let mut total = Tensor::<1>::zeros([1], device);
    let mut counts = Vec::new();
    let mut first = 0;
    for (question, (_, n_classes)) in QUESTIONS.iter().enumerate() {
        let answers: Vec<u8> = labels
            .iter()
            .flat_map(|of| answers(of, question))
            .copied()
            .collect();
        let logits = logits.clone().narrow(1, first, *n_classes);
        first += n_classes;
        if count {
            counts.push(count_right(logits.clone(), &answers));
        }
        let weights: Vec<f32> = answers
            .iter()
            .map(|&a| if a == 0 { NONE_WEIGHT } else { 1.0 })
            .collect();
        let sum: f32 = weights.iter().sum();
        let targets: Vec<i64> = answers.iter().map(|&a| i64::from(a)).collect();
        let n = targets.len();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [n]), device);
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), device);
        total = total + (cross_entropy(logits, targets) * weights).sum() / sum;
    }
    (total, counts)
}

fn answers(labels: &DenseLabels, question: usize) -> &[u8] {
    match question {
        0 => &labels.shape,
        1 => &labels.colour,
        2 => &labels.size,
        3 => &labels.row_third,
        4 => &labels.column_third,
        5 => &labels.letter,
        _ => &labels.letter_place,
    }
}

/// Patches with something in them, and how many of those are answered right.
fn count_right(logits: Tensor<2>, answers: &[u8]) -> (usize, usize) {
    let best = logits.argmax(1).into_data().iter::<i64>().collect::<Vec<_>>();
    let asked = answers.iter().zip(best).filter(|(answer, _)| **answer != 0);
    asked.fold((0, 0), |(n, right), (answer, best)| {
        (n + 1, right + usize::from(i64::from(*answer) == best))
    })
}

/// Binary cross entropy of the facts about the whole image, averaged.
fn fact_loss(logits: Tensor<2>, pictures: &Pictures, device: &Device) -> Tensor<1> {
    let facts: Vec<f32> = pictures
        .scenes
        .iter()
        .flat_map(|scene| image_labels(scene).presence())
        .collect();
    let facts = Tensor::<2>::from_data(
        TensorData::new(facts, [pictures.scenes.len(), ImageLabels::LEN]),
        device,
    );
    let softplus = (logits.clone().abs().neg().exp() + 1.0).log();
    (logits.clone().clamp_min(0.0) - logits * facts + softplus).mean()
}
