//! Methods that do as they are told.

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use diffprune_pruner::{
    Budget, DecoderContext, DecoderPruner, DecoderSelection, DecoderSignals, DecoderStage, PruneError,
    PruneResult, Pruner, PruningContext, Queries, RowsOf, Selection, Signals,
};
use diffprune_vlm::FakeVlm;
use image::{Rgb, RgbImage};

/// Keeps the first tokens, and counts the images that it saw.
#[derive(Default)]
pub struct First {
    pub images: AtomicUsize,
}

impl Pruner for First {
    fn name(&self) -> &str {
        "first"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        self.images.fetch_add(context.batch(), Ordering::Relaxed);
        let keep = |row| (0..context.budget(row)).collect();
        Ok(Selection::keep((0..context.batch()).map(keep).collect()))
    }
}

/// Keeps the tokens that fit the question best.
pub struct Fitting;

impl Pruner for Fitting {
    fn name(&self) -> &str {
        "fitting"
    }

    fn signals(&self) -> Signals {
        Signals {
            text_relevance: true,
            ..Signals::default()
        }
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let fit = context.require(
            |observed| &observed.text_relevance,
            "fitting",
            "fit to the question",
        )?;
        let [batch, n] = fit.dims();
        let fit = fit.to_data().try_to_vec::<f32>().expect("numbers");
        let keep = |row: usize| {
            let own = &fit[row * n..(row + 1) * n];
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| own[b].total_cmp(&own[a]));
            order.truncate(context.budget(row));
            order
        };
        Ok(Selection::keep((0..batch).map(keep).collect()))
    }
}

/// Inside the language model: before layer 2 keeps the tokens that the last token looks at most, and counts its calls.
#[derive(Default)]
pub struct Inside {
    pub calls: AtomicUsize,
    /// The call that fails, counted from 0.
    pub fails_at: Option<usize>,
}

impl Pruner for Inside {
    fn name(&self) -> &str {
        "inside"
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }
}

impl DecoderPruner for Inside {
    fn stages(&self, _: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        let stage = DecoderStage {
            layer: 2,
            keep: budget.resolve(n_visual)?,
            merged: 0,
            signals: DecoderSignals::rows(RowsOf::Previous, Queries::Last),
        };
        Ok(vec![stage])
    }

    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection> {
        if Some(self.calls.fetch_add(1, Ordering::Relaxed)) == self.fails_at {
            return Err(PruneError::missing("inside", "patience"));
        }
        let rows = context.require(|observed| &observed.attention, "inside", "attention")?;
        let rows = rows.to_data().try_to_vec::<f32>().expect("numbers");
        let mut order: Vec<usize> = (0..context.visual.len()).collect();
        order.sort_by(|&a, &b| rows[context.visual[b]].total_cmp(&rows[context.visual[a]]));
        order.truncate(stage.keep);
        Ok(DecoderSelection::keep(order))
    }
}

/// A dark picture whose cells at these places of a 4 by 4 raster are red.
pub fn picture(red: &[usize]) -> RgbImage {
    RgbImage::from_fn(40, 24, |x, y| {
        let cell = (y / 6 * 4 + x / 10) as usize;
        Rgb([if red.contains(&cell) { 255 } else { 0 }, 40, 80])
    })
}

/// The model on the CPU.
pub fn fake() -> FakeVlm {
    FakeVlm::new(&Device::flex())
}
