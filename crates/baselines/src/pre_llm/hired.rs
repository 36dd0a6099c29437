//! HiRED (Arif et al., AAAI 2025, arXiv 2408.10945).

use burn::tensor::FloatDType;
use diffprune_pruner::{Layout, PositionRule, PruneError, Pruner, PruningContext, Selection, Signals};

use crate::fidelity::Fidelity;
use crate::registry::{Baseline, Check, Paper};
use crate::tools::crops::view_tokens;
use crate::tools::saliency::{saliency, saliency_signals};
use crate::tools::top::{host_scores, top_k};

/// Shares the budget out among the crops by what the encoder's first layer looks at, and keeps the tokens of each crop
/// with the highest `[CLS]` attention of the last used layer.
///
/// With one crop it is `[CLS]` top-K. With several, the whole image gets the share `alpha` of the budget. The rest goes
/// to the tiles in proportion to how many of the `1 - alpha` best cells of the whole image (first layer) lie in each.
/// Every share is cut to a whole number and nothing is handed on, so a few tokens less than the budget may be kept (but one
/// at least, of the whole image).
///
/// - Reference: the cells of the whole image are cut into runs of rows, one per tile, whatever the tiles' arrangement.
/// - Corrected: a cell counts for the tile that covers it, as the paper draws it.
///
/// In the published code padding competes and is dropped after the choice; here it has no tokens, so an image that was
/// padded keeps more tokens than there. Where the encoder has no `[CLS]` there are no crops, and the attention that a
/// token receives takes its place (ours).
#[derive(Debug, Clone, Copy)]
pub struct Hired {
    /// Share of the whole image among the crops; 0.5 in all published runs.
    pub alpha: f64,
    /// Runs of rows or the tiles' own cells; the published code by default.
    pub fidelity: Fidelity,
    /// Position ids of the kept tokens; the published code counts anew.
    pub positions: PositionRule,
}

impl Default for Hired {
    fn default() -> Self {
        Self {
            alpha: 0.5,
            fidelity: Fidelity::Reference,
            positions: PositionRule::Reindex,
        }
    }
}

pub(crate) const ENTRY: Baseline =
    Baseline::arm("hired", "most seen by [CLS], crops share by layer 0", || {
        Box::new(Hired::default())
    })
    .cost("N log N")
    .paper(Paper {
        arxiv: "2408.10945",
        venue: "AAAI 2025",
        licence: "MIT",
        check: Check::Oracle,
    })
    .differs("a tile's cells are a run of rows", "those that it covers");
pub(crate) const CORRECTED: Baseline = ENTRY.corrected("hired-corrected", || {
    Box::new(Hired {
        fidelity: Fidelity::Corrected,
        ..Hired::default()
    })
});

/// The budget of each crop, the whole image first.
///
/// - `k`: the budget of the image
/// - `alpha`: share of the whole image
/// - `sizes`: number of cells of each crop
/// - `first`: attention of the first layer over the cells of the whole image
/// - `tile_of`: the tile (counted from 0) to which each cell of the whole image counts; `None` to none
///
/// # Panics
/// When `sizes` is empty.
pub fn crop_budgets(
    k: usize,
    alpha: f64,
    sizes: &[usize],
    first: &[f32],
    tile_of: &[Option<usize>],
) -> Vec<usize> {
    let n_tiles = sizes.len() - 1;
    let whole = ((alpha * k as f64) as usize).min(sizes[0]).min(k);
    let tiles = (k - whole).min(sizes[1..].iter().sum());
    let n_best = (first.len() as f64 * (1.0 - alpha)) as usize;
    let mut counts = vec![0; n_tiles];
    for cell in top_k(first, n_best) {
        if let Some(tile) = tile_of[cell] {
            counts[tile] += 1;
        }
    }
    let total = counts.iter().sum::<usize>().max(1);
    let of_tile = |(count, &size): (usize, &usize)| (tiles * count / total).min(size);
    let of_tiles = counts.into_iter().zip(&sizes[1..]).map(of_tile);
    std::iter::once(whole).chain(of_tiles).collect()
}

/// The runs of the published code: cell `i` of `n_cells` counts to tile `i * n_tiles / n_cells`.
pub fn runs(n_cells: usize, n_tiles: usize) -> Vec<Option<usize>> {
    (0..n_cells)
        .map(|cell| (n_tiles > 0).then(|| cell * n_tiles / n_cells))
        .collect()
}

/// For each token of the first view the tile (counted from 0) that covers its middle.
fn covering_tiles(layout: &Layout, views: &[Vec<usize>]) -> Vec<Option<usize>> {
    let areas = |tokens: &Vec<usize>| {
        tokens
            .iter()
            .filter_map(|&token| layout.area(token))
            .collect::<Vec<_>>()
    };
    let bounds: Vec<[f64; 4]> = views[1..]
        .iter()
        .map(|tokens| {
            let none = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
            areas(tokens)
                .iter()
                .fold(none, |[left, top, right, bottom], area| {
                    [
                        left.min(area.left),
                        top.min(area.top),
                        right.max(area.right),
                        bottom.max(area.bottom),
                    ]
                })
        })
        .collect();
    areas(&views[0])
        .iter()
        .map(|area| {
            let (x, y) = ((area.left + area.right) / 2.0, (area.top + area.bottom) / 2.0);
            bounds
                .iter()
                .position(|&[left, top, right, bottom]| left <= x && x < right && top <= y && y < bottom)
        })
        .collect()
}

impl Pruner for Hired {
    fn name(&self) -> &str {
        match self.fidelity {
            Fidelity::Reference => ENTRY.name,
            Fidelity::Corrected => CORRECTED.name,
        }
    }

    fn signals(&self) -> Signals {
        Signals {
            first_cls_attention: true,
            ..saliency_signals()
        }
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let saliency = saliency(context, self.name())?;
        let views: Vec<Vec<Vec<usize>>> = context.layouts.iter().map(view_tokens).collect();
        let first = if views.iter().any(|views| views.len() > 1) {
            let wanted = "[CLS] attention of the first layer";
            let first = context.require(|observed| &observed.first_cls_attention, self.name(), wanted)?;
            let mean = first
                .clone()
                .cast(FloatDType::F32)
                .mean_dim(1)
                .squeeze_dim::<2>(1);
            host_scores(context, mean, self.name(), wanted)?
        } else {
            saliency.clone()
        };
        let image = |(row, views): (usize, Vec<Vec<usize>>)| {
            let k = context.budget(row);
            if views.len() < 2 || k == context.n_tokens(row) {
                return top_k(&saliency[row], k);
            }
            let of = |scores: &[f32], view: &[usize]| -> Vec<f32> {
                view.iter().map(|&token| scores[token]).collect()
            };
            let tile_of = match self.fidelity {
                Fidelity::Reference => runs(views[0].len(), views.len() - 1),
                Fidelity::Corrected => covering_tiles(&context.layouts[row], &views),
            };
            let sizes: Vec<usize> = views.iter().map(Vec::len).collect();
            let mut budgets = crop_budgets(k, self.alpha, &sizes, &of(&first[row], &views[0]), &tile_of);
            if budgets.iter().all(|&k| k == 0) {
                budgets[0] = 1;
            }
            let kept = views.iter().zip(budgets).flat_map(|(view, k)| {
                let scores = of(&saliency[row], view);
                top_k(&scores, k).into_iter().map(|place| view[place])
            });
            kept.collect()
        };
        Ok(Selection::keep(
            views.into_iter().enumerate().map(image).collect(),
        ))
    }
}
