//! The one interface behind which every backbone is equal, and the two data paths that run through it.

use std::ops::ControlFlow;

use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, TensorData};
use diffprune_pruner::{
    Budget, Grid, Layout, Observed, PositionRule, PruneError, Pruner, PruningContext, Selection, Signals,
    Space,
};
use image::RgbImage;

use crate::{
    DecoderPruning, DecoderReport, GenerateOptions, LoadError, TextTokenizer, Turn, VisualInput,
    VisualSequence,
};

/// A batch of images as the vision encoder takes them.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// All rows of all images: views `[views, 3, side, side]`, or patches `[patches, 3 * 2, 14, 14]` in Qwen2.5-VL.
    pub values: Tensor<4>,
    /// The images, in the order of their rows.
    pub images: Vec<ImageShape>,
}

/// What preprocessing made of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Width of the original, in pixels.
    pub width: u32,
    /// Height of the original, in pixels.
    pub height: u32,
    /// Rows of [`Pixels::values`] that belong to the image.
    pub rows: usize,
    /// What the rows are arranged in: the tiles of LLaVA-NeXT, the patches of Qwen2.5-VL; 1 by 1 in LLaVA-1.5.
    pub grid: Grid,
}

/// What the vision encoder says about a batch of images.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Visual tokens as the projector takes them, `[b, n, d_vision]`, f32; short rows are padded at the end.
    pub tokens: Tensor<3>,
    /// Real tokens, `[b, n]`, true = real; `None` when every row is full.
    pub mask: Option<Tensor<2, Bool>>,
    /// How the tokens of each image lie on it.
    pub layouts: Vec<Layout>,
    /// What was asked for beside the tokens.
    pub observed: Observed,
}

impl Encoded {
    /// Number of real tokens of each image.
    pub fn counts(&self) -> Vec<usize> {
        self.layouts.iter().map(Layout::n_tokens).collect()
    }

    /// Chosen images, in the order given; an image may be chosen more than once.
    ///
    /// # Panics
    /// When there is no image of that number.
    pub fn rows(&self, images: &[usize]) -> Self {
        let places: Vec<i64> = images.iter().map(|&image| image as i64).collect();
        let places = TensorData::new(places, [images.len()]);
        let places = Tensor::<1, Int>::from_data(places, &self.tokens.device());
        Self {
            tokens: self.tokens.clone().select(0, places.clone()),
            mask: self.mask.clone().map(|mask| mask.select(0, places)),
            layouts: images.iter().map(|&image| self.layouts[image].clone()).collect(),
            observed: self.observed.rows(images),
        }
    }

    /// Every token of each image.
    pub fn all_indices(&self) -> Vec<Vec<usize>> {
        self.counts()
            .into_iter()
            .map(|count| (0..count).collect())
            .collect()
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

    /// Vectors that make up a visual token, side by side in its `d_vision` numbers: the patches that the projector
    /// fuses; see [`diffprune_pruner::descriptors`].
    fn group(&self) -> usize {
        1
    }

    /// Width of a token's descriptor, which a scorer looks at: `d_vision / group`.
    fn d_descriptor(&self) -> usize {
        self.d_vision() / self.group()
    }

    /// Images to what the encoder takes.
    ///
    /// # Errors
    /// When an image has a shape that the model cannot take.
    fn preprocess(&self, images: &[RgbImage]) -> Result<Pixels, VlmError>;

    /// Pixels to visual tokens, and the signals asked for.
    fn encode(&self, pixels: Pixels, signals: Signals) -> Encoded;

    /// Visual tokens to the width of the language model, token by token.
    ///
    /// # Shapes
    /// - tokens: `[b, k, d_vision]`
    /// - output: `[b, k, d_model]`
    fn project(&self, tokens: Tensor<3>) -> Tensor<3>;

    /// Where the features of an image stand in the language model's sequence: feature `j` is token `keep[j]`.
    fn sequence(&self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        VisualSequence::raster(keep, layout.n_tokens(), rule)
    }

    /// The vector that sequences of [`Vlm::sequence`] separate rows with, `[d_model]`.
    fn separator(&self) -> Option<Tensor<1>> {
        None
    }

    /// Projected features `[b, k_max, d_model]` of the tokens `keep`, ready for [`Vlm::loss`] and [`Vlm::generate`].
    fn visual_input(
        &self,
        features: Tensor<3>,
        layouts: &[Layout],
        keep: &[Vec<usize>],
        rule: PositionRule,
    ) -> VisualInput {
        let sequence = |(layout, keep): (&Layout, &Vec<usize>)| self.sequence(layout, keep, rule);
        VisualInput {
            features,
            sequences: layouts.iter().zip(keep).map(sequence).collect(),
            separator: self.separator(),
        }
    }

    /// Bytes of keys and values that one token takes in the language model's cache, all layers together.
    fn kv_bytes_per_token(&self) -> u64;

    /// The language model's embeddings of token ids, `[ids, d_model]`.
    fn embed_text(&self, ids: &[u32]) -> Tensor<2>;

    /// Mean negative log-likelihood of the target tokens of the batch, in nats per token, `[1]`.
    ///
    /// The images of `visual` are consumed by the placeholders in order; without `visual` placeholders are dropped.
    ///
    /// # Errors
    /// When the number of placeholders is not the number of images, or a sequence is longer than the model allows.
    fn loss(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError>;

    /// As [`Vlm::loss`], for each sequence by itself: the mean over its own targets, `[sequences]`.
    ///
    /// # Errors
    /// As [`Vlm::loss`], and when a sequence has no target.
    fn losses(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError>;

    /// Continues every prompt; one list of new ids (without the stop id) per prompt.
    ///
    /// # Errors
    /// As [`Vlm::loss`].
    fn generate(
        &self,
        prompts: &[Vec<u32>],
        visual: Option<&VisualInput>,
        options: &GenerateOptions,
    ) -> Result<Vec<Vec<u32>>, VlmError> {
        self.generate_with(prompts, visual, options, &mut Hooks::default())
    }

    /// As [`Vlm::generate`], with a say while it runs.
    ///
    /// # Errors
    /// As [`Vlm::loss`].
    fn generate_with(
        &self,
        prompts: &[Vec<u32>],
        visual: Option<&VisualInput>,
        options: &GenerateOptions,
        hooks: &mut Hooks<'_>,
    ) -> Result<Vec<Vec<u32>>, VlmError>;
}

/// Gets the number of a prompt and its new id; `Break` ends that prompt's answer.
pub type OnToken<'a> = dyn FnMut(usize, u32) -> ControlFlow<()> + 'a;

/// Gets the number of a prompt and the scores (logits, f32, one per id) of its first new id.
pub type OnScores<'a> = dyn FnMut(usize, &[f32]) + 'a;

/// What a caller wants to see or to decide while a model generates.
#[derive(Default)]
pub struct Hooks<'a> {
    /// Called once, when the prompts are read and their first scores are there.
    pub on_prefill: Option<&'a mut (dyn FnMut() + 'a)>,
    /// Called once for each prompt, in order, before the first id is chosen. The scores are the model's own: no penalty,
    /// no temperature. Not called when no id may be produced.
    pub on_scores: Option<&'a mut OnScores<'a>>,
    /// Called for each new id as it comes.
    pub on_token: Option<&'a mut OnToken<'a>>,
    /// Drops visual tokens between the layers of the language model while the prompts are read.
    pub decoder: Option<DecoderPruning<'a>>,
    /// What [`Self::decoder`] dropped; written while the prompts are read.
    pub report: Option<DecoderReport>,
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
    #[error("sequence of {tokens} tokens over {found} positions, wanted at most {wanted}; {remedy}")]
    ContextOverflow {
        /// Positions that the sequence spans; dropped tokens keep theirs under [`PositionRule::Keep`].
        found: usize,
        /// Positions of the model.
        wanted: usize,
        /// Tokens of the sequence.
        tokens: usize,
        /// What would help.
        remedy: &'static str,
    },
    /// A prompt is empty or an id is outside the vocabulary.
    #[error("prompt {index}: {problem}")]
    Prompt {
        /// Which prompt of the batch.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// An image that the model cannot take.
    #[error("image {index}: found {found}, wanted {wanted}")]
    Image {
        /// Which image of the batch.
        index: usize,
        /// What was found.
        found: String,
        /// What was wanted.
        wanted: String,
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
    /// For each image the ids of the question about it, for methods that read it.
    pub questions: Option<Vec<Vec<u32>>>,
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
            questions: None,
        }
    }
}

/// The inference path from encoder to language model: select, gather, project.
///
/// A method that acts inside the language model keeps everything here; give it to [`Vlm::generate_with`] through
/// [`Hooks::decoder`] ([`DecoderPruning::of`] makes the hook).
///
/// # Errors
/// When the method cannot choose.
pub fn prune(
    vlm: &dyn Vlm,
    encoded: &Encoded,
    pruner: &dyn Pruner,
    options: &PruneOptions,
) -> Result<(VisualInput, Selection), PruneError> {
    let context = pruning_context(vlm, encoded, pruner.signals(), options)?;
    let selection = pruner.select(&context)?;
    let features = match (selection.space(), &context.observed.projected) {
        (Space::Language, _) => selection.gather(encoded.tokens.clone()),
        (Space::Vision, Some(projected)) if !selection.is_merged() => selection.gather(projected.clone()),
        (Space::Vision, _) => vlm.project(selection.gather(encoded.tokens.clone())),
    };
    // A method inside the language model applies its rule there; before it every token stands at its place.
    let rule = match pruner.decoder() {
        Some(_) => PositionRule::Keep,
        None => options.positions.unwrap_or_else(|| pruner.positions()),
    };
    let visual = vlm.visual_input(features, &encoded.layouts, selection.rows(), rule);
    Ok((visual, selection))
}

/// What a method gets to see of encoded images: their tokens, and the signals that it asked for.
///
/// Signals that come from the language model's side (projected tokens, fit to the question) are computed here.
///
/// # Errors
/// When the budget keeps nothing.
pub fn pruning_context(
    vlm: &dyn Vlm,
    encoded: &Encoded,
    signals: Signals,
    options: &PruneOptions,
) -> Result<PruningContext, PruneError> {
    let mut context = PruningContext::ragged(
        encoded.tokens.clone(),
        encoded.mask.clone(),
        encoded.layouts.clone(),
        &options.budget,
    )?;
    context.group = vlm.group();
    context.observed = encoded.observed.clone();
    context.observed.relevance = options.relevance.clone();
    if (signals.projected || signals.text_relevance) && context.observed.projected.is_none() {
        context.observed.projected = Some(vlm.project(encoded.tokens.clone()));
    }
    if let (true, None, Some(questions), Some(projected)) = (
        signals.text_relevance,
        &context.observed.text_relevance,
        &options.questions,
        &context.observed.projected,
    ) {
        context.observed.text_relevance = Some(text_relevance(vlm, projected.clone(), questions)?);
    }
    context.seed = options.seed;
    if let Some(sample_ids) = &options.sample_ids {
        context.sample_ids = sample_ids.clone();
    }
    Ok(context)
}

/// Cosine of each projected token and the mean embedding of the question, `[b, n]`.
///
/// CDPruner's own relevance needs CLIP's text tower, which the checkpoints of these models do not hold; this is the
/// usual substitute, and tables that use it say so.
fn text_relevance(
    vlm: &dyn Vlm,
    projected: Tensor<3>,
    questions: &[Vec<u32>],
) -> Result<Tensor<2>, PruneError> {
    let [batch, n_tokens, _] = projected.dims();
    if questions.len() != batch {
        return Err(PruneError::Shape {
            what: "questions",
            found: questions.len(),
            wanted: batch,
        });
    }
    let unit = |x: Tensor<3>| {
        let norm = x.clone().square().sum_dim(2).sqrt();
        x / (norm + 1e-6)
    };
    let means = questions.iter().map(|ids| {
        let ids: &[u32] = if ids.is_empty() { &[0] } else { ids };
        vlm.embed_text(ids)
            .cast(FloatDType::F32)
            .mean_dim(0)
            .unsqueeze_dim::<3>(0)
    });
    let means = unit(Tensor::cat(means.collect(), 0));
    let cosine = unit(projected.cast(FloatDType::F32)).matmul(means.swap_dims(1, 2));
    Ok(cosine.reshape([batch, n_tokens]))
}

/// The whole inference path: preprocess, encode, select, gather, project, prefill, decode.
///
/// `prompts` hold one placeholder per image. Returns the new ids of each prompt and what was kept.
///
/// # Errors
/// When an image cannot be taken, the method cannot choose, or the prompts do not fit the images.
pub fn answer(
    vlm: &dyn Vlm,
    images: &[RgbImage],
    prompts: &[Vec<u32>],
    pruner: &dyn Pruner,
    options: &PruneOptions,
    generate: &GenerateOptions,
) -> Result<(Vec<Vec<u32>>, Selection), VlmError> {
    let pixels = vlm.preprocess(images)?;
    let encoded = vlm.encode(pixels, pruner.signals());
    let (visual, selection) = prune(vlm, &encoded, pruner, options)?;
    let mut hooks = Hooks {
        decoder: DecoderPruning::of(pruner, options.budget, options.positions),
        ..Hooks::default()
    };
    let ids = vlm.generate_with(prompts, Some(&visual), generate, &mut hooks)?;
    Ok((ids, selection))
}
