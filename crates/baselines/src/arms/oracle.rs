//! The two ends of the scale, from the annotation of the picture.

use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection, Signals};

use crate::registry::Baseline;
use crate::tools::draw::{shuffled, stream};
use crate::tools::top::{highest, host_scores};

/// Keeps the K most relevant tokens of an annotated picture; ties are drawn at random.
///
/// With a budget that covers the objects only background is dropped.
#[derive(Debug, Clone, Copy, Default)]
pub struct OracleKeep;

/// Keeps the K least relevant tokens of an annotated picture, so that the objects are dropped; ties are drawn at random.
#[derive(Debug, Clone, Copy, Default)]
pub struct OracleDrop;

pub(crate) const KEEP: Baseline = Baseline::arm("oracle-keep", "most relevant by annotation", || {
    Box::new(OracleKeep)
})
.cost("N log N")
.seeded();

pub(crate) const DROP: Baseline = Baseline::arm("oracle-drop", "least relevant by annotation", || {
    Box::new(OracleDrop)
})
.cost("N log N")
.seeded();

impl Pruner for OracleKeep {
    fn name(&self) -> &str {
        "oracle-keep"
    }

    fn signals(&self) -> Signals {
        Signals {
            relevance: true,
            ..Signals::default()
        }
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        by_relevance(context, self.name(), 1.0)
    }
}

impl Pruner for OracleDrop {
    fn name(&self) -> &str {
        "oracle-drop"
    }

    fn signals(&self) -> Signals {
        Signals {
            relevance: true,
            ..Signals::default()
        }
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        by_relevance(context, self.name(), -1.0)
    }
}

/// The K highest of `sign * relevance`.
fn by_relevance(context: &PruningContext, method: &str, sign: f32) -> Result<Selection, PruneError> {
    let relevance = context.require_relevance(method)?.clone();
    let scores = host_scores(context, relevance * sign, method, "relevance")?;
    let row = |(row, scores): (usize, &Vec<f32>)| {
        let mut rng = stream(3, context.seed, context.sample_ids[row]);
        highest(scores, context.budget(row), shuffled(scores.len(), &mut rng))
    };
    Ok(Selection::keep(scores.iter().enumerate().map(row).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tensor};
    use diffprune_pruner::{Budget, Grid};

    #[test]
    fn keep_and_drop_are_opposite() {
        let device = Device::flex();
        let tokens = Tensor::<3>::zeros([1, 6, 2], &device);
        let mut context = PruningContext::new(tokens, Grid { rows: 2, cols: 3 }, &Budget::Tokens(3)).unwrap();
        context.observed.relevance = Some(Tensor::from_data([[0.0, 1.0, 0.5, 0.0, 0.0, 1.0]], &device));
        assert_eq!(OracleKeep.select(&context).unwrap().keep_indices(0), [1, 2, 5]);
        assert_eq!(OracleDrop.select(&context).unwrap().keep_indices(0), [0, 3, 4]);
    }
}
