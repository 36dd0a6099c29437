//! The one interface behind which every backbone is equal.

use burn::tensor::{Device, Tensor};
use diffprune_pruner::{Layout, PositionRule, Signals};
use image::RgbImage;

use crate::{
    DecodeBatch, Encoded, Family, GenerateOptions, Hooks, OneByOne, Pixels, Prefix, PreparedImages, Prompts,
    TextBatch, Turn, VisualInput, VisualSequence, VlmError,
};

/// A vision-language model whose visual tokens can be pruned. Its parameters are frozen.
///
/// The methods come in four groups: what the model is, its texts, its images, its language model. A backbone writes
/// those without a body; see `docs/add-a-backbone.md` for a worked example.
///
/// Implementations live on the plain device; tensors with autodiff may be passed to [`Vlm::project`] and [`Vlm::loss`],
/// and gradients then reach them through the frozen weights.
///
/// Callers rarely need the last two groups: [`prepare`](crate::prepare) and [`respond`](crate::respond) call them in
/// order, with the method at its place.
pub trait Vlm: Send {
    // What the model is.

    /// The family, which decides on defaults (the first method tried, the words of a question) and names it in reports.
    fn family(&self) -> Family;

    /// The device that holds the weights.
    fn device(&self) -> Device;

    /// A copy that shares the weights, for another worker thread.
    fn clone_box(&self) -> Box<dyn Vlm>;

    /// Width of a visual token, `d_vision`: the numbers that the projector takes for it.
    fn d_vision(&self) -> usize;

    /// Vectors that make up a visual token, side by side in its `d_vision` numbers: the patches that the projector
    /// fuses; see [`diffprune_pruner::descriptors`].
    fn group(&self) -> usize {
        1
    }

    /// Width of a token's descriptor, the one vector of a token that a scorer looks at: `d_vision / group`.
    fn d_descriptor(&self) -> usize {
        self.d_vision() / self.group()
    }

    /// Width of the language model, `d_model`.
    fn d_model(&self) -> usize;

    /// Bytes of keys and values that one token takes in the language model's cache, all layers together.
    fn kv_bytes_per_token(&self) -> u64;

    // Its texts.

    /// The ids of a piece of text as it stands, without marks around it.
    ///
    /// # Errors
    /// When the tokenizer has no ids for it.
    fn text_ids(&self, text: &str) -> Result<Vec<u32>, VlmError>;

    /// The text of ids, without special tokens. Ids outside the vocabulary are skipped.
    fn text_of(&self, ids: &[u32]) -> String;

    /// The id that ends an answer, where the tokenizer has one.
    fn end_id(&self) -> Option<u32>;

    /// Renders turns through the checkpoint's prompt format and tokenises them: ids with one placeholder per image.
    ///
    /// # Errors
    /// When the template cannot be rendered or the tokenizer fails.
    fn prompt_ids(&self, turns: &[Turn]) -> Result<Vec<u32>, VlmError>;

    /// The checkpoint's own options of generation, with greedy decoding.
    fn generate_options(&self) -> GenerateOptions;

    // Its images.

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

    /// The places of an image's features in the language model's sequence: feature `j` is token `keep[j]`.
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

    // Its language model.

    /// The language model's embeddings of token ids, `[ids, d_model]`.
    fn embed_text(&self, ids: &[u32]) -> Tensor<2>;

    /// Mean negative log-likelihood of the target tokens of the batch, in nats per token, `[1]`.
    ///
    /// The images of `visual` are consumed by the placeholders in order; without `visual` placeholders are dropped.
    ///
    /// # Errors
    /// When the number of placeholders is not the number of images, or a sequence is longer than the model allows.
    fn loss(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError>;

    /// As [`Vlm::loss`] of a frozen model, with the activations of one layer of its language model in memory at a time: the
    /// layers run a second time for the gradient. Same value, same gradient of `visual` up to the order of sums.
    ///
    /// Without a body of a backbone's own it is [`Vlm::loss`].
    ///
    /// # Errors
    /// As [`Vlm::loss`].
    fn loss_recomputed(
        &self,
        batch: &TextBatch,
        visual: Option<&VisualInput>,
    ) -> Result<Tensor<1>, VlmError> {
        self.loss(batch, visual)
    }

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
        self.generate_with(Prompts::new(prompts, visual, options), &mut Hooks::default())
    }

    /// As [`Vlm::generate`], with callbacks along the way and, in [`Hooks::decoder`], the method inside the language
    /// model.
    ///
    /// This is what a backbone implements. Whoever has a pruner calls [`respond`](crate::respond), which fills in that
    /// hook.
    ///
    /// # Errors
    /// As [`Vlm::loss`], and when the method cannot choose.
    fn generate_with(&self, prompts: Prompts<'_>, hooks: &mut Hooks<'_>) -> Result<Vec<Vec<u32>>, VlmError>;

    /// An empty batch that is decoded step by step: continuous batching. It shares the weights and outlives `self`.
    ///
    /// Without a body of a backbone's own it is [`OneByOne`], whose answers are right and which gains no speed.
    fn decode_batch(&self) -> Box<dyn DecodeBatch> {
        Box::new(OneByOne::new(self.clone_box()))
    }

    /// Reads the beginning of a prompt, everything up to the last image's end, to be shared by the sequences of a
    /// [`Self::decode_batch`] that begin with the same ids and the same images. What follows it is
    /// `prompt[prefix.n_ids()..]`.
    ///
    /// `None` where nothing can be shared (see [`Prefix::end`]), and for backbones without batches of their own.
    ///
    /// # Errors
    /// As [`Vlm::loss`].
    fn read_prefix(&self, prompt: &[u32], images: &PreparedImages<'_>) -> Result<Option<Prefix>, VlmError> {
        let _ = (prompt, images);
        Ok(None)
    }
}
