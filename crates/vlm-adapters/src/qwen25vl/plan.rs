//! The row of Qwen2.5-VL in the table of backbones, and its tokens without its weights.

use std::path::Path;
use std::sync::Arc;

use diffprune_pruner::{Layout, PositionRule};

use super::Qwen25Vl;
use super::qwen::qwen_prompt;
use super::vision::cells;
use crate::load::Backbone;
use crate::plan::{ImagePlan, refuse};
use crate::{
    Family, ImageShape, LlamaConfig, LoadError, LoadOptions, Qwen25VlConfig, QwenImageProcessor,
    VisualSequence, VlmError,
};

/// Qwen2.5-VL.
pub(crate) const BACKBONE: Backbone = Backbone {
    family: Family::Qwen25Vl,
    marks: ["qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"],
    load: |dir, device, options| Ok(Box::new(Qwen25Vl::load(dir, device, options)?)),
    plan,
    prompt: |_, template, turns| qwen_prompt(template, turns),
};

/// Cells of patches, as many as the image is large.
#[derive(Debug)]
struct Cells {
    processor: QwenImageProcessor,
    merge: usize,
}

fn plan(dir: &Path, options: LoadOptions) -> Result<(LlamaConfig, Arc<dyn ImagePlan>), LoadError> {
    let config = Qwen25VlConfig::from_dir(dir)?;
    let processor = QwenImageProcessor {
        pad_square: options.qwen.pad_square,
        ..QwenImageProcessor::from_dir(dir)?
    };
    let cells = Cells {
        processor: processor.with_budget(options.qwen.min_pixels, options.qwen.max_pixels)?,
        merge: config.vision.spatial_merge_size,
    };
    Ok((config.text, Arc::new(cells)))
}

impl ImagePlan for Cells {
    fn layout(&self, width: u32, height: u32) -> Result<Layout, VlmError> {
        let grid = self.processor.grid(width, height).ok_or_else(|| {
            let wanted = "sides whose ratio the model takes; crop the image or pad it to a square";
            refuse(width, height, wanted)
        })?;
        let image = ImageShape {
            width,
            height,
            rows: grid.n_tokens(),
            grid,
        };
        Ok(self.processor.layout(&image, cells(&[grid], self.merge)[0]))
    }

    fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        VisualSequence::cells(layout.segments[0].grid, keep, rule)
    }
}
