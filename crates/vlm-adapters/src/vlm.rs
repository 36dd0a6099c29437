//! The one interface behind which every backbone is equal, and the two data paths that run through it.

use burn::tensor::{Bool, Device, Tensor};
use diffprune_pruner::{Budget, Grid, PositionRule, PruneError, Pruner, PruningContext, Selection, Signals};
use image::RgbImage;

use crate::{GenerateOptions, LoadError, TextTokenizer, Turn};

/// What the vision encoder says about a batch of images.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Visual tokens as the projector takes them, `[b, n, d_vision]`; short rows are padded at the end.
    pub tokens: Tensor<3>,
    /// Real tokens, `[b, n]`, true = real; `None` when every row is full.
    pub mask: Option<Tensor<2, Bool>>,
    /// `[CLS]` attention over the patches in the layer that produced the tokens, `[b, n_heads, n]`, when asked for.
    pub cls_attention: Option<Tensor<3>>,
    /// The token grid of each image.
    pub grids: Vec<Grid>,
}

/// Visual features of a batch of images as the language model takes them.
#[derive(Debug, Clone)]
pub struct VisualInput {
    /// Projected features, `[images, k_max, d_model]`; image `i` uses its first `keep_indices[i].len()` rows.
    pub features: Tensor<3>,
    /// For each image, the places of its features in the full raster, ascending.
    pub keep_indices: Vec<Vec<usize>>,
    /// For each image, the number of tokens of the full raster (the placeholders in the unpruned prompt).
    pub n_full: Vec<usize>,
    /// Which position ids the language model gets.
    pub positions: PositionRule,
}

impl VisualInput {
    /// Features of unpruned images, `[images, n, d_model]`.
    pub fn full(features: Tensor<3>) -> Self {
        let [images, n_tokens, _] = features.dims();
        Self {
            features,
            keep_indices: vec![(0..n_tokens).collect(); images],
            n_full: vec![n_tokens; images],
            positions: PositionRule::Keep,
        }
    }
}

/// A batch of token sequences with the tokens whose prediction is scored.
#[derive(Debug, Clone)]
pub struct TextBatch {
    /// Ids of each sequence, with one image placeholder per image (not expanded).
    pub ids: Vec<Vec<u32>>,
    /// For each id, true when it is a target of the loss (the first id never is).
    pub targets: Vec<Vec<bool>>,
}

/// A vision-language model whose visual tokens can be pruned. Its parameters are frozen.
///
/// Implementations live on the plain device; tensors with autodiff may be passed to [`Vlm::project`] and
/// [`Vlm::loss`], and gradients then reach them through the frozen weights.
pub trait Vlm: Send {
    /// Short name of the family, for example `llava-1.5`.
    fn family(&self) -> &'static str;

    /// The device that holds the weights.
    fn device(&self) -> Device;

    /// Width of the visual tokens, `d_vision`.
    fn d_vision(&self) -> usize;

    /// Width of the language model, `d_model`.
    fn d_model(&self) -> usize;

    /// A copy that shares the weights, for another worker thread.
    fn clone_box(&self) -> Box<dyn Vlm>;

    /// The text side of the checkpoint.
    fn tokenizer(&self) -> &TextTokenizer;

    /// Renders turns through the checkpoint's prompt format and tokenises them: ids with one placeholder per image.
    ///
    /// # Errors
    /// When the template cannot be rendered or the tokenizer fails.
    fn prompt_ids(&self, turns: &[Turn]) -> Result<Vec<u32>, LoadError>;

    /// Options of `generation_config.json`, with greedy decoding.
    fn generate_options(&self) -> GenerateOptions;

    /// Images to pixels `[b, 3, height, width]`.
    fn preprocess(&self, images: &[RgbImage]) -> Tensor<4>;

    /// Pixels to visual tokens, and the signals asked for.
    fn encode(&self, pixels: Tensor<4>, signals: Signals) -> Encoded;

    /// Visual tokens to the width of the language model, token by token.
    ///
    /// # Shapes
    /// - tokens: `[b, k, d_vision]`
    /// - output: `[b, k, d_model]`
    fn project(&self, tokens: Tensor<3>) -> Tensor<3>;

    /// Mean negative log-likelihood of the target tokens of the batch, in nats per token, `[1]`.
    ///
    /// The images of `visual` are consumed by the placeholders in order; without `visual` placeholders are dropped.
    ///
    /// # Errors
    /// When the number of placeholders is not the number of images, or a sequence is longer than the model allows.
    fn loss(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError>;

    /// Continues every prompt; one list of new ids (without the stop id) per prompt.
    ///
    /// # Errors
    /// As [`Vlm::loss`].
    fn generate(
        &self,
        prompts: &[Vec<u32>],
        visual: Option<&VisualInput>,
        options: &GenerateOptions,
    ) -> Result<Vec<Vec<u32>>, VlmError>;
}

/// Why a model cannot run on an input.
#[derive(Debug, thiserror::Error)]
pub enum VlmError {
    /// Placeholders and images do not agree.
    #[error("found {found} image placeholders in the prompts, wanted {wanted} (one per image)")]
    Placeholders {
        /// Placeholders found.
        found: usize,
        /// Images given.
        wanted: usize,
    },
    /// A sequence is too long.
    #[error(
        "sequence of {found} tokens, wanted at most {wanted}; shorten the text or keep fewer visual tokens"
    )]
    ContextOverflow {
        /// Tokens of the sequence.
        found: usize,
        /// Positions of the model.
        wanted: usize,
    },
    /// A prompt is empty or an id is outside the vocabulary.
    #[error("prompt {index}: {problem}")]
    Prompt {
        /// Which prompt of the batch.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The pruner could not choose.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Text could not be prepared or files could not be read.
    #[error(transparent)]
    Load(Box<LoadError>),
}

impl From<LoadError> for VlmError {
    fn from(error: LoadError) -> Self {
        Self::Load(Box::new(error))
    }
}

/// How a batch is pruned.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// How many tokens stay.
    pub budget: Budget,
    /// Position ids of the kept tokens; `None` takes the method's own rule.
    pub positions: Option<PositionRule>,
    /// Seed of methods that draw at random.
    pub seed: u64,
    /// A stable number for each image; `None` counts from 0.
    pub sample_ids: Option<Vec<u64>>,
    /// Truth about the pictures, `[b, n]`, for oracle arms.
    pub relevance: Option<Tensor<2>>,
}

impl PruneOptions {
    /// Seed 0, the method's own position rule.
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            positions: None,
            seed: 0,
            sample_ids: None,
            relevance: None,
        }
    }
}

/// The inference path from encoder to language model: select, gather, project.
///
/// # Errors
/// When the method cannot choose.
pub fn prune(
    vlm: &dyn Vlm,
    encoded: &Encoded,
    pruner: &dyn Pruner,
    options: &PruneOptions,
) -> Result<(VisualInput, Selection), PruneError> {
    let mut context = PruningContext::ragged(
        encoded.tokens.clone(),
        encoded.mask.clone(),
        encoded.grids.clone(),
        &options.budget,
    )?;
    context.cls_attention = encoded.cls_attention.clone();
    context.relevance = options.relevance.clone();
    context.seed = options.seed;
    if let Some(sample_ids) = &options.sample_ids {
        context.sample_ids = sample_ids.clone();
    }
    let selection = pruner.select(&context)?;
    let features = vlm.project(selection.gather(encoded.tokens.clone()));
    let visual = VisualInput {
        features,
        keep_indices: selection.rows().to_vec(),
        n_full: encoded.grids.iter().map(Grid::n_tokens).collect(),
        positions: options.positions.unwrap_or_else(|| pruner.positions()),
    };
    Ok((visual, selection))
}

/// The whole inference path: preprocess, encode, select, gather, project, prefill, decode.
///
/// `prompts` hold one placeholder per image. Returns the new ids of each prompt and what was kept.
///
/// # Errors
/// When the method cannot choose or the prompts do not fit the images.
pub fn answer(
    vlm: &dyn Vlm,
    images: &[RgbImage],
    prompts: &[Vec<u32>],
    pruner: &dyn Pruner,
    options: &PruneOptions,
    generate: &GenerateOptions,
) -> Result<(Vec<Vec<u32>>, Selection), VlmError> {
    let pixels = vlm.preprocess(images);
    let encoded = vlm.encode(pixels, pruner.signals());
    let (visual, selection) = prune(vlm, &encoded, pruner, options)?;
    let ids = vlm.generate(prompts, Some(&visual), generate)?;
    Ok((ids, selection))
}
