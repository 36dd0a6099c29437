//! Arguments about a method.

use diffprune::PositionRule;

/// Help for arguments that name a method.
pub const HELP: &str = "How tokens are chosen: cls, random, stratified, uniform-grid, average-pool, first-k, last-k, \
                        centre, untrained, any published method by its name, diffprune (the trained scorer that a \
                        shipped model brings along), or a trained scorer (or rival) as diffprune:DIR, inverted:DIR or \
                        at-budget:DIR. With -per-view behind the name (random-per-view, \
                        diffprune-per-view:DIR) each view of LLaVA-NeXT chooses by itself with its share of the budget \
                        [default: diffprune where a scorer lies beside the weights; elsewhere cls, or holov-qwen for \
                        Qwen2.5-VL, whose encoder has no [CLS]]";

/// Position ids of kept tokens, as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Positions {
    /// Those of the full sequence.
    Keep,
    /// 0, 1, 2, … over the shortened sequence.
    Reindex,
}

impl From<Positions> for PositionRule {
    fn from(positions: Positions) -> Self {
        match positions {
            Positions::Keep => Self::Keep,
            Positions::Reindex => Self::Reindex,
        }
    }
}
