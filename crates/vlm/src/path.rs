//! The path from images to an answer: [`prepare`] preprocesses, encodes, selects and projects, [`respond`] reads prompts
//! and continues them, [`answer`] does one after the other.
//!
//! Everything that runs a pruned model walks this path.

use burn::tensor::{FloatDType, Tensor};
use diffprune_pruner::{Budget, PositionRule, PruneError, Pruner, PruningContext, Signals, Space};
use image::RgbImage;

use crate::{
    DecoderPruning, DecoderReport, Encoded, GenerateOptions, Hooks, PreparedImages, Prompts, Stage,
    TextBatch, Vlm, VlmError,
};

/// Options of pruning a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PruneOptions {
    /// The number of tokens that stay.
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

    /// The same with this position rule; `None` takes the method's own.
    pub fn with_positions(mut self, positions: impl Into<Option<PositionRule>>) -> Self {
        self.positions = positions.into();
        self
    }

    /// The same with another seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same with these numbers of the images.
    pub fn with_sample_ids(mut self, sample_ids: impl Into<Option<Vec<u64>>>) -> Self {
        self.sample_ids = sample_ids.into();
        self
    }

    /// The same with the truth about the pictures.
    pub fn with_relevance(mut self, relevance: impl Into<Option<Tensor<2>>>) -> Self {
        self.relevance = relevance.into();
        self
    }

    /// The same with the questions about the images.
    pub fn with_questions(mut self, questions: impl Into<Option<Vec<Vec<u32>>>>) -> Self {
        self.questions = questions.into();
        self
    }
}

/// Images through the vision encoder: preprocessed, then encoded with the signals asked for.
///
/// # Errors
/// When an image has a shape that the model cannot take.
pub fn encode(vlm: &dyn Vlm, images: &[RgbImage], signals: Signals) -> Result<Encoded, VlmError> {
    Ok(vlm.encode(vlm.preprocess(images)?, signals))
}

/// The path from images to the language model: preprocess, encode, select, gather, project.
///
/// Without images nothing runs, and the result is [`PreparedImages::none`].
///
/// # Errors
/// When an image cannot be taken or the method cannot choose.
pub fn prepare<'p>(
    vlm: &dyn Vlm,
    images: &[RgbImage],
    pruner: &'p dyn Pruner,
    options: &PruneOptions,
) -> Result<PreparedImages<'p>, VlmError> {
    prepare_watched(vlm, images, pruner, options, &mut |_| {})
}

/// As [`prepare`]; `on_stage` is called after each stage, so that a caller can take its time.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_watched<'p>(
    vlm: &dyn Vlm,
    images: &[RgbImage],
    pruner: &'p dyn Pruner,
    options: &PruneOptions,
    on_stage: &mut dyn FnMut(Stage),
) -> Result<PreparedImages<'p>, VlmError> {
    if images.is_empty() {
        return Ok(PreparedImages::none());
    }
    let pixels = vlm.preprocess(images)?;
    on_stage(Stage::Preprocessed);
    let encoded = vlm.encode(pixels, pruner.signals());
    on_stage(Stage::Encoded);
    finish(vlm, &encoded, pruner, options, on_stage)
}

/// As [`prepare`], from the encoder's output on: for callers that keep it, to try several methods on the same images.
///
/// `encoded` must hold the signals of the method, or more.
///
/// # Errors
/// When the method cannot choose.
pub fn prepare_encoded<'p>(
    vlm: &dyn Vlm,
    encoded: &Encoded,
    pruner: &'p dyn Pruner,
    options: &PruneOptions,
) -> Result<PreparedImages<'p>, VlmError> {
    finish(vlm, encoded, pruner, options, &mut |_| {})
}

/// From the encoder's output to the language model.
fn finish<'p>(
    vlm: &dyn Vlm,
    encoded: &Encoded,
    pruner: &'p dyn Pruner,
    options: &PruneOptions,
    on_stage: &mut dyn FnMut(Stage),
) -> Result<PreparedImages<'p>, VlmError> {
    let context = pruning_context(vlm, encoded, pruner.signals(), options)?;
    let selection = pruner.select(&context)?;
    on_stage(Stage::Selected);
    let features = match (selection.space(), &context.observed.projected) {
        (Space::Language, _) => selection.gather(encoded.tokens.clone()),
        (Space::Vision, Some(projected)) if !selection.is_merged() => selection.gather(projected.clone()),
        (Space::Vision, _) => vlm.project(selection.gather(encoded.tokens.clone())),
    };
    let inside = DecoderPruning::of(pruner, options.budget, options.positions);
    // A method inside the language model applies its rule there; before it every token stands at its place.
    let rule = match inside {
        Some(_) => PositionRule::Keep,
        None => options.positions.unwrap_or_else(|| pruner.positions()),
    };
    let prepared = PreparedImages {
        visual: Some(vlm.visual_input(features, &encoded.layouts, selection.rows(), rule)),
        keep: selection.rows().to_vec(),
        layouts: encoded.layouts.clone(),
        inside,
    };
    on_stage(Stage::Projected);
    Ok(prepared)
}

/// Encoded images with every token, as a model without a pruner takes them.
pub fn unpruned(vlm: &dyn Vlm, encoded: &Encoded, rule: PositionRule) -> PreparedImages<'static> {
    let keep = encoded.all_indices();
    let features = vlm.project(encoded.tokens.clone());
    PreparedImages {
        visual: Some(vlm.visual_input(features, &encoded.layouts, &keep, rule)),
        keep,
        layouts: encoded.layouts.clone(),
        inside: None,
    }
}

/// The input of a method for encoded images: their tokens, and the signals that it asked for.
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

/// Continues prompts about prepared images; one list of new ids (without the stop id) per prompt.
///
/// `prompts` hold one placeholder per image, in the order of the images. A method inside the language model is attached
/// here, whatever `hooks` hold; what it dropped is then in [`Hooks::report`].
///
/// # Errors
/// When the prompts do not fit the images, a sequence is too long, or a method inside the language model cannot choose.
pub fn respond(
    vlm: &dyn Vlm,
    prompts: &[Vec<u32>],
    images: &PreparedImages<'_>,
    generate: &GenerateOptions,
    hooks: &mut Hooks<'_>,
) -> Result<Vec<Vec<u32>>, VlmError> {
    respond_with(vlm, prompts, images, images.inside, generate, hooks)
}

/// As [`respond`], with `inside` in place of the images' own method.
pub(crate) fn respond_with(
    vlm: &dyn Vlm,
    prompts: &[Vec<u32>],
    images: &PreparedImages<'_>,
    inside: Option<DecoderPruning<'_>>,
    generate: &GenerateOptions,
    hooks: &mut Hooks<'_>,
) -> Result<Vec<Vec<u32>>, VlmError> {
    let mut own = hooks.reborrow();
    own.decoder = inside.or(own.decoder);
    let prompts = Prompts::new(prompts, images.visual.as_ref(), generate);
    let ids = vlm.generate_with(prompts, &mut own);
    let report = own.report.take();
    hooks.report = report;
    ids
}

/// Mean negative log-likelihood of the target tokens of a batch about prepared images, in nats per token, `[1]`; see
/// [`Vlm::loss`].
///
/// # Errors
/// As [`Vlm::loss`], and [`VlmError::InsideOnly`] for a method inside the language model, whose loss would be that of the
/// unpruned model.
pub fn loss(vlm: &dyn Vlm, batch: &TextBatch, images: &PreparedImages<'_>) -> Result<Tensor<1>, VlmError> {
    if let Some(inside) = images.inside {
        let method = inside.pruner.name().to_string();
        return Err(VlmError::InsideOnly { method });
    }
    vlm.loss(batch, images.visual.as_ref())
}

/// The result of [`answer`].
#[derive(Debug, Clone)]
pub struct Answer<'p> {
    /// The new ids of each prompt, without the stop id.
    pub ids: Vec<Vec<u32>>,
    /// The images, with the tokens that were kept.
    pub images: PreparedImages<'p>,
    /// The tokens that a method inside the language model dropped; `None` for any other method.
    pub report: Option<DecoderReport>,
}

/// The whole path: [`prepare`], then [`respond`].
///
/// # Errors
/// As both.
pub fn answer<'p>(
    vlm: &dyn Vlm,
    images: &[RgbImage],
    prompts: &[Vec<u32>],
    pruner: &'p dyn Pruner,
    options: &PruneOptions,
    generate: &GenerateOptions,
) -> Result<Answer<'p>, VlmError> {
    let images = prepare(vlm, images, pruner, options)?;
    let mut hooks = Hooks::default();
    let ids = respond(vlm, prompts, &images, generate, &mut hooks)?;
    let report = hooks.report;
    Ok(Answer { ids, images, report })
}
