//! The row of LLaVA-NeXT in the table of backbones, and its tokens without its weights.

use std::path::Path;
use std::sync::Arc;

use diffprune_pruner::{Layout, PositionRule};

use super::{LlavaNext, NextOptions, Packing};
use crate::load::Backbone;
use crate::plan::ImagePlan;
use crate::{
    AnyRes, Family, LlamaConfig, LlavaNextConfig, LoadError, LoadOptions, VisualSequence, VlmError,
    render_prompt,
};

/// LLaVA-NeXT.
pub(crate) const BACKBONE: Backbone = Backbone {
    family: Family::LlavaNext,
    marks: ["llava_next", "LlavaNextForConditionalGeneration"],
    load: |dir, device, options| Ok(Box::new(LlavaNext::load(dir, device, options)?)),
    plan,
    prompt: |style, template, turns| render_prompt(style, template.as_ref(), turns),
};

/// A small view and the map of the tiles.
#[derive(Debug)]
struct Tiles {
    processor: AnyRes,
    side: usize,
    options: NextOptions,
}

fn plan(dir: &Path, options: LoadOptions) -> Result<(LlamaConfig, Arc<dyn ImagePlan>), LoadError> {
    let config = LlavaNextConfig::from_dir(dir)?;
    let tiles = Tiles {
        processor: AnyRes::from_dir(dir, &config)?,
        side: config.llava.vision.grid_side(),
        options: options.next,
    };
    Ok((config.llava.text, Arc::new(tiles)))
}

impl ImagePlan for Tiles {
    fn layout(&self, width: u32, height: u32) -> Result<Layout, VlmError> {
        let tiles = self.processor.grid(width, height);
        let packing = Packing::new(width, height, tiles, self.side, self.options.tokens);
        Ok(packing.layout(width, height, &self.processor))
    }

    fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        self.options.newlines.sequence(layout, keep, rule)
    }
}
