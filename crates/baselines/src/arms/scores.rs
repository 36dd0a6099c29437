//! Any scores as a pruner: also turned upside down or shuffled.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection, Signals};

use crate::tools::draw::{shuffled, stream};
use crate::tools::top::{host_scores, top_k};

/// Gives each token a score, `[b, n]`; higher is better.
pub type ScoreFn = dyn Fn(&PruningContext) -> Result<Tensor<2>, PruneError> + Send + Sync;

/// Which scores stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScoreOrder {
    /// The highest scores stay.
    #[default]
    Highest,
    /// The lowest scores stay: inverted scores.
    Lowest,
    /// The scores are shuffled over the tokens of the image before the highest stay.
    Shuffled,
}

/// Keeps K tokens by the scores of a function; ties go to the lower index.
#[derive(Clone)]
pub struct Scores {
    name: String,
    order: ScoreOrder,
    signals: Signals,
    score: Arc<ScoreFn>,
}

impl Scores {
    /// A pruner called `name` that asks `score` about every batch.
    pub fn new(
        name: impl Into<String>,
        order: ScoreOrder,
        score: impl Fn(&PruningContext) -> Result<Tensor<2>, PruneError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            order,
            signals: Signals::default(),
            score: Arc::new(score),
        }
    }

    /// The same with signals that the scoring function needs.
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }
}

impl fmt::Debug for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scores")
            .field("name", &self.name)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

impl Pruner for Scores {
    fn name(&self) -> &str {
        &self.name
    }

    fn signals(&self) -> Signals {
        self.signals
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let scores = host_scores(context, (self.score)(context)?, &self.name, "scores")?;
        let row = |(row, mut scores): (usize, Vec<f32>)| {
            match self.order {
                ScoreOrder::Highest => {}
                ScoreOrder::Lowest => scores.iter_mut().for_each(|score| *score = -*score),
                ScoreOrder::Shuffled => {
                    let mut rng = stream(4, context.seed, context.sample_ids[row]);
                    scores = shuffled(scores.len(), &mut rng)
                        .into_iter()
                        .map(|from| scores[from])
                        .collect();
                }
            }
            top_k(&scores, context.budget(row))
        };
        Ok(Selection::keep(scores.into_iter().enumerate().map(row).collect()))
    }
}
