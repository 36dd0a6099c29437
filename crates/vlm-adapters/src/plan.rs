//! Counting a model's tokens from its settings alone, without its weights.

use std::path::{Path, PathBuf};

use diffprune_pruner::{Grid, Layout, PositionRule};
use serde_json::Value;

use crate::config::read_json;
use crate::llava15::layout as llava_layout;
use crate::load::{Family, family_of};
use crate::qwen25vl::{cells, qwen_prompt};
use crate::splice::check_length;
use crate::text::check_built_in;
use crate::{
    AnyRes, ChatTemplate, ImageMode, ImageProcessor, ImageShape, LlamaConfig, LlavaConfig, LlavaNextConfig,
    LoadError, LoadOptions, NextOptions, Packing, PromptStyle, Qwen25VlConfig, QwenImageProcessor,
    TextTokenizer, Turn, VisualSequence, VlmError, render_prompt,
};

/// What a checkpoint folder says about tokens and cache, read without its weights.
#[derive(Debug, Clone)]
pub struct VlmPlan {
    dir: PathBuf,
    prompt_style: PromptStyle,
    family: Family,
    text: LlamaConfig,
    bytes_per_value: usize,
    images: Images,
}

/// How a family cuts images into tokens.
#[derive(Debug, Clone)]
enum Images {
    Llava {
        config: Box<LlavaConfig>,
        mode: ImageMode,
    },
    Next {
        processor: AnyRes,
        side: usize,
        options: NextOptions,
    },
    Qwen {
        processor: QwenImageProcessor,
        merge: usize,
    },
}

/// Reads the settings of a checkpoint folder of any family; weights and tokenizer may be absent.
///
/// # Errors
/// As [`load_vlm`](crate::load_vlm), for the files that are read.
pub fn plan_vlm(dir: impl AsRef<Path>, options: LoadOptions) -> Result<VlmPlan, LoadError> {
    let dir = dir.as_ref();
    let path = dir.join("config.json");
    let config: Value = read_json(&path, "a model configuration")?;
    let family = family_of(&config, &path)?;
    let (text, images) = match family {
        Family::Llava => {
            let config = LlavaConfig::from_dir(dir)?;
            let mode = ImageProcessor::from_dir(dir)?.with_mode(options.image_mode).mode;
            (
                config.text.clone(),
                Images::Llava {
                    config: Box::new(config),
                    mode,
                },
            )
        }
        Family::LlavaNext => {
            let config = LlavaNextConfig::from_dir(dir)?;
            let images = Images::Next {
                processor: AnyRes::from_dir(dir, &config)?,
                side: config.llava.vision.grid_side(),
                options: options.next,
            };
            (config.llava.text, images)
        }
        Family::Qwen25Vl => {
            let config = Qwen25VlConfig::from_dir(dir)?;
            let processor = QwenImageProcessor {
                pad_square: options.qwen.pad_square,
                ..QwenImageProcessor::from_dir(dir)?
            };
            let images = Images::Qwen {
                processor: processor.with_budget(options.qwen.min_pixels, options.qwen.max_pixels)?,
                merge: config.vision.spatial_merge_size,
            };
            (config.text, images)
        }
    };
    Ok(VlmPlan {
        dir: dir.into(),
        prompt_style: options.prompt_style,
        family,
        text,
        bytes_per_value: options.dtype.size(),
        images,
    })
}

impl VlmPlan {
    /// Short name of the family.
    pub fn family(&self) -> &'static str {
        self.family.name()
    }

    /// Number of layers of the language model.
    pub fn n_layers(&self) -> usize {
        self.text.num_hidden_layers
    }

    /// Bytes of keys and values that one token takes in the cache of all layers.
    pub fn kv_bytes_per_token(&self) -> u64 {
        let width = self.text.num_key_value_heads * self.text.head_dim;
        (2 * self.n_layers() * width * self.bytes_per_value) as u64
    }

    /// How the tokens of an image of `width` by `height` pixels lie on it.
    ///
    /// # Errors
    /// [`VlmError::Image`] for images that the model cannot take.
    pub fn layout(&self, width: u32, height: u32) -> Result<Layout, VlmError> {
        let refuse = |wanted: String| VlmError::Image {
            index: 0,
            found: format!("{width} by {height} pixels"),
            wanted,
        };
        if width == 0 || height == 0 {
            return Err(refuse("at least one pixel".into()));
        }
        let shape = |rows, grid| ImageShape {
            width,
            height,
            rows,
            grid,
        };
        match &self.images {
            Images::Llava { config, mode } => {
                let one = Grid { rows: 1, cols: 1 };
                Ok(llava_layout(config, *mode, &shape(1, one)))
            }
            Images::Next {
                processor,
                side,
                options,
            } => {
                let tiles = processor.grid(width, height);
                let packing = Packing::new(width, height, tiles, *side, options.tokens);
                Ok(packing.layout(width, height, processor))
            }
            Images::Qwen { processor, merge } => {
                let patches = processor.grid(width, height).ok_or_else(|| {
                    refuse("sides whose ratio the model takes; crop the image or pad it to a square".into())
                })?;
                let grid = cells(&[patches], *merge)[0];
                Ok(processor.layout(&shape(patches.n_tokens(), patches), grid))
            }
        }
    }

    /// Where the tokens `keep` of an image stand in the language model's sequence.
    pub fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        match &self.images {
            Images::Llava { .. } => VisualSequence::raster(keep, layout.n_tokens(), rule),
            Images::Next { options, .. } => VisualSequence::packed(layout, keep, options.newlines, rule),
            Images::Qwen { .. } => VisualSequence::cells(layout.segments[0].grid, keep, rule),
        }
    }

    /// The ids of a conversation with one placeholder per image, as [`Vlm::prompt_ids`](crate::Vlm::prompt_ids) gives
    /// them; here the tokenizer and the chat template are read.
    ///
    /// # Errors
    /// When either is absent or damaged, or the template cannot be rendered.
    pub fn prompt_ids(&self, turns: &[Turn]) -> Result<Vec<u32>, LoadError> {
        let template = ChatTemplate::from_dir(&self.dir)?;
        let text = match self.family {
            Family::Qwen25Vl => qwen_prompt(template, turns)?,
            Family::Llava | Family::LlavaNext => {
                check_built_in(&self.dir, template.as_ref(), self.prompt_style)?;
                render_prompt(self.prompt_style, template.as_ref(), turns)?
            }
        };
        TextTokenizer::from_file(self.dir.join("tokenizer.json"))?.encode(&text, true)
    }

    /// Positions that the language model has.
    pub fn max_positions(&self) -> usize {
        self.text.max_position_embeddings
    }

    /// Positions that a prompt of `n_text` tokens of text and these images spans.
    ///
    /// # Errors
    /// [`VlmError::ContextOverflow`] when the language model has fewer.
    pub fn check_context(&self, n_text: usize, images: &[VisualSequence]) -> Result<usize, VlmError> {
        let span = n_text + images.iter().map(|image| image.span).sum::<usize>();
        let tokens = n_text + images.iter().map(|image| image.slots.len()).sum::<usize>();
        check_length(span, tokens, n_text, self.max_positions())?;
        Ok(span)
    }
}
