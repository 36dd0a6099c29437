//! A batch for backbones that have none of their own.

use std::fmt;
use std::vec::IntoIter;

use crate::{DecodeBatch, Finish, Hooks, JoinRequest, Joined, SequenceId, StepToken, Vlm, VlmError, respond};

/// The [`DecodeBatch`] of a backbone that only generates: each answer is made in full when its prompt joins, and then
/// given out step by step.
///
/// The answers are right, and joining and leaving work; nothing is gained in speed, and [`DecodeBatch::join`] takes as long
/// as the whole answer. It holds no keys and values, and takes no prefix. An answer shorter than its limit counts as ended
/// by a stop id.
pub struct OneByOne {
    vlm: Box<dyn Vlm>,
    sequences: Vec<Answered>,
    next: u64,
}

/// An answer on its way out.
struct Answered {
    id: SequenceId,
    ids: IntoIter<u32>,
    finish: Finish,
}

impl OneByOne {
    /// An empty batch.
    pub fn new(vlm: Box<dyn Vlm>) -> Self {
        Self {
            vlm,
            sequences: Vec::new(),
            next: 0,
        }
    }
}

impl fmt::Debug for OneByOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneByOne")
            .field("sequences", &self.sequences.len())
            .finish_non_exhaustive()
    }
}

impl DecodeBatch for OneByOne {
    fn join(&mut self, request: JoinRequest<'_>) -> Result<Joined, VlmError> {
        let JoinRequest {
            prompt,
            images,
            options,
            prefix,
        } = request;
        if prefix.is_some() {
            return Err(VlmError::foreign_prefix());
        }
        let mut hooks = Hooks::default();
        let mut answers = respond(&*self.vlm, &[prompt.to_vec()], images, options, &mut hooks)?;
        let ids = answers.pop().unwrap_or_default();
        let finish = match ids.len() < options.max_new_tokens {
            true => Finish::Stop,
            false => Finish::Length,
        };
        let slots = |visual: &crate::VisualInput| -> usize {
            let slots = visual.sequences.iter().map(|sequence| sequence.slots.len());
            slots.sum()
        };
        let visual_tokens = images.visual().map_or(0, slots);
        let id = SequenceId::new(self.next);
        self.next += 1;
        self.sequences.push(Answered {
            id,
            ids: ids.into_iter(),
            finish,
        });
        Ok(Joined::new(
            id,
            prompt.len() - images.len() + visual_tokens,
            hooks.report,
        ))
    }

    fn step(&mut self) -> Result<Vec<StepToken>, VlmError> {
        let next = |answered: &mut Answered| {
            let token = answered.ids.next();
            // A stop id has a step of its own.
            let ends = match answered.finish {
                Finish::Length => answered.ids.len() == 0,
                _ => token.is_none(),
            };
            StepToken::new(answered.id, token, ends.then_some(answered.finish))
        };
        let told: Vec<StepToken> = self.sequences.iter_mut().map(next).collect();
        let mut ended = told.iter().map(|told| told.finished.is_some());
        self.sequences.retain(|_| !ended.next().unwrap_or_default());
        Ok(told)
    }

    fn leave(&mut self, id: SequenceId) {
        self.sequences.retain(|sequence| sequence.id != id);
    }

    fn len(&self) -> usize {
        self.sequences.len()
    }

    fn kv_bytes(&self) -> u64 {
        0
    }
}
