//! FastV (Chen et al., ECCV 2024).

use diffprune_pruner::{
    Budget, DecoderContext, DecoderPruner, DecoderSelection, DecoderSignals, DecoderStage, PruneError,
    PruneResult, Pruner, Queries, RowsOf,
};

use super::schedule::{self, Case};
use super::{Schedule, scores};
use crate::registry::{Baseline, Check, Paper};

/// Keeps, from layer K on, the R visual tokens to which the last token of the prompt attends most in the layer before
/// (mean over the heads); ties go to the lower index. Position ids stay.
///
/// The authors' code that keeps a KV cache runs layer K - 1 a second time to see its attention, which stores its keys
/// and values twice; that is not repeated here, and does not touch the choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastV {
    /// K, the number of layers that see every token; at most one less than the decoder has.
    pub layer: usize,
    /// The meaning of a budget. Published: half of the tokens are kept, R = 50 % in the paper's words. [`Schedule::Average`] gives
    /// `R = (average * L - n * K) / (L - K)`; [`Schedule::Kept`] gives R itself.
    pub schedule: Schedule,
}

impl Default for FastV {
    fn default() -> Self {
        Self {
            layer: 2,
            schedule: Schedule::Average,
        }
    }
}

impl FastV {
    /// The score of each visual token: the attention that it receives.
    ///
    /// # Errors
    /// When the attention is missing or not finite.
    pub fn scores(&self, context: &DecoderContext) -> Result<Vec<f32>, PruneError> {
        scores::of_last_token(context, self.name())
    }

    fn drops(&self, case: &Case<'_>) -> Result<Vec<(usize, usize)>, PruneError> {
        let single = |count: &dyn Fn(usize) -> Result<usize, PruneError>| {
            let layer = case.single_layer(self.layer)?;
            Ok(vec![(layer, count(layer)?)])
        };
        match &self.schedule {
            Schedule::Published => single(&|_| Ok((case.n_visual / 2).max(1))),
            Schedule::Kept => single(&|_| Ok(case.wanted)),
            Schedule::Fixed(drops) => Ok(drops.clone()),
            Schedule::Average => single(&|layer| match case.after_single_drop(layer).round() {
                count if count >= 1.0 => Ok(count as usize),
                _ => Err(case.unreachable(case.least_average(layer, 1))),
            }),
        }
    }
}

pub(crate) const ENTRY: Baseline = row(
    "fastv",
    "most seen by the last token; average over layers",
    || Box::new(FastV::default()),
);
pub(crate) const KEPT: Baseline = row("fastv-kept", "the same, budget counted after the drop", || {
    Box::new(FastV {
        schedule: Schedule::Kept,
        ..FastV::default()
    })
});
pub(crate) const K3: Baseline = row("fastv-k3", "the same with K = 3; average over layers", || {
    Box::new(FastV {
        layer: 3,
        ..FastV::default()
    })
});
pub(crate) const PUBLISHED: Baseline = row(
    "fastv-published",
    "the same with half of the tokens, whatever the budget",
    || {
        Box::new(FastV {
            schedule: Schedule::Published,
            ..FastV::default()
        })
    },
);

/// A row of the list of methods: all forms of the method have one cost and one paper.
const fn row(name: &'static str, about: &'static str, init: fn() -> Box<dyn Pruner>) -> Baseline {
    Baseline::arm(name, about, init)
        .cost("N H d_head")
        .text_aware()
        .paper(PAPER)
}

const PAPER: Paper = Paper {
    arxiv: "2403.06764",
    venue: "ECCV 2024",
    licence: "no licence file (transformers and LLaVA in it: Apache-2.0)",
    check: Check::Oracle,
};

impl Pruner for FastV {
    fn name(&self) -> &str {
        match self.schedule {
            Schedule::Kept => "fastv-kept",
            Schedule::Published => "fastv-published",
            Schedule::Average if self.layer == 3 => "fastv-k3",
            Schedule::Average | Schedule::Fixed(_) => "fastv",
        }
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }
}

impl DecoderPruner for FastV {
    fn stages(&self, n_layers: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        let signals = DecoderSignals::rows(RowsOf::Previous, Queries::Last);
        schedule::stages(self.name(), n_layers, n_visual, budget, |case| {
            Ok(case.stages(&self.drops(case)?, signals))
        })
    }

    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection> {
        Ok(scores::keep_best(&self.scores(context)?, stage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(layer: usize, schedule: Schedule, average: usize) -> usize {
        let method = FastV { layer, schedule };
        method.stages(32, 576, &Budget::Tokens(average)).unwrap()[0].keep
    }

    #[test]
    fn averages_become_counts_after_the_drop() {
        for (average, after_2, after_3) in [(192, 166, 152), (128, 98, 82), (64, 30, 11)] {
            assert_eq!(kept(2, Schedule::Average, average), after_2);
            assert_eq!(kept(3, Schedule::Average, average), after_3);
            assert_eq!(kept(2, Schedule::Kept, average), average);
        }
        assert_eq!(kept(2, Schedule::Published, 64), 288);
    }

    #[test]
    fn averages_below_the_layers_that_see_all_are_refused() {
        let error = FastV::default().stages(4, 144, &Budget::Tokens(60)).unwrap_err();
        assert!(
            matches!(error, PruneError::UnreachableBudget { least: 73, .. }),
            "{error}"
        );
        assert_eq!(
            FastV::default().stages(4, 144, &Budget::Tokens(73)).unwrap()[0].keep,
            2
        );
        assert!(FastV::default().stages(1, 144, &Budget::Tokens(73)).is_err());
    }
}
