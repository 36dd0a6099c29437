//! Published sizes.

use super::shape::{BlockShape, ModelShape, VisionShape, Windows};

/// Names of [`ModelShape::preset`].
const NAMES: [&str; 5] = [
    "llava-1.5-7b",
    "llava-next-7b",
    "qwen2.5-vl-3b",
    "qwen2.5-vl-7b",
    "qwen2.5-vl-32b",
];

impl ModelShape {
    /// Names of the published shapes.
    pub const PRESETS: [&str; 5] = NAMES;

    /// A published shape: LLaVA-1.5-7B at 336 pixels, LLaVA-NeXT (Vicuna-7B) with four tiles, Qwen2.5-VL with a picture of
    /// 1008 by 1008 pixels (1296 tokens).
    pub fn preset(name: &str) -> Option<Self> {
        let (language, vocab, vision) = match name {
            "llava-1.5-7b" => (vicuna_7b(), 32_064, clip_l_336(1)),
            "llava-next-7b" => (vicuna_7b(), 32_064, clip_l_336(5)),
            "qwen2.5-vl-3b" => (qwen(2048, 11_008, 36, 16, 2), 151_936, qwen_tower(3420, 2048)),
            "qwen2.5-vl-7b" => (qwen(3584, 18_944, 28, 28, 4), 152_064, qwen_tower(3420, 3584)),
            "qwen2.5-vl-32b" => (qwen(5120, 27_648, 64, 40, 8), 152_064, qwen_tower(3456, 5120)),
            _ => return None,
        };
        Some(Self {
            name: name.into(),
            language,
            vocab,
            vision,
        })
    }
}

fn vicuna_7b() -> BlockShape {
    BlockShape::plain(4096, 11_008, 32, 32, true)
}

fn qwen(d_model: usize, d_ffn: usize, n_layers: usize, n_heads: usize, n_kv_heads: usize) -> BlockShape {
    BlockShape {
        n_kv_heads,
        ..BlockShape::plain(d_model, d_ffn, n_layers, n_heads, true)
    }
}

/// CLIP ViT-L/14 at 336 pixels, read at its second-last layer, with LLaVA's two-layer projector.
fn clip_l_336(views: usize) -> VisionShape {
    VisionShape {
        blocks: BlockShape::plain(1024, 4096, 23, 16, false),
        d_patch: 3 * 14 * 14,
        extra_tokens: 1,
        windows: None,
        patches_per_token: 1,
        projector: vec![1024, 4096, 4096],
        tokens: 576 * views,
        views,
    }
}

/// The tower of Qwen2.5-VL: windows of 8 by 8 patches except in four blocks, four patches joined, two equal frames.
fn qwen_tower(d_ffn: usize, d_out: usize) -> VisionShape {
    VisionShape {
        blocks: BlockShape::plain(1280, d_ffn, 32, 16, true),
        d_patch: 3 * 2 * 14 * 14,
        extra_tokens: 0,
        windows: Some(Windows {
            patches: 64,
            full_layers: 4,
        }),
        patches_per_token: 4,
        projector: vec![4 * 1280, 4 * 1280, d_out],
        tokens: 1296,
        views: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_shape_that_fits_together() {
        for name in ModelShape::PRESETS {
            let shape = ModelShape::preset(name).unwrap();
            let vision = &shape.vision;
            assert_eq!(vision.projector.last(), Some(&shape.language.d_model), "{name}");
            assert_eq!(
                vision.projector[0],
                vision.blocks.d_model * vision.patches_per_token,
                "{name}"
            );
            assert_eq!(shape.language.n_heads % shape.language.n_kv_heads, 0, "{name}");
            assert_eq!(vision.tokens % vision.views, 0, "{name}");
        }
        assert!(ModelShape::preset("llava").is_none());
    }

    #[test]
    fn the_widths_of_qwen_heads_are_128() {
        for name in &ModelShape::PRESETS[2..] {
            assert_eq!(ModelShape::preset(name).unwrap().language.head_dim, 128, "{name}");
        }
    }
}
