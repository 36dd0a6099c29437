//! Several questions about the same images: what was kept at the first is kept for all.

use diffprune_pruner::{Pruner, Selection};
use image::RgbImage;

use crate::{GenerateOptions, Hooks, PruneOptions, Turn, VisualInput, Vlm, VlmError, prune};

/// A conversation about images. Each image is encoded, scored and pruned once, in the turn that brings it; later turns
/// read the same kept tokens at the same places.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    turns: Vec<Turn>,
    visual: Option<VisualInput>,
}

/// What is asked next.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The text, without image placeholders.
    pub text: &'a str,
    /// Images that come with it, in front of the text.
    pub images: &'a [RgbImage],
}

/// What a model answers in a conversation.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The new ids, without the stop id.
    pub ids: Vec<u32>,
    /// Their text, without special tokens and outer blanks.
    pub text: String,
    /// What was kept of the question's images; `None` when it brought none.
    pub selection: Option<Selection>,
}

impl Conversation {
    /// A conversation without turns.
    pub fn new() -> Self {
        Self::default()
    }

    /// The turns so far, all answered.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// The visual tokens of all images so far.
    pub fn visual(&self) -> Option<&VisualInput> {
        self.visual.as_ref()
    }

    /// Asks, and remembers the answer. `pruner` and `prune` see the question's own images only; without images neither
    /// the encoder nor the method runs.
    ///
    /// The model should be the same in every turn. After an error the conversation is as it was.
    ///
    /// # Errors
    /// When an image cannot be taken, the method cannot choose, the text holds a placeholder, or the conversation is
    /// longer than the model allows.
    pub fn ask(
        &mut self,
        vlm: &dyn Vlm,
        question: Question<'_>,
        pruner: &dyn Pruner,
        prune_options: &PruneOptions,
        options: &GenerateOptions,
        hooks: &mut Hooks<'_>,
    ) -> Result<Reply, VlmError> {
        let turn = Turn::ask(question.text).with_images(question.images.len());
        let mut turns = self.turns.clone();
        turns.push(turn.clone());
        let prompt = vlm.prompt_ids(&turns)?;
        let mut visual = self.visual.clone();
        let mut selection = None;
        if !question.images.is_empty() {
            let encoded = vlm.encode(vlm.preprocess(question.images)?, pruner.signals());
            let (new, kept) = prune(vlm, &encoded, pruner, prune_options)?;
            visual = Some(match visual {
                Some(earlier) => earlier.and(new),
                None => new,
            });
            selection = Some(kept);
        }
        let ids = vlm
            .generate_with(&[prompt], visual.as_ref(), options, hooks)?
            .pop()
            .unwrap_or_default();
        let text = vlm.tokenizer().decode(&ids, true).trim().to_string();
        self.turns.push(turn.with_answer(text.clone()));
        self.visual = visual;
        Ok(Reply { ids, text, selection })
    }
}
