//! Several questions about the same images: what was kept at the first is kept for all.

use std::fmt;

use diffprune_pruner::Pruner;
use image::RgbImage;

use crate::path::respond_with;
use crate::{
    DecideOnce, DecoderPruning, GenerateOptions, Hooks, PreparedImages, PruneOptions, Stage, Turn, Vlm,
    VlmError, prepare_watched,
};

/// A conversation about images. Each image is encoded, scored and pruned once, in the turn that brings it; later turns
/// read the same kept tokens at the same places.
///
/// A method inside the language model decides once too: it chooses in the turn that brings images, and later turns repeat
/// its choice (see [`DecideOnce`]).
pub struct Conversation<'p> {
    pruner: &'p dyn Pruner,
    once: Option<DecideOnce<'p>>,
    options: PruneOptions,
    turns: Vec<Turn>,
    images: PreparedImages<'p>,
}

/// The next question.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The text, without image placeholders.
    pub text: &'a str,
    /// Images that come with it, in front of the text.
    pub images: &'a [RgbImage],
}

/// The reply of a model in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The new ids, without the stop id.
    pub ids: Vec<u32>,
    /// Their text, without special tokens and outer blanks.
    pub text: String,
}

impl<'p> Conversation<'p> {
    /// A conversation without turns, whose images `pruner` will choose from.
    ///
    /// Methods that read the question get it from the turn that brings the images; [`PruneOptions::questions`] is not
    /// used.
    pub fn new(pruner: &'p dyn Pruner, options: PruneOptions) -> Self {
        Self {
            pruner,
            once: pruner.decoder().map(DecideOnce::new),
            options,
            turns: Vec::new(),
            images: PreparedImages::none(),
        }
    }

    /// The turns so far, all answered.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// All images so far, as they were pruned.
    pub fn images(&self) -> &PreparedImages<'p> {
        &self.images
    }

    /// Asks, and remembers the answer. Without images neither the encoder nor the method runs.
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
        generate: &GenerateOptions,
        hooks: &mut Hooks<'_>,
    ) -> Result<Reply, VlmError> {
        let turn = Turn::ask(question.text).with_images(question.images.len());
        let mut turns = self.turns.clone();
        turns.push(turn.clone());
        let prompt = vlm.prompt_ids(&turns)?;
        let brought = self.prepare(vlm, question, hooks)?;
        let images = self.images.clone().and(brought);
        let inside = self.once.as_ref().filter(|_| !images.is_empty());
        let inside = inside.map(|pruner| DecoderPruning {
            pruner,
            budget: self.options.budget,
            positions: self.options.positions,
        });
        let decided = self.once.as_ref().map(DecideOnce::decided);
        let answers = respond_with(vlm, &[prompt], &images, inside, generate, hooks);
        if let (Err(_), Some(once), Some(decided)) = (&answers, &self.once, decided) {
            once.return_to(decided);
        }
        let ids = answers?.pop().unwrap_or_default();
        let text = vlm.text_of(&ids).trim().to_string();
        self.turns.push(turn.with_answer(text.clone()));
        self.images = images;
        Ok(Reply { ids, text })
    }

    /// The images of a question, pruned for it.
    fn prepare(
        &self,
        vlm: &dyn Vlm,
        question: Question<'_>,
        hooks: &mut Hooks<'_>,
    ) -> Result<PreparedImages<'p>, VlmError> {
        let reads = self.pruner.signals().text_relevance && !question.images.is_empty();
        let questions = match reads {
            true => Some(vec![vlm.text_ids(question.text)?; question.images.len()]),
            false => None,
        };
        let options = PruneOptions {
            questions,
            ..self.options.clone()
        };
        let mut on_stage = |stage: Stage| {
            if let Some(on_stage) = &mut hooks.on_stage {
                on_stage(stage);
            }
        };
        prepare_watched(vlm, question.images, self.pruner, &options, &mut on_stage)
    }
}

impl fmt::Debug for Conversation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("pruner", &self.pruner.name())
            .field("options", &self.options)
            .field("turns", &self.turns)
            .field("images", &self.images.len())
            .finish_non_exhaustive()
    }
}
