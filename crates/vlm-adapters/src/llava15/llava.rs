//! LLaVA-1.5 with its processor and tokenizer: a [`Vlm`].

use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use diffprune_pruner::{Area, Grid, Layout, Signals};
use image::RgbImage;

use super::LlavaModel;
use crate::text::check_built_in;
use crate::{
    ChatTemplate, DecodeBatch, Encoded, Family, FeatureSelect, GenerateOptions, GenerationConfig, Hooks,
    ImageMode, ImageProcessor, ImageShape, LlavaConfig, LoadError, LoadOptions, Pixels, Prefix,
    PreparedImages, PromptStyle, Prompts, TextBatch, TextTokenizer, Turn, VisualInput, Vlm, VlmError,
    check_images, render_prompt,
};

/// LLaVA-1.5: the frozen network, its image processor and its texts.
#[derive(Debug, Clone)]
pub struct Llava {
    parts: LlavaParts,
    device: Device,
}

/// The parts of [`Llava`].
#[derive(Debug, Clone)]
pub struct LlavaParts {
    /// Sizes.
    pub config: LlavaConfig,
    /// The network; any autodiff state is dropped.
    pub model: LlavaModel,
    /// Image processor.
    pub processor: ImageProcessor,
    /// Tokenizer.
    pub tokenizer: TextTokenizer,
    /// The checkpoint's chat template, if it has one.
    pub template: Option<ChatTemplate>,
    /// Words around the question.
    pub prompt_style: PromptStyle,
    /// The authors' settings of decoding.
    pub generation: GenerationConfig,
}

impl Llava {
    /// Reads a checkpoint folder in the hub's layout.
    ///
    /// # Errors
    /// When a file is absent or damaged, or the parts do not fit together.
    pub fn load(dir: impl AsRef<Path>, device: &Device, options: LoadOptions) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        let config = LlavaConfig::from_dir(dir)?;
        let template = ChatTemplate::from_dir(dir)?;
        check_built_in(dir, template.as_ref(), options.prompt_style)?;
        let parts = LlavaParts {
            processor: ImageProcessor::from_dir(dir)?.with_mode(options.image_mode),
            tokenizer: TextTokenizer::from_file(dir.join("tokenizer.json"))?,
            template,
            prompt_style: options.prompt_style,
            generation: GenerationConfig::from_dir(dir)?,
            model: config.load_weights(dir, options.dtype_of(dir)?, &device.clone().without_autodiff())?,
            config,
        };
        Self::from_parts(parts)
    }

    /// Puts parts together, for example a freshly trained network.
    ///
    /// # Errors
    /// When the processor's images or the tokenizer's placeholder are not those of the configuration.
    pub fn from_parts(mut parts: LlavaParts) -> Result<Self, LoadError> {
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
    pub fn model(&self) -> &LlavaModel {
        &self.parts.model
    }

    /// The parts.
    pub fn parts(&self) -> &LlavaParts {
        &self.parts
    }
}

impl Vlm for Llava {
    fn family(&self) -> Family {
        Family::Llava15
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn d_vision(&self) -> usize {
        self.parts.config.vision.hidden_size
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
        let text = render_prompt(self.parts.prompt_style, self.parts.template.as_ref(), turns)?;
        Ok(self.parts.tokenizer.encode(&text, true)?)
    }

    fn generate_options(&self) -> GenerateOptions {
        self.parts.generation.greedy_with(&self.parts.tokenizer)
    }

    fn preprocess(&self, images: &[RgbImage]) -> Result<Pixels, VlmError> {
        check_images(images)?;
        Ok(Pixels {
            values: self.parts.processor.preprocess(images, &self.device),
            images: images.iter().map(ImageShape::single_view).collect(),
        })
    }

    fn encode(&self, pixels: Pixels, signals: Signals) -> Encoded {
        let model = &self.parts.model;
        let (tokens, observed) = model.observe(pixels.values, signals);
        let layout = |image: &ImageShape| layout(&self.parts.config, self.parts.processor.mode, image);
        Encoded {
            tokens,
            mask: None,
            layouts: pixels.images.iter().map(layout).collect(),
            observed,
        }
    }

    fn project(&self, tokens: Tensor<3>) -> Tensor<3> {
        self.parts.model.projector.forward(tokens)
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

    fn kv_bytes_per_token(&self) -> u64 {
        self.parts.model.language.kv_bytes_per_token()
    }

    fn embed_text(&self, ids: &[u32]) -> Tensor<2> {
        self.parts.model.language.embed_ids(ids)
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

/// The layout of an image's tokens.
pub(crate) fn layout(config: &LlavaConfig, mode: ImageMode, image: &ImageShape) -> Layout {
    let side = config.vision.grid_side();
    if config.vision_feature_select_strategy == FeatureSelect::Full {
        // With [CLS] among the tokens there is no raster: one row of everything.
        return Layout::from(Grid {
            rows: 1,
            cols: side * side + 1,
        });
    }
    let area = match mode {
        ImageMode::PadSquare => Area::padded_square(image.width, image.height),
        ImageMode::CenterCrop => Area::cropped_square(image.width, image.height),
    };
    let (rows, cols) = (side, side);
    Layout::single(Grid { rows, cols }, area)
}

fn check_parts(parts: &LlavaParts) -> Result<(), LoadError> {
    let (found, wanted) = (parts.processor.size as usize, parts.config.vision.image_size);
    if found != wanted {
        return Err(mismatch(
            "image processor",
            format!("images of {found} pixels"),
            format!("{wanted} pixels"),
        ));
    }
    check_placeholder(&parts.tokenizer, parts.config.image_token_id)
}

/// Refuses a tokenizer whose image placeholder is not the one of `config.json`.
pub(crate) fn check_placeholder(tokenizer: &TextTokenizer, wanted: u32) -> Result<(), LoadError> {
    match tokenizer.image_token_id() {
        Some(found) if found == wanted => Ok(()),
        found => Err(mismatch(
            "tokenizer",
            format!("image placeholder {found:?}"),
            format!("id {wanted}"),
        )),
    }
}

/// Parts of a checkpoint that do not belong together.
pub(crate) fn mismatch(subject: &str, found: String, wanted: String) -> LoadError {
    LoadError::Request {
        subject: subject.into(),
        found,
        wanted: format!("{wanted}, as config.json says"),
        remedy: "use files of the same checkpoint".into(),
    }
}
