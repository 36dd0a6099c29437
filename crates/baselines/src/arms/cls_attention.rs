//! The tokens that `[CLS]` attends to (FasterVLM's rule, Zhang et al. 2024).

use burn::tensor::FloatDType;
use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection, Signals};

use crate::Shuffled;
use crate::registry::Baseline;
use crate::tools::top::{host_scores, top_k};

/// Keeps the K tokens with the highest `[CLS]` attention, averaged over the heads; ties go to the lower index.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClsAttention;

pub(crate) const ENTRY: Baseline =
    Baseline::arm("cls-attention", "most seen by [CLS]", || Box::new(ClsAttention)).cost("N log N");

pub(crate) const SHUFFLED: Baseline =
    Baseline::arm("cls-attention-shuffled", "the same with shuffled scores", || {
        Box::new(Shuffled::new(ClsAttention))
    })
    .cost("N log N")
    .seeded();

impl Pruner for ClsAttention {
    fn name(&self) -> &str {
        "cls-attention"
    }

    fn signals(&self) -> Signals {
        Signals {
            cls_attention: true,
            ..Signals::default()
        }
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let attention = context.require_cls_attention(self.name())?.clone();
        let mean = attention.cast(FloatDType::F32).mean_dim(1).squeeze_dim::<2>(1);
        let scores = host_scores(context, mean, self.name(), "[CLS] attention")?;
        let row = |(row, scores): (usize, &Vec<f32>)| top_k(scores, context.budget(row));
        Ok(Selection::keep(scores.iter().enumerate().map(row).collect()))
    }
}
