//! The row of LLaVA-1.5 in the table of backbones, and its tokens without its weights.

use std::path::Path;
use std::sync::Arc;

use diffprune_pruner::{Grid, Layout, PositionRule};

use super::layout;
use crate::load::Backbone;
use crate::plan::ImagePlan;
use crate::{
    Family, ImageMode, ImageProcessor, ImageShape, LlamaConfig, Llava, LlavaConfig, LoadError, LoadOptions,
    VisualSequence, VlmError, render_prompt,
};

/// LLaVA-1.5.
pub(crate) const BACKBONE: Backbone = Backbone {
    family: Family::Llava15,
    marks: ["llava", "LlavaForConditionalGeneration"],
    load: |dir, device, options| Ok(Box::new(Llava::load(dir, device, options)?)),
    plan,
    prompt: |style, template, turns| render_prompt(style, template.as_ref(), turns),
};

/// One raster over one view.
#[derive(Debug)]
struct OneView {
    config: LlavaConfig,
    mode: ImageMode,
}

fn plan(dir: &Path, options: LoadOptions) -> Result<(LlamaConfig, Arc<dyn ImagePlan>), LoadError> {
    let config = LlavaConfig::from_dir(dir)?;
    let mode = ImageProcessor::from_dir(dir)?.with_mode(options.image_mode).mode;
    Ok((config.text.clone(), Arc::new(OneView { config, mode })))
}

impl ImagePlan for OneView {
    fn layout(&self, width: u32, height: u32) -> Result<Layout, VlmError> {
        let image = ImageShape {
            width,
            height,
            rows: 1,
            grid: Grid { rows: 1, cols: 1 },
        };
        Ok(layout(&self.config, self.mode, &image))
    }

    fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        VisualSequence::raster(keep, layout.n_tokens(), rule)
    }
}
