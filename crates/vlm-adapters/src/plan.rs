//! Counting a model's tokens from its settings alone, without its weights.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diffprune_pruner::{Layout, PositionRule};

use crate::load::{Backbone, backbone_of};
use crate::splice::check_length;
use crate::text::check_built_in;
use crate::{
    ChatTemplate, Family, LlamaConfig, LoadError, LoadOptions, PromptStyle, TextTokenizer, Turn,
    VisualSequence, VlmError,
};

/// The tokens and the cache of a checkpoint, from its folder without the weights.
#[derive(Clone)]
pub struct VlmPlan {
    dir: PathBuf,
    prompt_style: PromptStyle,
    backbone: &'static Backbone,
    text: LlamaConfig,
    bytes_per_value: usize,
    images: Arc<dyn ImagePlan>,
}

/// The rule by which a family cuts images into tokens.
pub(crate) trait ImagePlan: fmt::Debug + Send + Sync {
    /// The layout of an image of `width` by `height` pixels, at least one of each.
    fn layout(&self, width: u32, height: u32) -> Result<Layout, VlmError>;

    /// The places of an image's tokens `keep` in the language model's sequence.
    fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence;
}

impl fmt::Debug for VlmPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VlmPlan")
            .field("dir", &self.dir)
            .field("family", &self.family())
            .field("text", &self.text)
            .field("images", &self.images)
            .finish_non_exhaustive()
    }
}

/// Refuses an image of `width` by `height` pixels.
pub(crate) fn refuse(width: u32, height: u32, wanted: &str) -> VlmError {
    VlmError::Image {
        index: 0,
        found: format!("{width} by {height} pixels"),
        wanted: wanted.into(),
    }
}

/// Reads the settings of a checkpoint folder of any family; weights and tokenizer may be absent.
///
/// # Errors
/// As [`load_vlm`](crate::load_vlm), for the files that are read.
pub fn plan_vlm(dir: impl AsRef<Path>, options: LoadOptions) -> Result<VlmPlan, LoadError> {
    let dir = dir.as_ref();
    let backbone = backbone_of(dir)?;
    let (text, images) = (backbone.plan)(dir, options)?;
    Ok(VlmPlan {
        dir: dir.into(),
        prompt_style: options.prompt_style,
        backbone,
        text,
        bytes_per_value: options.dtype_of(dir)?.size(),
        images,
    })
}

impl VlmPlan {
    /// The family.
    pub fn family(&self) -> Family {
        self.backbone.family
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

    /// The layout of an image of `width` by `height` pixels.
    ///
    /// # Errors
    /// [`VlmError::Image`] for images that the model cannot take.
    pub fn layout(&self, width: u32, height: u32) -> Result<Layout, VlmError> {
        if width == 0 || height == 0 {
            return Err(refuse(width, height, "at least one pixel"));
        }
        self.images.layout(width, height)
    }

    /// The places of an image's tokens `keep` in the language model's sequence.
    pub fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        self.images.sequence(layout, keep, rule)
    }

    /// The ids of a conversation with one placeholder per image, as [`Vlm::prompt_ids`](crate::Vlm::prompt_ids) gives
    /// them; here the tokenizer and the chat template are read.
    ///
    /// # Errors
    /// When either is absent or damaged, or the template cannot be rendered.
    pub fn prompt_ids(&self, turns: &[Turn]) -> Result<Vec<u32>, LoadError> {
        let template = ChatTemplate::from_dir(&self.dir)?;
        if self.backbone.family != Family::Qwen25Vl {
            check_built_in(&self.dir, template.as_ref(), self.prompt_style)?;
        }
        let text = (self.backbone.prompt)(self.prompt_style, template, turns)?;
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
