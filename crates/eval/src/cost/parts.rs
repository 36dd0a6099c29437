//! Arithmetic of everything before the language model.

use serde::{Deserialize, Serialize};

use super::flops::{Counting, prefill_flops};
use super::schedule::Schedule;
use super::shape::{BlockShape, ModelShape, VisionShape};

/// FLOPs of the vision tower for the patches of `tokens` visual tokens: embedding and blocks, every view on its own.
fn vision_flops(shape: &VisionShape, tokens: usize, counting: Counting) -> f64 {
    let views = shape.views.max(1) as f64;
    let patches = (tokens * shape.patches_per_token) as f64 / views;
    let n = patches + shape.extra_tokens as f64;
    let blocks = &shape.blocks;
    let layers = blocks.n_layers as f64;
    let mut sum = patches * (shape.d_patch * blocks.d_model) as f64 + layers * n * blocks.linear();
    if counting.products {
        let (full, window) = shape.windows.map_or((layers, n), |windows| {
            (
                (windows.full_layers as f64).min(layers),
                (windows.patches as f64).min(n),
            )
        });
        sum += full * blocks.products(n, n) + (layers - full) * blocks.products(n, window);
    }
    views * sum * f64::from(counting.per_multiply_add)
}

/// FLOPs of the projector for `tokens` visual tokens.
fn projector_flops(shape: &VisionShape, tokens: usize, counting: Counting) -> f64 {
    let per_token: usize = shape.projector.windows(2).map(|pair| pair[0] * pair[1]).sum();
    (tokens * per_token) as f64 * f64::from(counting.per_multiply_add)
}

/// FLOPs of a scorer: blocks over all tokens and one number per token.
fn scorer_flops(blocks: &BlockShape, tokens: usize, counting: Counting) -> f64 {
    let n = tokens as f64;
    let mut sum = n * (blocks.n_layers as f64 * blocks.linear() + blocks.d_model as f64);
    if counting.products {
        sum += blocks.n_layers as f64 * blocks.products(n, n);
    }
    sum * f64::from(counting.per_multiply_add)
}

/// FLOPs of every stage up to the first new token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    /// The vision tower.
    pub vision: f64,
    /// The scorer.
    pub scorer: f64,
    /// The projector, kept tokens alone.
    pub projector: f64,
    /// The language model's prefill.
    pub prefill: f64,
}

impl Stages {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.vision + self.scorer + self.projector + self.prefill
    }
}

/// FLOPs when `kept` of the shape's visual tokens are left before the language model, beside `text` other tokens.
pub fn stages(
    shape: &ModelShape,
    scorer: Option<&BlockShape>,
    kept: usize,
    text: usize,
    counting: Counting,
) -> Stages {
    let all = shape.vision.tokens;
    let schedule = Schedule::uniform(shape.language.n_layers, kept + text);
    Stages {
        vision: vision_flops(&shape.vision, all, counting),
        scorer: scorer.map_or(0.0, |blocks| scorer_flops(blocks, all, counting)),
        projector: projector_flops(&shape.vision, kept, counting),
        prefill: prefill_flops(shape, &schedule, counting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clip_large_is_the_textbook_sum() {
        let shape = ModelShape::preset("llava-1.5-7b").unwrap().vision;
        let found = vision_flops(&shape, 576, Counting::FULL);
        let (n, d, m) = (577.0, 1024.0, 4096.0);
        let layer = 4.0 * n * d * d + 2.0 * n * d * m + 2.0 * n * n * d;
        assert_eq!(found, 2.0 * (576.0 * 588.0 * d + 23.0 * layer));
        let next = ModelShape::preset("llava-next-7b").unwrap().vision;
        assert_eq!(vision_flops(&next, 2880, Counting::FULL), 5.0 * found);
    }

    #[test]
    fn windows_save_products_only() {
        let windowed = ModelShape::preset("qwen2.5-vl-7b").unwrap().vision;
        let full = VisionShape {
            windows: None,
            ..windowed.clone()
        };
        let linear = Counting::PROFILER;
        assert_eq!(
            vision_flops(&windowed, 1296, linear),
            vision_flops(&full, 1296, linear)
        );
        let saved = vision_flops(&full, 1296, Counting::FULL) - vision_flops(&windowed, 1296, Counting::FULL);
        let n = 4.0 * 1296.0;
        assert_eq!(saved, 2.0 * 28.0 * 2.0 * n * (n - 64.0) * 1280.0);
        // A picture smaller than a window has nothing to save.
        assert_eq!(
            vision_flops(&full, 16, Counting::FULL),
            vision_flops(&windowed, 16, Counting::FULL)
        );
    }

    #[test]
    fn projector_scorer_and_the_sum() {
        let shape = ModelShape::preset("llava-1.5-7b").unwrap();
        let macs = projector_flops(&shape.vision, 64, Counting::MULTIPLY_ADDS);
        assert_eq!(macs, 64.0 * (1024.0 * 4096.0 + 4096.0 * 4096.0));
        let scorer = BlockShape::plain(1024, 4096, 2, 16, false);
        let found = scorer_flops(&scorer, 576, Counting::PROFILER);
        // 12 d^2 per block and token, twice, and the head.
        assert_eq!(found, 2.0 * 576.0 * (2.0 * 12.0 * 1024.0 * 1024.0 + 1024.0));
        let with = stages(&shape, Some(&scorer), 64, 97, Counting::FULL);
        let without = stages(&shape, None, 64, 97, Counting::FULL);
        assert_eq!(
            with.total() - with.scorer,
            without.vision + without.projector + without.prefill
        );
        assert!(with.scorer < 0.02 * with.total());
    }
}
