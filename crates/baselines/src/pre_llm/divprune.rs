//! DivPrune (Alvar et al., CVPR 2025, arXiv 2503.02175).

use burn::tensor::Device;
use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Signals};

use crate::registry::{Baseline, Check, Paper};
use crate::tools::host::{Matrix, argmax, inner_products, projected_tokens};

/// Rows whose products with all others are held at a time.
const BLOCK: usize = 256;

/// Keeps the tokens that are far from one another: each next one has the largest cosine distance to the nearest of
/// those already kept. A smaller budget keeps a subset of what a larger one keeps.
///
/// Code and paper agree, with two differences here. A token is never picked twice, which can happen in the published
/// code among exact copies. And the row separators of LLaVA-NeXT, which take part there as candidates, are no tokens
/// here.
#[derive(Debug, Clone, Copy)]
pub struct DivPrune {
    /// Position ids of the kept tokens; the published code counts anew.
    pub positions: PositionRule,
}

impl Default for DivPrune {
    fn default() -> Self {
        Self {
            positions: PositionRule::Reindex,
        }
    }
}

pub(crate) const ENTRY: Baseline = Baseline::arm("divprune", "far from one another", || {
    Box::new(DivPrune::default())
})
.cost("N² D + N K D")
.paper(Paper {
    arxiv: "2503.02175",
    venue: "CVPR 2025",
    licence: "CC BY-NC 4.0",
    check: Check::Oracle,
});

/// The first `k` tokens in the order in which they are picked.
///
/// The first is the one whose nearest neighbour is farthest; `device` computes the products that this takes, some rows
/// at a time. Similarities to a picked token are computed when it is picked, so nothing of size N² is held.
pub fn order(features: &Matrix, k: usize, device: &Device) -> Vec<usize> {
    let unit = features.normalised(0.0);
    let n_tokens = unit.n_rows();
    let Some(mut next) = argmax(nearest(&unit, device).into_iter().map(|most| -most)) else {
        return Vec::new();
    };
    let mut picked = vec![next];
    let mut most = vec![f32::NEG_INFINITY; n_tokens];
    let mut row = vec![0.0; n_tokens];
    while picked.len() < k.min(n_tokens) {
        unit.products(unit.row(next), &mut row);
        for (most, similarity) in most.iter_mut().zip(&row) {
            *most = most.max(*similarity);
        }
        most[next] = f32::INFINITY;
        let Some(farthest) = argmax(most.iter().map(|most| -most)) else {
            break;
        };
        next = farthest;
        picked.push(next);
    }
    picked
}

/// For each unit row its largest product with another row.
fn nearest(unit: &Matrix, device: &Device) -> Vec<f32> {
    let n_tokens = unit.n_rows();
    let tensor = unit.clone().into_tensor(device);
    let mut most = vec![f32::NEG_INFINITY; n_tokens];
    for start in (0..n_tokens).step_by(BLOCK) {
        let end = (start + BLOCK).min(n_tokens);
        // The products with earlier rows are known from their blocks.
        let products = inner_products(
            tensor.clone().narrow(0, start, end - start),
            tensor.clone().narrow(0, start, n_tokens - start),
        );
        for (i, row) in products.rows().enumerate() {
            let mut best = most[start + i];
            for (j, &similarity) in row.iter().enumerate().skip(i + 1) {
                best = best.max(similarity);
                most[start + j] = most[start + j].max(similarity);
            }
            most[start + i] = best;
        }
    }
    most
}

impl Pruner for DivPrune {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn signals(&self) -> Signals {
        Signals {
            projected: true,
            ..Signals::default()
        }
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let (features, projected) = projected_tokens(context, self.name())?;
        let device = projected.device();
        let image = |(row, features): (usize, &Matrix)| order(features, context.budget(row), &device);
        Ok(Selection::keep(features.iter().enumerate().map(image).collect()))
    }
}
