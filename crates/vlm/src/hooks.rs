//! Callbacks while a model works, and the place of a method inside the language model.

use std::ops::ControlFlow;

use crate::{DecoderPruning, DecoderReport};

/// Gets the number of a prompt and its new id; `Break` ends that prompt's answer.
pub type OnToken<'a> = dyn FnMut(usize, u32) -> ControlFlow<()> + 'a;

/// Gets the number of a prompt and the scores (logits, f32, one per id) of its first new id.
pub type OnScores<'a> = dyn FnMut(usize, &[f32]) + 'a;

/// Gets a stage that has been passed. A caller that takes times waits for the device there and reads its clock.
pub type OnStage<'a> = dyn FnMut(Stage) + 'a;

/// Stages of the path from images to the language model, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Images are what the encoder takes.
    Preprocessed,
    /// The encoder has made visual tokens of them.
    Encoded,
    /// The method has chosen.
    Selected,
    /// The kept tokens are gathered and projected: the language model can read them.
    Projected,
}

/// Callbacks of a caller while a model works, and the method that decides inside it.
#[derive(Default)]
pub struct Hooks<'a> {
    /// Called after each stage that images pass, where the call prepares images (a turn of a
    /// [`Conversation`](crate::Conversation) that brings some).
    pub on_stage: Option<&'a mut OnStage<'a>>,
    /// Called once, when the prompts are read and their first scores are there.
    pub on_prefill: Option<&'a mut (dyn FnMut() + 'a)>,
    /// Called once for each prompt, in order, before the first id is chosen. The scores are the model's own: no penalty,
    /// no temperature. Not called when no id may be produced.
    pub on_scores: Option<&'a mut OnScores<'a>>,
    /// Called for each new id as it comes.
    pub on_token: Option<&'a mut OnToken<'a>>,
    /// Drops visual tokens between the layers of the language model while the prompts are read.
    ///
    /// [`respond`](crate::respond) fills it in from the images that it is given, so only a direct call of
    /// [`Vlm::generate_with`](crate::Vlm::generate_with) needs it.
    pub decoder: Option<DecoderPruning<'a>>,
    /// The tokens that [`Self::decoder`] dropped; written while the prompts are read.
    pub report: Option<DecoderReport>,
}

impl Hooks<'_> {
    /// The same hooks, lent for a call: without the report, which is the call's own.
    pub(crate) fn reborrow(&mut self) -> Hooks<'_> {
        Hooks {
            on_stage: match &mut self.on_stage {
                Some(call) => Some(&mut **call),
                None => None,
            },
            on_prefill: match &mut self.on_prefill {
                Some(call) => Some(&mut **call),
                None => None,
            },
            on_scores: match &mut self.on_scores {
                Some(call) => Some(&mut **call),
                None => None,
            },
            on_token: match &mut self.on_token {
                Some(call) => Some(&mut **call),
                None => None,
            },
            decoder: self.decoder,
            report: None,
        }
    }
}
