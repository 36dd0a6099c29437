//! From a budget to drops at layers.

use diffprune_pruner::{
    Budget, DecoderSignals, DecoderStage, PruneError, PruneResult, visual_tokens_per_layer,
};

/// Layers of the decoder for which the methods were published.
const LAYERS: usize = 32;

/// Visual tokens of the model for which the methods were published.
const TOKENS: usize = 576;

/// The rule that turns a budget into drops. Whatever the schedule, a budget of all tokens drops none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Schedule {
    /// The publication's own drops; the budget only says whether to drop at all.
    Published,
    /// The budget is the number of visual tokens averaged over the layers.
    #[default]
    Average,
    /// The budget is the number of visual tokens kept after the last drop.
    Kept,
    /// These drops: before layer `.0` (counted from 0) `.1` visual tokens are kept.
    Fixed(Vec<(usize, usize)>),
}

/// A published or computed row: drops for 576 visual tokens in 32 layers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The average that the row stands for.
    pub(super) average: usize,
    /// Layers that have run, and visual tokens kept.
    pub(super) drops: [(usize, usize); 3],
}

/// The decoder and the sequence for which drops are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) method: &'a str,
    pub(super) n_layers: usize,
    pub(super) n_visual: usize,
    /// The resolved budget.
    pub(super) wanted: usize,
}

/// The stages of a method: none when the budget keeps every token, otherwise those that `plan` makes.
///
/// # Errors
/// When the budget keeps nothing, or as `plan`.
pub(super) fn stages(
    method: &str,
    n_layers: usize,
    n_visual: usize,
    budget: &Budget,
    plan: impl FnOnce(&Case<'_>) -> PruneResult<Vec<DecoderStage>>,
) -> PruneResult<Vec<DecoderStage>> {
    Case::new(method, n_layers, n_visual, budget)?.map_or(Ok(Vec::new()), |case| plan(&case))
}

impl<'a> Case<'a> {
    /// `None` when the budget keeps every token.
    pub(super) fn new(
        method: &'a str,
        n_layers: usize,
        n_visual: usize,
        budget: &Budget,
    ) -> Result<Option<Self>, PruneError> {
        let wanted = budget.resolve(n_visual)?;
        let case = Self {
            method,
            n_layers,
            n_visual,
            wanted,
        };
        Ok((wanted < n_visual).then_some(case))
    }

    pub(super) fn unreachable(&self, least: usize) -> PruneError {
        PruneError::UnreachableBudget {
            method: self.method.to_string(),
            budget: self.wanted,
            n_visual: self.n_visual,
            n_layers: self.n_layers,
            least,
        }
    }

    /// A single drop after `layer` layers has a place only in decoders with more layers.
    pub(super) fn single_layer(&self, layer: usize) -> Result<usize, PruneError> {
        match self.n_layers {
            0 | 1 => Err(self.unreachable(self.n_visual)),
            n_layers => Ok(layer.clamp(1, n_layers - 1)),
        }
    }

    /// Tokens after a single drop that give the average: `(average * L - n * K) / (L - K)`.
    pub(super) fn after_single_drop(&self, layer: usize) -> f64 {
        let (n_layers, layer) = (self.n_layers as f64, layer as f64);
        (self.wanted as f64 * n_layers - self.n_visual as f64 * layer) / (n_layers - layer)
    }

    /// The smallest average of a single drop that keeps at least `least` tokens.
    pub(super) fn least_average(&self, layer: usize, least: usize) -> usize {
        let least = least.min(self.n_visual);
        (self.n_visual * layer + least * (self.n_layers - layer)).div_ceil(self.n_layers)
    }

    /// Layers given for 32 layers, in proportion to this decoder's depth: ascending, at least 1; those that do not fit
    /// are left out.
    fn layers(&self, of_32: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut layers: Vec<usize> = Vec::new();
        for layer in of_32 {
            let scaled = (2 * layer * self.n_layers + LAYERS) / (2 * LAYERS);
            let least = layers.last().map_or(1, |last| last + 1);
            layers.push(scaled.max(least));
        }
        layers.retain(|&layer| layer < self.n_layers);
        layers
    }

    /// A row's drops, with `scale` times its tokens.
    fn scaled(&self, row: &Row, scale: f64) -> Vec<(usize, usize)> {
        let share = scale * self.n_visual as f64 / TOKENS as f64;
        let count = |keep: usize| ((keep as f64 * share).round() as usize).clamp(1, self.n_visual);
        let layers = self.layers(row.drops.iter().map(|&(layer, _)| layer));
        let keep = row.drops.iter().map(|&(_, keep)| count(keep));
        layers.into_iter().zip(keep).collect()
    }

    /// The row's own shares of the tokens, rounded down, whatever the budget.
    pub(super) fn shares(&self, row: &Row) -> Vec<(usize, usize)> {
        let layers = self.layers(row.drops.iter().map(|&(layer, _)| layer));
        let keep = row
            .drops
            .iter()
            .map(|&(_, keep)| (self.n_visual * keep / TOKENS).max(1));
        layers.into_iter().zip(keep).collect()
    }

    /// Drops in the proportions of the row that is nearest to the budget, scaled so that the last drop keeps it.
    pub(super) fn kept(&self, rows: &[Row]) -> Vec<(usize, usize)> {
        let Some(row) = self.nearest(rows) else {
            return Vec::new();
        };
        let last = row.drops[row.drops.len() - 1].1;
        let scale = self.wanted as f64 / self.n_visual as f64 * TOKENS as f64 / last as f64;
        self.scaled(row, scale)
    }

    /// Drops in the proportions of the row that is nearest to the budget, scaled so that `average` of the visual tokens
    /// of the layers is the budget, as exactly as the row meets its own.
    pub(super) fn averaged(
        &self,
        rows: &[Row],
        average: impl Fn(&Case<'_>, &[(usize, usize)]) -> f64,
    ) -> Result<Vec<(usize, usize)>, PruneError> {
        let Some(row) = self.nearest(rows) else {
            return Ok(Vec::new());
        };
        let of_row = Case {
            n_layers: LAYERS,
            n_visual: TOKENS,
            ..*self
        };
        let precision = average(&of_row, &row.drops) / row.average as f64;
        let wanted = precision * self.wanted as f64 + 1e-6;
        let of = |scale: f64| average(self, &self.scaled(row, scale));
        if of(0.0) > wanted {
            let least = (of(0.0) / precision).ceil() as usize;
            return Err(self.unreachable(least.min(self.n_visual)));
        }
        // The row itself where it is exact; else the largest scale that stays within the budget.
        if (of(1.0) - wanted).abs() < 1e-5 {
            return Ok(self.scaled(row, 1.0));
        }
        let (mut low, mut high) = (0.0, TOKENS as f64);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            match of(middle) <= wanted {
                true => low = middle,
                false => high = middle,
            }
        }
        Ok(self.scaled(row, low))
    }

    /// The row whose share of the tokens is nearest to the budget's, by ratio.
    fn nearest<'r>(&self, rows: &'r [Row]) -> Option<&'r Row> {
        let wanted = self.wanted as f64 / self.n_visual as f64 * TOKENS as f64;
        let distance = |row: &Row| (row.average as f64 / wanted).ln().abs();
        rows.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// Stages of plain drops.
    pub(super) fn stages(&self, drops: &[(usize, usize)], signals: DecoderSignals) -> Vec<DecoderStage> {
        let stage = |&(layer, keep): &(usize, usize)| DecoderStage {
            layer,
            keep: keep.min(self.n_visual),
            merged: 0,
            signals,
        };
        drops.iter().map(stage).collect()
    }

    /// Visual tokens that enter each layer.
    pub(super) fn per_layer(&self, stages: &[DecoderStage]) -> Vec<usize> {
        visual_tokens_per_layer(self.n_layers, self.n_visual, stages)
    }
}
