//! Random tokens that cover the picture evenly.

use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection};

use crate::registry::Baseline;
use crate::tools::cells::layout_cells;
use crate::tools::draw::{one_of, stream};

/// Keeps one random token of each of K compact cells of the grid.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stratified;

pub(crate) const ENTRY: Baseline = Baseline::arm("stratified", "one at random of each cell", || {
    Box::new(Stratified)
})
.seeded();

impl Pruner for Stratified {
    fn name(&self) -> &str {
        "stratified"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let row = |row: usize| {
            let mut rng = stream(2, context.seed, context.sample_ids[row]);
            layout_cells(&context.layouts[row], context.budget(row))
                .iter()
                .map(|cell| cell.token(one_of(cell.len(), &mut rng)))
                .collect()
        };
        Ok(Selection::keep((0..context.batch()).map(row).collect()))
    }
}
