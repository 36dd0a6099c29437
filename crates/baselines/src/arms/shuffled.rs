//! A control for any method that goes by scores.

use burn::tensor::{Int, Tensor, TensorData};
use diffprune_pruner::{
    Budget, DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderStage, PositionRule,
    PruneError, PruneResult, Pruner, PruningContext, Selection, Signals,
};

use crate::tools::draw::{shuffled, stream};

/// Runs a method with its scores shuffled over the tokens of each image: attention rows, relevance to the question and
/// relevance by annotation. Tokens, keys and projected tokens stay where they are.
///
/// What is left of the method's gain is due to its form, not to its scores. All score signals of an image are shuffled
/// alike, drawn from the context's seed and the sample id. For scores of a function see
/// [`crate::ScoreOrder::Shuffled`].
///
/// A method inside the language model is shuffled there: at each of its layers what it ranks visual tokens by (attention
/// rows with their rotary bias, and rotated keys, whose norms choose DART's pivots) changes places among the visual
/// tokens, hidden states stay. A decoder hands over neither seed nor sample id, so the order is drawn from
/// [`Self::with_seed`], the layer and the number of visual tokens: sequences of one size are shuffled alike.
#[derive(Debug, Clone)]
pub struct Shuffled<P> {
    name: String,
    inner: P,
    seed: u64,
}

impl<P: Pruner> Shuffled<P> {
    /// The control of `inner`; its name is that of the method with `-shuffled` behind.
    pub fn new(inner: P) -> Self {
        Self {
            name: format!("{}-shuffled", inner.name()),
            inner,
            seed: 0,
        }
    }

    /// The same with another drawing inside the language model; 0 without it. Before it the context's seed counts.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The method whose scores are shuffled.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// The source of the value at each place of a sequence: visual places change among one another.
    fn sources(&self, layer: usize, context: &DecoderContext) -> TensorData {
        let n_visual = context.visual.len();
        let mut rng = stream(6, self.seed, n_visual as u64 | (layer as u64) << 32);
        let mut sources: Vec<i64> = (0..context.n_tokens as i64).collect();
        for (&place, from) in context.visual.iter().zip(shuffled(n_visual, &mut rng)) {
            sources[place] = context.visual[from] as i64;
        }
        TensorData::new(sources, [context.n_tokens])
    }
}

impl<P: Pruner> Pruner for Shuffled<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn signals(&self) -> Signals {
        self.inner.signals()
    }

    fn positions(&self) -> PositionRule {
        self.inner.positions()
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        self.inner.decoder().map(|_| self as &dyn DecoderPruner)
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let [batch, width, _] = context.tokens.dims();
        let mut from: Vec<i64> = Vec::with_capacity(batch * width);
        for row in 0..batch {
            let mut rng = stream(5, context.seed, context.sample_ids[row]);
            let order = shuffled(context.n_tokens(row), &mut rng);
            from.extend(order.into_iter().map(|token| token as i64));
            from.extend(context.n_tokens(row) as i64..width as i64);
        }
        let from = TensorData::new(from, [batch, width]);
        let mut context = context.clone();
        let observed = &mut context.observed;
        for scores in [
            &mut observed.received_attention,
            &mut observed.text_relevance,
            &mut observed.relevance,
        ] {
            *scores = scores.take().map(|scores| moved(scores, &from));
        }
        for heads in [&mut observed.cls_attention, &mut observed.first_cls_attention] {
            *heads = heads.take().map(|heads| {
                let [batch, n_heads, width] = heads.dims();
                let from = Tensor::<2, Int>::from_data(from.clone(), &heads.device());
                heads.gather(2, from.unsqueeze_dim::<3>(1).expand([batch, n_heads, width]))
            });
        }
        if let Some(wide) = &mut observed.wide_attention {
            wide.cls = moved(wide.cls.clone(), &from);
        }
        self.inner.select(&context)
    }
}

/// A method without a part inside the language model has no stages and drops nothing there.
impl<P: Pruner> DecoderPruner for Shuffled<P> {
    fn stages(&self, n_layers: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        match self.inner.decoder() {
            Some(inner) => inner.stages(n_layers, n_visual, budget),
            None => Ok(Vec::new()),
        }
    }

    fn raters(&self, embeds: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        match self.inner.decoder() {
            Some(inner) => inner.raters(embeds),
            None => Ok(Vec::new()),
        }
    }

    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection> {
        let Some(inner) = self.inner.decoder() else {
            return Ok(DecoderSelection::keep((0..context.visual.len()).collect()));
        };
        let sources = self.sources(stage.layer, context);
        let mut context = context.clone();
        let observed = &mut context.observed;
        observed.attention = observed.attention.take().map(|rows| taken(rows, 2, &sources));
        observed.rotary_bias = observed.rotary_bias.take().map(|rows| taken(rows, 1, &sources));
        observed.keys = observed.keys.take().map(|keys| taken(keys, 0, &sources));
        inner.select_at(stage, &context)
    }
}

/// Entries of dimension `dim` in another order.
fn taken<const D: usize>(x: Tensor<D>, dim: usize, sources: &TensorData) -> Tensor<D> {
    let sources = Tensor::<1, Int>::from_data(sources.clone(), &x.device());
    x.select(dim, sources)
}

/// Scores `[b, n]` in another order.
fn moved(scores: Tensor<2>, from: &TensorData) -> Tensor<2> {
    let from = Tensor::<2, Int>::from_data(from.clone(), &scores.device());
    scores.gather(1, from)
}
