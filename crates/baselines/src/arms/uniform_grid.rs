//! An even lattice of tokens.

use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection};

use crate::registry::Baseline;
use crate::tools::cells::{LayoutCell, layout_cells};

/// Keeps the middle token of each of K compact cells of the grid.
#[derive(Debug, Clone, Copy, Default)]
pub struct UniformGrid;

pub(crate) const ENTRY: Baseline =
    Baseline::arm("uniform-grid", "middle of each cell", || Box::new(UniformGrid));

impl Pruner for UniformGrid {
    fn name(&self) -> &str {
        "uniform-grid"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let row = |row: usize| {
            layout_cells(&context.layouts[row], context.budget(row))
                .iter()
                .map(LayoutCell::middle)
                .collect()
        };
        Ok(Selection::keep((0..context.batch()).map(row).collect()))
    }
}
