//! The use that every backbone makes of its language model: prompts and features as one sequence, then a loss or an answer.

use burn::tensor::Tensor;

use super::batch::LlamaBatch;
use super::prefix::LlamaPrefix;
use super::{Llama, decode, next_token_nll, next_token_nll_recomputed, sequence_nll};
use crate::{
    DecodeBatch, GenerateOptions, Hooks, Padding, Prefix, PreparedImages, Prompts, Spliced, TextBatch,
    VisualInput, VlmError, plan_splice, splice,
};

/// A language model that reads prompts with images in them.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The language model.
    pub llama: &'a Llama,
    /// The id that stands for an image in a prompt.
    pub image_token_id: u32,
}

impl Reader<'_> {
    /// Prompts and features as one batch of embeddings.
    ///
    /// # Errors
    /// As [`plan_splice`].
    pub fn splice(
        &self,
        prompts: &[Vec<u32>],
        visual: Option<&VisualInput>,
        padding: Padding,
    ) -> Result<Spliced, VlmError> {
        let plans = plan_splice(prompts, visual, self.image_token_id, self.llama)?;
        Ok(splice(prompts, visual, plans, padding, self.llama))
    }

    /// Mean negative log-likelihood of the target tokens of a batch; see [`next_token_nll`].
    ///
    /// With features on an autodiff device and the model on the plain one, gradients reach the features only.
    ///
    /// # Errors
    /// When placeholders and images do not agree, a sequence is too long, or there is no target.
    pub fn loss(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        let spliced = self.splice(&batch.ids, visual, Padding::Right)?;
        next_token_nll(self.llama, &spliced, batch)
    }

    /// As [`Self::loss`], with the activations of one layer in memory at a time. See [`next_token_nll_recomputed`].
    ///
    /// # Errors
    /// As [`Self::loss`].
    pub fn loss_recomputed(
        &self,
        batch: &TextBatch,
        visual: Option<&VisualInput>,
    ) -> Result<Tensor<1>, VlmError> {
        let spliced = self.splice(&batch.ids, visual, Padding::Right)?;
        next_token_nll_recomputed(self.llama, &spliced, batch)
    }

    /// As [`Self::loss`], for each sequence by itself, `[sequences]`. See [`sequence_nll`].
    ///
    /// # Errors
    /// As [`Self::loss`], and when a sequence has no target.
    pub fn losses(&self, batch: &TextBatch, visual: Option<&VisualInput>) -> Result<Tensor<1>, VlmError> {
        let spliced = self.splice(&batch.ids, visual, Padding::Right)?;
        sequence_nll(self.llama, &spliced, batch)
    }

    /// Continues prompts; one list of new ids (without the stop id) per prompt. See [`decode`].
    ///
    /// # Errors
    /// When placeholders and images do not agree, or a sequence is too long.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        visual: Option<&VisualInput>,
        options: &GenerateOptions,
    ) -> Result<Vec<Vec<u32>>, VlmError> {
        self.generate_with(Prompts::new(prompts, visual, options), &mut Hooks::default())
    }

    /// As [`Self::generate`], with callbacks along the way; see [`Hooks`].
    ///
    /// # Errors
    /// As [`Self::generate`], and when a method inside the language model cannot choose.
    pub fn generate_with(
        &self,
        prompts: Prompts<'_>,
        hooks: &mut Hooks<'_>,
    ) -> Result<Vec<Vec<u32>>, VlmError> {
        if prompts.ids.is_empty() {
            return Ok(Vec::new());
        }
        let spliced = self.splice(prompts.ids, prompts.visual, Padding::Left)?;
        decode(self.llama, prompts.ids, &spliced, prompts.options, hooks)
    }

    /// An empty batch of sequences that join and leave between steps; see
    /// [`Vlm::decode_batch`](crate::Vlm::decode_batch).
    pub fn batch(&self) -> Box<dyn DecodeBatch> {
        Box::new(LlamaBatch::new(self.llama.clone(), self.image_token_id))
    }

    /// Reads the beginning of a prompt for several sequences of a [`Self::batch`]; see
    /// [`Vlm::read_prefix`](crate::Vlm::read_prefix).
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub fn read_prefix(
        &self,
        prompt: &[u32],
        images: &PreparedImages<'_>,
    ) -> Result<Option<Prefix>, VlmError> {
        LlamaPrefix::read(self, prompt, images)
    }
}
