//! The interface of methods that drop visual tokens inside the language model.

use burn::tensor::Tensor;

use crate::pruner::required;
use crate::{Budget, PruneError, PruneResult, Pruner};

/// A method that drops visual tokens between the layers of the decoder, while the prompts are read.
///
/// It is a [`Pruner`] whose [`Pruner::decoder`] gives itself, and whose [`Pruner::select`] is the default, which keeps
/// every token; [`Pruner::positions`] says which position ids the later layers use. The decoder calls it for one sequence at a time;
/// sequences without visual tokens are never shown to it.
pub trait DecoderPruner: Pruner {
    /// The stages at which the method acts on a sequence with `n_visual` visual tokens, by ascending layer; none when the budget
    /// keeps all.
    ///
    /// # Errors
    /// When the budget keeps nothing, or the method cannot meet it with so many layers.
    fn stages(&self, n_layers: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>>;

    /// The text tokens that ask, for stages that want rows of [`Queries::Raters`]: ascending, counted from the first
    /// token after the last visual one. Called once, before the first layer.
    ///
    /// # Errors
    /// When the embeddings are not finite.
    fn raters(&self, embeds: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        Ok((0..embeds.text.dims()[0]).collect())
    }

    /// Chooses `stage.keep` of the visual tokens that are there.
    ///
    /// # Errors
    /// When a signal is missing or not finite.
    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection>;
}

/// One place at which a method acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderStage {
    /// Layers that have run; the method acts on the input of layer `layer` (counted from 0), which is the output of
    /// layer `layer - 1`.
    pub layer: usize,
    /// Visual tokens that stay.
    pub keep: usize,
    /// Vectors that the method appends to them, made of the others.
    pub merged: usize,
    /// The signals that the method needs.
    pub signals: DecoderSignals,
}

/// The signals that a decoder computes for a stage; nothing else is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecoderSignals {
    /// Rows of attention.
    pub attention: Option<AttentionRows>,
    /// Rotated keys of the layer before.
    pub keys: bool,
    /// The residual stream.
    pub hidden: bool,
    /// The residual stream after the model's last norm.
    pub normed: bool,
    /// For each attention row, how the rotary positions alone would score the keys.
    pub rotary_bias: bool,
}

impl DecoderSignals {
    /// Rows of attention and nothing else.
    pub fn rows(layer: RowsOf, queries: Queries) -> Self {
        Self {
            attention: Some(AttentionRows { layer, queries }),
            ..Self::default()
        }
    }
}

/// Rows of attention: whose, and of which layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttentionRows {
    /// The layer.
    pub layer: RowsOf,
    /// The queries.
    pub queries: Queries,
}

/// The layer whose attention a stage sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowsOf {
    /// The layer that has just run.
    Previous,
    /// The layer that would run next, with its own norm, queries and keys of the sequence as it is.
    Next,
}

/// The tokens whose attention a stage sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queries {
    /// The last token of the prompt.
    Last,
    /// The tokens that [`DecoderPruner::raters`] named.
    Raters,
}

/// Embeddings that the first layer of the decoder takes, of one sequence.
#[derive(Debug, Clone)]
pub struct DecoderEmbeds {
    /// Row of the batch, for messages.
    pub row: usize,
    /// Visual tokens, `[n_visual, d_model]`.
    pub visual: Tensor<2>,
    /// Text after the last visual token, `[n_text, d_model]`.
    pub text: Tensor<2>,
}

/// One sequence as a stage finds it.
#[derive(Debug, Clone)]
pub struct DecoderContext {
    /// Row of the batch, for messages.
    pub row: usize,
    /// Tokens that are there, `t`.
    pub n_tokens: usize,
    /// Which of them are visual, ascending; vectors merged by an earlier stage count as visual.
    pub visual: Vec<usize>,
    /// The signals that the stage asked for.
    pub observed: DecoderObserved,
}

/// The signals that a decoder computed for a stage: a field is there when it was asked for.
#[derive(Debug, Clone, Default)]
pub struct DecoderObserved {
    /// Softmax attention over all tokens, `[n_heads, rows, t]`.
    pub attention: Option<Tensor<3>>,
    /// Rotated keys of the layer before, `[t, n_kv_heads, head_dim]`.
    pub keys: Option<Tensor<3>>,
    /// The residual stream, `[t, d_model]`.
    pub hidden: Option<Tensor<2>>,
    /// The residual stream after the model's last norm, `[t, d_model]`.
    pub normed: Option<Tensor<2>>,
    /// Scaled products of rotated all-ones vectors, `[rows, t]`.
    pub rotary_bias: Option<Tensor<2>>,
}

impl DecoderContext {
    /// An observed signal, or the error that tells which method misses which signal.
    ///
    /// # Errors
    /// [`PruneError::MissingSignal`] when it was not asked for, or the sequence has none.
    pub fn require<'a, T>(
        &'a self,
        field: impl FnOnce(&'a DecoderObserved) -> &'a Option<T>,
        method: &str,
        signal: &'static str,
    ) -> PruneResult<&'a T> {
        required(field(&self.observed), method, signal)
    }
}

/// The visual tokens that stay at a stage.
#[derive(Debug, Clone)]
pub struct DecoderSelection {
    /// Kept visual tokens, ascending, counted among the visual tokens that were there.
    pub keep: Vec<usize>,
    /// Vectors to stand after the kept visual tokens, `[c, d_model]`.
    pub merged: Option<Tensor<2>>,
}

impl DecoderSelection {
    /// Plain selection; indices are sorted here.
    pub fn keep(mut keep: Vec<usize>) -> Self {
        keep.sort_unstable();
        Self { keep, merged: None }
    }

    /// The same with merged vectors, `[c, d_model]`.
    pub fn with_merged(mut self, merged: Tensor<2>) -> Self {
        self.merged = Some(merged);
        self
    }

    /// Number of merged vectors.
    pub fn n_merged(&self) -> usize {
        self.merged.as_ref().map_or(0, |merged| merged.dims()[0])
    }

    /// Checks that indices ascend and lie among `n_visual` tokens, that the tokens do not become more, and that merged
    /// vectors have width `d_model`.
    ///
    /// # Errors
    /// [`PruneError::Shape`] when not.
    pub fn check(&self, n_visual: usize, d_model: usize) -> Result<(), PruneError> {
        let shape = |what, found, wanted| Err(PruneError::Shape { what, found, wanted });
        if let Some(&index) = self.keep.iter().find(|&&index| index >= n_visual) {
            return shape("index of a kept visual token (at most)", index, n_visual - 1);
        }
        if let Some(pair) = self.keep.windows(2).find(|pair| pair[0] >= pair[1]) {
            return shape("kept visual token (at least)", pair[1], pair[0] + 1);
        }
        let found = self.keep.len() + self.n_merged();
        if found > n_visual {
            return shape("kept and merged visual tokens (at most)", found, n_visual);
        }
        match self.merged.as_ref().map(|merged| merged.dims()) {
            Some([_, width]) if width != d_model => shape("width of merged vectors", width, d_model),
            _ => Ok(()),
        }
    }
}

/// Visual tokens that enter each layer.
pub fn visual_tokens_per_layer(n_layers: usize, n_visual: usize, stages: &[DecoderStage]) -> Vec<usize> {
    let entering = |layer: usize| {
        let last = stages.iter().rfind(|stage| stage.layer <= layer);
        last.map_or(n_visual, |stage| stage.keep + stage.merged)
    };
    (0..n_layers).map(entering).collect()
}

/// The average of the visual tokens that enter each layer: what is really processed.
pub fn processed_average(per_layer: &[usize]) -> f64 {
    per_layer.iter().sum::<usize>() as f64 / per_layer.len().max(1) as f64
}

/// The average of the visual tokens that leave each layer, where a layer on whose output a method acts already counts as
/// pruned: the reading of SparseVLM's code.
pub fn counted_average(per_layer: &[usize]) -> f64 {
    let leaving: Vec<usize> = per_layer
        .iter()
        .skip(1)
        .chain(per_layer.last())
        .copied()
        .collect();
    processed_average(&leaving)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(layer: usize, keep: usize, merged: usize) -> DecoderStage {
        DecoderStage {
            layer,
            keep,
            merged,
            signals: DecoderSignals::default(),
        }
    }

    #[test]
    fn averages_count_layers_entered_and_left() {
        let per_layer = visual_tokens_per_layer(4, 10, &[stage(1, 5, 1), stage(3, 2, 0)]);
        assert_eq!(per_layer, [10, 6, 6, 2]);
        assert_eq!(processed_average(&per_layer), 6.0);
        assert_eq!(counted_average(&per_layer), 4.0);
        assert_eq!(visual_tokens_per_layer(2, 7, &[]), [7, 7]);
    }

    #[test]
    fn selections_that_do_not_fit_are_refused() {
        let merged = |width| Tensor::<2>::zeros([1, width], &burn::tensor::Device::flex());
        assert!(DecoderSelection::keep(vec![3, 0]).check(4, 8).is_ok());
        assert!(DecoderSelection::keep(vec![4]).check(4, 8).is_err());
        assert!(DecoderSelection::keep(vec![1, 1]).check(4, 8).is_err());
        let selection = |width| DecoderSelection::keep(vec![]).with_merged(merged(width));
        assert!(selection(8).check(4, 8).is_ok());
        assert!(selection(7).check(4, 8).is_err());
        assert!(selection(8).check(0, 8).is_err());
    }
}
