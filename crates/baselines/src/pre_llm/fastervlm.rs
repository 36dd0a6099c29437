//! FasterVLM (Zhang et al., arXiv 2412.01818 version 1).

use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Signals};

use crate::registry::{Baseline, Check, Paper};
use crate::tools::crops::select_by_crop;
use crate::tools::saliency::{saliency, saliency_signals};
use crate::tools::top::top_k;

/// Keeps the tokens with the highest `[CLS]` attention of each crop, mean over the heads; ties go to the lower index.
///
/// The crops of LLaVA-NeXT get equal shares and do not compete. Code and paper agree. Where the encoder has no `[CLS]`
/// the attention that a token receives takes its place (ours; the authors have no such model).
#[derive(Debug, Clone, Copy)]
pub struct FasterVlm {
    /// Position ids of the kept tokens; the published code counts anew.
    pub positions: PositionRule,
}

impl Default for FasterVlm {
    fn default() -> Self {
        Self {
            positions: PositionRule::Reindex,
        }
    }
}

pub(crate) const ENTRY: Baseline = Baseline::arm("fastervlm", "most seen by [CLS], crop by crop", || {
    Box::new(FasterVlm::default())
})
.cost("N log N")
.paper(Paper {
    arxiv: "2412.01818v1",
    venue: "preprint",
    licence: "Apache-2.0",
    check: Check::Oracle,
});

impl Pruner for FasterVlm {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn signals(&self) -> Signals {
        saliency_signals()
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let saliency = saliency(context, self.name())?;
        Ok(select_by_crop(context, |row, crop| {
            top_k(&crop.of(&saliency[row]), crop.k)
        }))
    }
}
