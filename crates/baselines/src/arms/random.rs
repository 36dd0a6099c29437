//! Random tokens: the floor under every method.

use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection};

use crate::registry::Baseline;
use crate::tools::draw::{shuffled, stream};

/// Keeps K tokens drawn without replacement, from the context's seed and the image's sample id alone.
///
/// With the same seed a smaller budget keeps a subset of what a larger one keeps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

pub(crate) const ENTRY: Baseline = Baseline::arm("random", "drawn at random", || Box::new(Random)).seeded();

impl Pruner for Random {
    fn name(&self) -> &str {
        "random"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let row = |row: usize| {
            let mut rng = stream(1, context.seed, context.sample_ids[row]);
            let mut order = shuffled(context.n_tokens(row), &mut rng);
            order.truncate(context.budget(row));
            order
        };
        Ok(Selection::keep((0..context.batch()).map(row).collect()))
    }
}
