//! Any learned method at inference: a trained head and a hard choice.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection};
use diffprune_scorer::CheckpointError;
use diffprune_softtopk::hard_topk;

use crate::{Head, HeadCheckpoint};

/// Keeps the tokens that a trained [`Head`] ranks highest: DiffPrune's scorer, or the head of a rival.
///
/// At inference nothing of the training path is left: scores, the K highest of each image (ties to the lowest index),
/// gather. A budget of at least the number of tokens keeps all.
///
/// ATP's thresholds and GlimpsePrune's predictor decide for themselves how many tokens an image needs: those above them (or
/// more likely important than not) stay, at least one and at most the budget (then those furthest above).
/// [`Self::at_budget`] keeps exactly the budget instead.
#[derive(Debug, Clone)]
pub struct LearnedPruner {
    head: Head,
    name: String,
    inverted: bool,
    at_budget: bool,
}

impl LearnedPruner {
    /// A pruner around a scorer or another head, on its device; any autodiff state is dropped. It is called `diffprune` until
    /// [`with_name`](Self::with_name) gives it another name.
    pub fn new(head: impl Into<Head>) -> Self {
        Self {
            head: head.into().valid(),
            name: "diffprune".to_string(),
            inverted: false,
            at_budget: false,
        }
    }

    /// Reads the checkpoint of any head for descriptors of width `d_descriptor`; the name is that of the method that trained
    /// it.
    ///
    /// # Errors
    /// When the files are missing, damaged, or belong to tokens of another width.
    pub fn load(
        dir: impl AsRef<Path>,
        d_descriptor: usize,
        device: &Device,
    ) -> Result<Self, CheckpointError> {
        let (head, metadata) =
            HeadCheckpoint::load_for_width(dir, d_descriptor, &device.clone().without_autodiff())?;
        Ok(Self::new(head).with_name(metadata.method))
    }

    /// A sanity arm: the same scorer and the same counts, keeping the lowest scores.
    pub fn inverted(mut self) -> Self {
        self.inverted = !self.inverted;
        self.name.push_str("_inverted");
        self
    }

    /// Another name for tables.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Always as many tokens as the budget allows, also where the method would decide on the count.
    pub fn at_budget(mut self) -> Self {
        self.at_budget = true;
        self
    }

    /// The scorer, or the head in its place.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The scores by which tokens are ranked, higher first; negated for the inverted arm. For ATP those of importance
    /// alone: its uniform sample needs the raster, which [`Pruner::select`] knows.
    ///
    /// # Shapes
    /// - tokens: [`descriptors`](diffprune_pruner::descriptors), `[b, n, d]`; mask: `[b, n]`, true = real
    /// - output: `[b, n]`
    pub fn scores(&self, tokens: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        self.directed(self.head.scores(tokens, &[], mask))
    }
}

impl Pruner for LearnedPruner {
    fn name(&self) -> &str {
        &self.name
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let tokens = context.descriptors();
        let [batch, n_tokens, width] = tokens.dims();
        let wanted = self.head.config().d_model();
        if width != wanted {
            return Err(PruneError::Shape {
                what: "width of the vision tokens",
                found: width,
                wanted,
            });
        }
        let scores = self.head.scores(tokens, &context.layouts, context.mask.clone());
        let scores = self.directed(scores);
        let values = self.finite_values(&scores, context)?;
        // Real tokens stand first in a row, and budgets may differ: row by row, without the padding.
        let rows = (0..batch).map(|row| {
            let real = scores
                .clone()
                .slice([row..row + 1, 0..context.n_tokens(row).min(n_tokens)]);
            let count = self.count(&values[row], context.budget(row));
            let kept = hard_topk(real, count, None).into_data();
            kept.iter::<i64>().map(|index| index as usize).collect()
        });
        Ok(Selection::keep(rows.collect()))
    }
}

impl LearnedPruner {
    fn directed(&self, scores: Tensor<2>) -> Tensor<2> {
        if self.inverted { scores.neg() } else { scores }
    }

    /// The number of tokens of an image that stay, given its scores.
    fn count(&self, scores: &[f32], budget: usize) -> usize {
        if self.at_budget || !self.head.decides_on_the_count() {
            return budget;
        }
        let above = |score: &f32| if self.inverted { *score < 0.0 } else { *score > 0.0 };
        scores
            .iter()
            .filter(|score| above(score))
            .count()
            .clamp(1, budget.max(1))
    }

    /// The scores of the real tokens of each image.
    fn finite_values(
        &self,
        scores: &Tensor<2>,
        context: &PruningContext,
    ) -> Result<Vec<Vec<f32>>, PruneError> {
        let [_, n_tokens] = scores.dims();
        let values: Vec<f32> = scores.clone().into_data().iter::<f32>().collect();
        let rows = values.chunks(n_tokens.max(1)).enumerate();
        rows.map(|(row, values)| {
            let values = &values[..context.n_tokens(row)];
            match values.iter().all(|score| score.is_finite()) {
                true => Ok(values.to_vec()),
                false => Err(PruneError::NotFinite {
                    method: self.name.clone(),
                    what: "scores",
                    row,
                }),
            }
        })
        .collect()
    }
}
