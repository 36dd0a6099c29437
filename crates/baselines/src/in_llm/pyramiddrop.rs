//! PyramidDrop (Xing et al., CVPR 2025).

use diffprune_pruner::{
    Budget, DecoderContext, DecoderPruner, DecoderSelection, DecoderSignals, DecoderStage, PositionRule,
    PruneError, PruneResult, Pruner, Queries, RowsOf, processed_average,
};

use super::schedule::{self, Case, Row};
use super::{Schedule, scores};
use crate::registry::{Baseline, Check, Paper};

/// Keeps fewer visual tokens at each of three depths: those to which the last token of the prompt would attend most in
/// the layer that comes next (mean over the heads); ties go to the lower index. Positions are numbered anew after each
/// drop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PyramidDrop {
    /// The meaning of a budget. Published: a half, a quarter and an eighth of the tokens after a quarter, a half and three
    /// quarters of the layers (270 of 576 on average, so that no smaller budget can be met). [`Schedule::Average`] uses
    /// schedules of this project's own, because the authors give none; [`Schedule::Kept`] scales the published shares
    /// so that the last stage keeps the budget.
    pub schedule: Schedule,
}

/// The authors' drops.
const PUBLISHED: Row = Row {
    average: 270,
    drops: [(8, 288), (16, 144), (24, 72)],
};

/// Drops that meet smaller averages.
const AVERAGES: [Row; 3] = [
    Row {
        average: 192,
        drops: [(6, 184), (14, 104), (22, 38)],
    },
    Row {
        average: 128,
        drops: [(4, 96), (14, 56), (24, 34)],
    },
    Row {
        average: 64,
        drops: [(2, 48), (12, 28), (22, 14)],
    },
];

impl PyramidDrop {
    /// The score of each visual token: the attention that it would receive.
    ///
    /// # Errors
    /// When the attention is missing or not finite.
    pub fn scores(&self, context: &DecoderContext) -> Result<Vec<f32>, PruneError> {
        scores::of_last_token(context, self.name())
    }

    fn drops(&self, case: &Case<'_>) -> Result<Vec<(usize, usize)>, PruneError> {
        match &self.schedule {
            Schedule::Published => Ok(case.shares(&PUBLISHED)),
            Schedule::Kept => Ok(case.kept(&[PUBLISHED])),
            Schedule::Fixed(drops) => Ok(drops.clone()),
            Schedule::Average => case.averaged(&AVERAGES, |case, drops| {
                let stages = case.stages(drops, DecoderSignals::default());
                processed_average(&case.per_layer(&stages))
            }),
        }
    }
}

pub(crate) const ENTRY: Baseline = row(
    "pyramiddrop",
    "most seen by the last token, in three steps; average over layers",
    || Box::new(PyramidDrop::default()),
);
pub(crate) const PUBLISHED_SHARES: Baseline = row(
    "pyramiddrop-published",
    "the same with the published shares, whatever the budget",
    || {
        Box::new(PyramidDrop {
            schedule: Schedule::Published,
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
    arxiv: "2410.17247",
    venue: "CVPR 2025",
    licence: "MIT",
    check: Check::Oracle,
};

impl Pruner for PyramidDrop {
    fn name(&self) -> &str {
        match self.schedule {
            Schedule::Published => "pyramiddrop-published",
            Schedule::Kept => "pyramiddrop-kept",
            Schedule::Average | Schedule::Fixed(_) => "pyramiddrop",
        }
    }

    fn positions(&self) -> PositionRule {
        PositionRule::Reindex
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }
}

impl DecoderPruner for PyramidDrop {
    fn stages(&self, n_layers: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        let signals = DecoderSignals::rows(RowsOf::Next, Queries::Last);
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

    fn drops(schedule: Schedule, n_layers: usize, n_visual: usize, budget: usize) -> Vec<(usize, usize)> {
        let stages = PyramidDrop { schedule }
            .stages(n_layers, n_visual, &Budget::Tokens(budget))
            .unwrap();
        stages.iter().map(|stage| (stage.layer, stage.keep)).collect()
    }

    fn average(drops: &[(usize, usize)], n_layers: usize, n_visual: usize) -> f64 {
        let case = Case::new("", n_layers, n_visual, &Budget::Tokens(1))
            .unwrap()
            .unwrap();
        processed_average(&case.per_layer(&case.stages(drops, DecoderSignals::default())))
    }

    #[test]
    fn tabled_averages_use_the_table() {
        for (row, exact) in AVERAGES.iter().zip([191.9, 128.0, 64.1]) {
            let found = drops(Schedule::Average, 32, 576, row.average);
            assert_eq!(found, row.drops);
            assert!((average(&found, 32, 576) - exact).abs() < 0.05);
        }
    }

    #[test]
    fn published_shares_average_270_and_follow_the_depth() {
        let found = drops(Schedule::Published, 32, 576, 64);
        assert_eq!(found, PUBLISHED.drops);
        assert_eq!(average(&found, 32, 576), 270.0);
        assert_eq!(
            drops(Schedule::Published, 4, 145, 64),
            [(1, 72), (2, 36), (3, 18)]
        );
        assert_eq!(drops(Schedule::Kept, 32, 576, 36), [(8, 144), (16, 72), (24, 36)]);
    }

    #[test]
    fn other_sizes_meet_the_average_or_say_why_not() {
        for (n_layers, n_visual, budget) in [(32, 576, 300), (28, 400, 44), (40, 2880, 640), (12, 144, 40)] {
            let found = average(
                &drops(Schedule::Average, n_layers, n_visual, budget),
                n_layers,
                n_visual,
            );
            assert!(
                (found - budget as f64).abs() < 1.0 + 0.005 * budget as f64,
                "{budget}: {found}"
            );
        }
        let error = PyramidDrop::default()
            .stages(4, 144, &Budget::Tokens(16))
            .unwrap_err();
        assert!(
            matches!(error, PruneError::UnreachableBudget { least: 37, .. }),
            "{error}"
        );
    }
}
