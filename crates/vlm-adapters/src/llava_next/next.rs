//! LLaVA-NeXT with its processor and tokenizer: a [`Vlm`].

use std::path::Path;

use burn::module::Param;
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use diffprune_pruner::{Layout, PositionRule, Signals};
use image::RgbImage;

use super::{LlavaNextModel, NextOptions, Packing};
use crate::llava15::mismatch;
use crate::text::check_built_in;
use crate::vision::{Scattered, TokenRows};
use crate::{
    AnyRes, ChatTemplate, DecodeBatch, Encoded, Family, GenerateOptions, GenerationConfig, Hooks, ImageShape,
    Llava, LlavaModel, LlavaNextConfig, LlavaParts, LoadError, LoadOptions, Pixels, Prefix, PreparedImages,
    Prompts, TextBatch, TextTokenizer, Turn, VisualInput, VisualSequence, Vlm, VlmError, check_images,
};

/// LLaVA-NeXT: the frozen network, its image processor and its texts.
#[derive(Debug, Clone)]
pub struct LlavaNext {
    llava: Llava,
    image_newline: Tensor<1>,
    config: LlavaNextConfig,
    processor: AnyRes,
    options: NextOptions,
}

/// The parts of [`LlavaNext`].
#[derive(Debug, Clone)]
pub struct LlavaNextParts {
    /// The part that it shares with LLaVA-1.5; its image processor is that of a single view.
    pub llava: LlavaParts,
    /// The newline vector, `[d_model]`; any autodiff state is dropped.
    pub image_newline: Tensor<1>,
    /// The canvases, as [`LlavaNextConfig::image_grid_pinpoints`].
    pub image_grid_pinpoints: Vec<[usize; 2]>,
    /// Which features are tokens, and which newlines stand in the sequence.
    pub options: NextOptions,
}

impl LlavaNext {
    /// Reads a checkpoint folder in the hub's layout.
    ///
    /// # Errors
    /// When a file is absent or damaged, or the parts do not fit together.
    pub fn load(dir: impl AsRef<Path>, device: &Device, options: LoadOptions) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        let config = LlavaNextConfig::from_dir(dir)?;
        let processor = AnyRes::from_dir(dir, &config)?;
        let tokenizer = TextTokenizer::from_file(dir.join("tokenizer.json"))?;
        let template = ChatTemplate::from_dir(dir)?;
        check_built_in(dir, template.as_ref(), options.prompt_style)?;
        let generation = GenerationConfig::from_dir(dir)?;
        let model = config.load_weights(dir, options.dtype_of(dir)?, &device.clone().without_autodiff())?;
        Self::from_parts(LlavaNextParts {
            llava: LlavaParts {
                processor: processor.view,
                tokenizer,
                template,
                prompt_style: options.prompt_style,
                generation,
                model: model.llava,
                config: config.llava,
            },
            image_newline: model.image_newline.val(),
            image_grid_pinpoints: config.image_grid_pinpoints,
            options: options.next,
        })
    }

    /// Puts parts together, for example a freshly trained network.
    ///
    /// # Errors
    /// When the processor's images, the tokenizer's placeholder or the newline's width are not those of the
    /// configuration.
    pub fn from_parts(parts: LlavaNextParts) -> Result<Self, LoadError> {
        let config = LlavaNextConfig {
            llava: parts.llava.config.clone(),
            image_grid_pinpoints: parts.image_grid_pinpoints,
        };
        let processor = AnyRes {
            view: parts.llava.processor.clone(),
            ..AnyRes::new(&config)?
        };
        let (found, wanted) = (parts.image_newline.dims()[0], config.llava.text.hidden_size);
        if found != wanted {
            return Err(mismatch(
                "image_newline",
                format!("{found} numbers"),
                wanted.to_string(),
            ));
        }
        Ok(Self {
            llava: Llava::from_parts(parts.llava)?,
            image_newline: parts.image_newline.without_autodiff(),
            config,
            processor,
            options: parts.options,
        })
    }

    /// Writes `config.json` and `model.safetensors` in the hub's layout (tokenizer and processor files are not
    /// written: copy them from their source).
    ///
    /// # Errors
    /// When the folder cannot be written, or values do not fit `dtype`.
    pub fn save_pretrained(&self, dir: impl AsRef<Path>, dtype: DType) -> Result<(), LoadError> {
        let model = LlavaNextModel {
            llava: self.llava.model().clone(),
            image_newline: Param::from_tensor(self.image_newline.clone()),
        };
        model.save_pretrained(&self.config, dir, dtype)
    }

    /// The same model with other options.
    pub fn with_options(self, options: NextOptions) -> Self {
        Self { options, ..self }
    }

    /// Sizes.
    pub fn config(&self) -> &LlavaNextConfig {
        &self.config
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        self.llava.tokenizer()
    }

    /// Vision encoder, projector and language model.
    pub fn model(&self) -> &LlavaModel {
        self.llava.model()
    }

    /// Image processor.
    pub fn processor(&self) -> &AnyRes {
        &self.processor
    }

    /// Which features are tokens, and which newlines stand in the sequence.
    pub fn options(&self) -> NextOptions {
        self.options
    }

    /// Which features of a preprocessed image are tokens.
    pub fn packing(&self, image: &ImageShape) -> Packing {
        let side = self.config.llava.vision.grid_side();
        Packing::new(image.width, image.height, image.grid, side, self.options.tokens)
    }
}

impl Vlm for LlavaNext {
    fn family(&self) -> Family {
        Family::LlavaNext
    }

    fn device(&self) -> Device {
        self.llava.device()
    }

    fn d_vision(&self) -> usize {
        self.llava.d_vision()
    }

    fn d_model(&self) -> usize {
        self.llava.d_model()
    }

    fn clone_box(&self) -> Box<dyn Vlm> {
        Box::new(self.clone())
    }

    fn text_ids(&self, text: &str) -> Result<Vec<u32>, VlmError> {
        self.llava.text_ids(text)
    }

    fn text_of(&self, ids: &[u32]) -> String {
        self.llava.text_of(ids)
    }

    fn end_id(&self) -> Option<u32> {
        self.llava.end_id()
    }

    fn prompt_ids(&self, turns: &[Turn]) -> Result<Vec<u32>, VlmError> {
        self.llava.prompt_ids(turns)
    }

    fn generate_options(&self) -> GenerateOptions {
        self.llava.generate_options()
    }

    fn preprocess(&self, images: &[RgbImage]) -> Result<Pixels, VlmError> {
        check_images(images)?;
        let shape = |image: &RgbImage| {
            let (width, height) = image.dimensions();
            let grid = self.processor.grid(width, height);
            ImageShape {
                width,
                height,
                rows: 1 + grid.n_tokens(),
                grid,
            }
        };
        Ok(Pixels {
            values: self.processor.preprocess(images, &self.device()),
            images: images.iter().map(shape).collect(),
        })
    }

    fn encode(&self, pixels: Pixels, signals: Signals) -> Encoded {
        let encoding = self.model().encode(pixels.values, signals);
        let gather = Gather::new(&pixels.images, |image| self.packing(image));
        let rows = gather.rows(encoding.hidden.dims()[1], &self.device());
        let layout = |image: &ImageShape| {
            self.packing(image)
                .layout(image.width, image.height, &self.processor)
        };
        Encoded {
            // Methods choose in f32, whatever the weights are held in.
            tokens: rows.of(encoding.hidden.clone()),
            mask: gather.mask(&self.device()),
            layouts: pixels.images.iter().map(layout).collect(),
            observed: encoding.observed(&rows, signals),
        }
    }

    fn project(&self, tokens: Tensor<3>) -> Tensor<3> {
        self.llava.project(tokens)
    }

    fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        self.options.newlines.sequence(layout, keep, rule)
    }

    fn separator(&self) -> Option<Tensor<1>> {
        Some(self.image_newline.clone())
    }

    fn loss(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        self.llava.loss(batch, visual)
    }

    fn loss_recomputed(
        &self,
        batch: &TextBatch,
        visual: Option<&VisualInput>,
    ) -> Result<Tensor<1>, VlmError> {
        self.llava.loss_recomputed(batch, visual)
    }

    fn losses(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        self.llava.losses(batch, visual)
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.llava.kv_bytes_per_token()
    }

    fn embed_text(&self, ids: &[u32]) -> Tensor<2> {
        self.llava.embed_text(ids)
    }

    fn generate_with(&self, prompts: Prompts<'_>, hooks: &mut Hooks<'_>) -> Result<Vec<Vec<u32>>, VlmError> {
        self.llava.generate_with(prompts, hooks)
    }

    fn decode_batch(&self) -> Box<dyn DecodeBatch> {
        self.llava.decode_batch()
    }

    fn read_prefix(&self, prompt: &[u32], images: &PreparedImages<'_>) -> Result<Option<Prefix>, VlmError> {
        self.llava.read_prefix(prompt, images)
    }
}

/// From the features of all views to the tokens of each image.
struct Gather {
    /// For each image its first view, its number of views, and the features that are its tokens.
    images: Vec<(usize, usize, Vec<usize>)>,
    n_tokens: usize,
    n_views: usize,
}

impl Gather {
    fn new(images: &[ImageShape], packing: impl Fn(&ImageShape) -> Packing) -> Self {
        let mut first = 0;
        let images: Vec<_> = images
            .iter()
            .map(|image| {
                let own = (first, image.rows, packing(image).sources());
                first += image.rows;
                own
            })
            .collect();
        Self {
            n_tokens: images
                .iter()
                .map(|(_, _, sources)| sources.len())
                .max()
                .unwrap_or(0),
            n_views: images.iter().map(|(_, views, _)| *views).max().unwrap_or(0),
            images,
        }
    }

    /// Indices into views of `n_rows` rows, `[CLS]` first. Short images repeat their last token and view.
    fn rows(&self, n_rows: usize, device: &Device) -> TokenRows {
        let (mut tokens, mut views) = (Vec::new(), Vec::new());
        let cells = n_rows - 1;
        for (first, count, sources) in &self.images {
            let row = |source: usize| ((first + source / cells) * n_rows + 1 + source % cells) as i64;
            let last = sources.last().copied().unwrap_or(0);
            tokens.extend(sources.iter().map(|&source| row(source)));
            tokens.extend(std::iter::repeat_n(row(last), self.n_tokens - sources.len()));
            views.extend((0..self.n_views).map(|view| (first + view.min(count - 1)) as i64));
        }
        let batch = self.images.len();
        let ints = |values, n| Tensor::<2, Int>::from_data(TensorData::new(values, [batch, n]), device);
        TokenRows::Scattered(Box::new(Scattered {
            tokens: ints(tokens, self.n_tokens),
            views: ints(views, self.n_views),
        }))
    }

    fn mask(&self, device: &Device) -> Option<Tensor<2, Bool>> {
        let counts = || self.images.iter().map(|(_, _, sources)| sources.len());
        if counts().all(|count| count == self.n_tokens) {
            return None;
        }
        let real: Vec<bool> = counts()
            .flat_map(|count| (0..self.n_tokens).map(move |i| i < count))
            .collect();
        let shape = [self.images.len(), self.n_tokens];
        Some(Tensor::from_data(TensorData::new(real, shape), device))
    }
}
