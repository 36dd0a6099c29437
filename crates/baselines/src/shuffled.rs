//! A control for any method that goes by scores.

use burn::tensor::{Int, Tensor, TensorData};
use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Signals, Stage};

use crate::draw::{shuffled, stream};

/// Runs a method with its scores shuffled over the tokens of each image: attention rows, relevance to the question and
/// relevance by annotation. Tokens, keys and projected tokens stay where they are.
///
/// What is left of the method's gain is due to its form, not to its scores. All score signals of an image are shuffled
/// alike, drawn from the context's seed and the sample id. For scores of a function see
/// [`crate::ScoreOrder::Shuffled`].
#[derive(Debug, Clone)]
pub struct Shuffled<P> {
    name: String,
    inner: P,
}

impl<P: Pruner> Shuffled<P> {
    /// The control of `inner`; its name is that of the method with `-shuffled` behind.
    pub fn new(inner: P) -> Self {
        Self {
            name: format!("{}-shuffled", inner.name()),
            inner,
        }
    }
}

impl<P: Pruner> Pruner for Shuffled<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn stage(&self) -> Stage {
        self.inner.stage()
    }

    fn signals(&self) -> Signals {
        self.inner.signals()
    }

    fn positions(&self) -> PositionRule {
        self.inner.positions()
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

/// Scores `[b, n]` in another order.
fn moved(scores: Tensor<2>, from: &TensorData) -> Tensor<2> {
    let from = Tensor::<2, Int>::from_data(from.clone(), &scores.device());
    scores.gather(1, from)
}
