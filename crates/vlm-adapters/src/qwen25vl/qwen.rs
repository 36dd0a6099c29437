//! Qwen2.5-VL with its processor and tokenizer: a [`Vlm`].

use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use diffprune_pruner::{Grid, Layout, Observed, PositionRule, Signals};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::Qwen25VlModel;
use super::vision::cells;
use crate::llava15::{check_placeholder, mismatch};
use crate::notes::note;
use crate::text::render_template;
use crate::{
    ChatTemplate, DecodeBatch, Encoded, Family, GenerateOptions, GenerationConfig, Hooks, ImageShape,
    LoadError, LoadOptions, Pixels, Prefix, PreparedImages, PromptStyle, Prompts, Qwen25VlConfig,
    QwenImageProcessor, TextBatch, TextTokenizer, Turn, VisualInput, VisualSequence, Vlm, VlmError,
    check_images,
};

/// The place at which visual tokens are chosen. The unit is a cell of patches in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PruningSite {
    /// Between encoder and merger: a token is the patches of a cell side by side, and only chosen cells are merged.
    #[default]
    BeforeMerger,
    /// After the merger: a token is what the language model takes.
    AfterMerger,
}

/// The part of [`LoadOptions`] for Qwen2.5-VL alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct QwenOptions {
    /// The place at which tokens are chosen.
    pub site: PruningSite,
    /// Fewest pixels of a resized image; `None` takes the checkpoint's.
    pub min_pixels: Option<u64>,
    /// Most pixels of a resized image; `None` takes the checkpoint's.
    pub max_pixels: Option<u64>,
    /// Centre images on a square of the mean colour first.
    pub pad_square: bool,
}

impl QwenOptions {
    /// The same with tokens chosen elsewhere.
    pub fn with_site(mut self, site: PruningSite) -> Self {
        self.site = site;
        self
    }

    /// The same with another least size of an image.
    pub fn with_min_pixels(mut self, min_pixels: impl Into<Option<u64>>) -> Self {
        self.min_pixels = min_pixels.into();
        self
    }

    /// The same with another greatest size of an image.
    pub fn with_max_pixels(mut self, max_pixels: impl Into<Option<u64>>) -> Self {
        self.max_pixels = max_pixels.into();
        self
    }

    /// The same; `true` centres images on a square first.
    pub fn with_pad_square(mut self, pad_square: bool) -> Self {
        self.pad_square = pad_square;
        self
    }
}

/// Qwen2.5-VL: the frozen network, its image processor and its texts.
#[derive(Debug, Clone)]
pub struct Qwen25Vl {
    parts: Qwen25VlParts,
    device: Device,
}

/// The parts of [`Qwen25Vl`].
#[derive(Debug, Clone)]
pub struct Qwen25VlParts {
    /// Sizes.
    pub config: Qwen25VlConfig,
    /// The network; any autodiff state is dropped.
    pub model: Qwen25VlModel,
    /// Image processor.
    pub processor: QwenImageProcessor,
    /// Tokenizer.
    pub tokenizer: TextTokenizer,
    /// The words around a question.
    pub template: ChatTemplate,
    /// The authors' settings of decoding.
    pub generation: GenerationConfig,
    /// The place at which tokens are chosen.
    pub site: PruningSite,
}

impl Qwen25Vl {
    /// Reads a checkpoint folder in the hub's layout.
    ///
    /// # Errors
    /// When a file is absent or damaged, or the parts do not fit together, or the options ask for a prompt style of another family.
    pub fn load(dir: impl AsRef<Path>, device: &Device, options: LoadOptions) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        let config = Qwen25VlConfig::from_dir(dir)?;
        if options.prompt_style != PromptStyle::Hf {
            return Err(LoadError::Request {
                subject: "prompt style".into(),
                found: format!("{:?}", options.prompt_style),
                wanted: "the chat template of Qwen2.5-VL".into(),
                remedy: "leave the prompt style at its default".into(),
            });
        }
        let processor = QwenImageProcessor {
            pad_square: options.qwen.pad_square,
            ..QwenImageProcessor::from_dir(dir)?
        };
        let template = ChatTemplate::from_dir(dir)?;
        if template.is_none() {
            note(format!(
                "{}: no file has a chat template; that of the published Qwen2.5-VL is assumed",
                dir.display()
            ));
        }
        let template = or_published(template)?;
        let parts = Qwen25VlParts {
            processor: processor.with_budget(options.qwen.min_pixels, options.qwen.max_pixels)?,
            tokenizer: TextTokenizer::from_file(dir.join("tokenizer.json"))?,
            template,
            generation: GenerationConfig::from_dir(dir)?,
            site: options.qwen.site,
            model: config.load_weights(dir, options.dtype_of(dir)?, &device.clone().without_autodiff())?,
            config,
        };
        Self::from_parts(parts)
    }

    /// Puts parts together, for example a freshly trained network.
    ///
    /// # Errors
    /// When the processor's patches or the tokenizer's placeholder are not those of the configuration.
    pub fn from_parts(mut parts: Qwen25VlParts) -> Result<Self, LoadError> {
        parts.config.validate()?;
        check_parts(&parts)?;
        parts.model = burn::module::Module::valid(&parts.model);
        let device = parts.model.device();
        Ok(Self { parts, device })
    }

    /// Writes `config.json` and `model.safetensors` in the hub's layout (tokenizer and processor files are not
    /// written: copy them from their source).
    ///
    /// # Errors
    /// When the folder cannot be written, or values do not fit `dtype`.
    pub fn save_pretrained(&self, dir: impl AsRef<Path>, dtype: DType) -> Result<(), LoadError> {
        self.parts.model.save_pretrained(&self.parts.config, dir, dtype)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.parts.tokenizer
    }

    /// The network.
    pub fn model(&self) -> &Qwen25VlModel {
        &self.parts.model
    }

    /// The parts.
    pub fn parts(&self) -> &Qwen25VlParts {
        &self.parts
    }
}

impl Vlm for Qwen25Vl {
    fn family(&self) -> Family {
        Family::Qwen25Vl
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn d_vision(&self) -> usize {
        match self.parts.site {
            PruningSite::BeforeMerger => self.group() * self.parts.config.vision.hidden_size,
            PruningSite::AfterMerger => self.d_model(),
        }
    }

    fn d_model(&self) -> usize {
        self.parts.config.text.hidden_size
    }

    fn clone_box(&self) -> Box<dyn Vlm> {
        Box::new(self.clone())
    }

    fn text_ids(&self, text: &str) -> Result<Vec<u32>, VlmError> {
        Ok(self.parts.tokenizer.encode(text, false)?)
    }

    fn text_of(&self, ids: &[u32]) -> String {
        self.parts.tokenizer.decode(ids, true)
    }

    fn end_id(&self) -> Option<u32> {
        self.parts.tokenizer.eos_id()
    }

    fn prompt_ids(&self, turns: &[Turn]) -> Result<Vec<u32>, VlmError> {
        let text = render_template(&self.parts.template, IMAGE, turns)?;
        Ok(self.parts.tokenizer.encode(&text, true)?)
    }

    fn generate_options(&self) -> GenerateOptions {
        self.parts.generation.greedy_with(&self.parts.tokenizer)
    }

    fn group(&self) -> usize {
        match self.parts.site {
            PruningSite::BeforeMerger => self.parts.config.vision.group(),
            PruningSite::AfterMerger => 1,
        }
    }

    fn preprocess(&self, images: &[RgbImage]) -> Result<Pixels, VlmError> {
        check_images(images)?;
        let (values, grids) = self.parts.processor.preprocess(images, &self.device)?;
        let shape = |(image, grid): (&RgbImage, Grid)| ImageShape {
            width: image.width(),
            height: image.height(),
            rows: grid.n_tokens(),
            grid,
        };
        Ok(Pixels {
            values,
            images: images.iter().zip(grids).map(shape).collect(),
        })
    }

    fn encode(&self, pixels: Pixels, signals: Signals) -> Encoded {
        let model = &self.parts.model;
        let grids: Vec<Grid> = pixels.images.iter().map(|image| image.grid).collect();
        let encoding = model.encode(pixels.values, &grids, signals.received_attention);
        let (tokens, mask) = model.by_image(encoding.hidden, &grids);
        let tokens = match self.parts.site {
            PruningSite::BeforeMerger => tokens,
            PruningSite::AfterMerger => model.merger.forward(tokens),
        };
        let received = |received: Tensor<1>| {
            let (cells, _) = model.by_image(received.unsqueeze_dim(1), &grids);
            cells.mean_dim(2).squeeze_dim(2)
        };
        let cells = cells(&grids, model.vision.merge());
        Encoded {
            // Methods choose in f32, whatever the weights are held in.
            tokens: tokens.cast(DType::F32),
            mask,
            layouts: pixels
                .images
                .iter()
                .zip(cells)
                .map(|(image, cells)| self.parts.processor.layout(image, cells))
                .collect(),
            observed: Observed {
                received_attention: encoding.received.map(received),
                ..Observed::default()
            },
        }
    }

    fn project(&self, tokens: Tensor<3>) -> Tensor<3> {
        match self.parts.site {
            PruningSite::BeforeMerger => self.parts.model.merger.forward(tokens),
            PruningSite::AfterMerger => tokens,
        }
    }

    fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        VisualSequence::cells(layout.segments[0].grid, keep, rule)
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.parts.model.language.kv_bytes_per_token()
    }

    fn embed_text(&self, ids: &[u32]) -> Tensor<2> {
        self.parts.model.language.embed_ids(ids)
    }

    fn loss(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        self.parts.model.reader().loss(batch, visual)
    }

    fn loss_recomputed(
        &self,
        batch: &TextBatch,
        visual: Option<&VisualInput>,
    ) -> Result<Tensor<1>, VlmError> {
        self.parts.model.reader().loss_recomputed(batch, visual)
    }

    fn losses(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        self.parts.model.reader().losses(batch, visual)
    }

    fn generate_with(&self, prompts: Prompts<'_>, hooks: &mut Hooks<'_>) -> Result<Vec<Vec<u32>>, VlmError> {
        self.parts.model.reader().generate_with(prompts, hooks)
    }

    fn decode_batch(&self) -> Box<dyn DecodeBatch> {
        self.parts.model.reader().batch()
    }

    fn read_prefix(&self, prompt: &[u32], images: &PreparedImages<'_>) -> Result<Option<Prefix>, VlmError> {
        self.parts.model.reader().read_prefix(prompt, images)
    }
}

/// The text that stands for one image.
const IMAGE: &str = "<|image_pad|>";

/// The text of a conversation by a folder's template, or by that of the published checkpoints.
pub(crate) fn qwen_prompt(template: Option<ChatTemplate>, turns: &[Turn]) -> Result<String, LoadError> {
    render_template(&or_published(template)?, IMAGE, turns)
}

/// A folder's template; without one, that of the published checkpoints.
fn or_published(template: Option<ChatTemplate>) -> Result<ChatTemplate, LoadError> {
    match template {
        Some(template) => Ok(template),
        None => ChatTemplate::qwen(),
    }
}

fn check_parts(parts: &Qwen25VlParts) -> Result<(), LoadError> {
    let (processor, vision) = (&parts.processor, &parts.config.vision);
    let found = [
        processor.patch_size,
        processor.temporal_patch_size,
        processor.merge_size,
    ];
    let wanted = [
        vision.patch_size,
        vision.temporal_patch_size,
        vision.spatial_merge_size,
    ];
    if found.map(|size| size as usize) != wanted {
        return Err(mismatch(
            "image processor",
            format!("patches, frames and cells of {found:?}"),
            format!("{wanted:?}"),
        ));
    }
    check_placeholder(&parts.tokenizer, parts.config.image_token_id)
}
