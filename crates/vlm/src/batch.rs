//! Continuous batching: sequences that a language model continues together, and that join and leave between steps.

use std::any::Any;
use std::fmt;

use crate::{DecoderReport, GenerateOptions, Prefix, PreparedImages, VlmError};

/// Sequences that a language model continues together, one token each per step; they join and leave between steps.
///
/// Each sequence has a prompt, images, a budget, options and a random stream of its own, and no sequence has to wait for
/// another to end. What it says is what [`respond`](crate::respond) says for it alone, token by token, whoever joins or
/// leaves meanwhile. (Scores may differ in their last bits, as they do between batches of other sizes.)
///
/// [`Vlm::decode_batch`](crate::Vlm::decode_batch) makes an empty one.
///
/// ```
/// use burn::tensor::Device;
/// use diffprune_vlm::{FakeVlm, JoinRequest, PreparedImages, Turn, Vlm};
///
/// let vlm = FakeVlm::new(&Device::flex()).answering(|input| input.text.to_uppercase());
/// let mut batch = vlm.decode_batch();
/// let (images, options) = (PreparedImages::none(), vlm.generate_options());
/// let prompt = vlm.prompt_ids(&[Turn::ask("hi").with_images(0)])?;
/// let joined = batch.join(JoinRequest::new(&prompt, &images, &options))?;
/// let mut ids = Vec::new();
/// while !batch.is_empty() {
///     for new in batch.step()? {
///         assert_eq!(new.id, joined.id);
///         ids.extend(new.token);
///     }
/// }
/// assert_eq!(vlm.text_of(&ids), "HI\n");
/// # Ok::<(), diffprune_vlm::VlmError>(())
/// ```
pub trait DecodeBatch: Send {
    /// Reads a prompt and adds it as a sequence. Its first token is among those of the next [`step`](Self::step).
    ///
    /// The prompt is read within this call; the other sequences wait.
    ///
    /// # Errors
    /// When the prompt does not fit the images, a sequence is too long, a method inside the language model cannot
    /// choose, the scores of the prompt are not finite, or the prefix cannot be used. The batch is then as it was.
    fn join(&mut self, request: JoinRequest<'_>) -> Result<Joined, VlmError>;

    /// One token for every sequence, in the order in which they joined. A sequence that ends is told of once, with
    /// [`StepToken::finished`], and is then no longer in the batch. An empty batch gives an empty list.
    ///
    /// # Errors
    /// When the batch as a whole cannot go on; drop it then. What concerns one sequence is told by its
    /// [`Finish`] instead.
    fn step(&mut self) -> Result<Vec<StepToken>, VlmError>;

    /// Takes a sequence out before its end and frees what it holds. Unknown ids are ignored.
    fn leave(&mut self, id: SequenceId);

    /// Number of sequences.
    fn len(&self) -> usize;

    /// True without sequences.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and values that the sequences hold now, with the room that is set aside for their next tokens.
    /// A [`Prefix`] counts in each sequence that began with it; its own bytes are [`Prefix::bytes`].
    fn kv_bytes(&self) -> u64;
}

/// The number of a sequence: unique within its batch, never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

impl SequenceId {
    /// The sequence of this number. Only a [`DecodeBatch`] gives numbers.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A prompt that is to join a [`DecodeBatch`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct JoinRequest<'a> {
    /// Its ids with one placeholder per image; with a [`Self::prefix`] only those that follow it.
    pub prompt: &'a [u32],
    /// The images of [`Self::prompt`], with the method inside the language model, where there is one. Those of the
    /// prefix are in the prefix.
    pub images: &'a PreparedImages<'a>,
    /// Length, stop ids and sampling. Draws are those of a batch of one: they depend on the seed, not on the batch.
    pub options: &'a GenerateOptions,
    /// What was read before, by [`Vlm::read_prefix`](crate::Vlm::read_prefix) of the same model.
    pub prefix: Option<&'a Prefix>,
}

impl<'a> JoinRequest<'a> {
    /// A whole prompt with its images.
    pub const fn new(
        prompt: &'a [u32],
        images: &'a PreparedImages<'a>,
        options: &'a GenerateOptions,
    ) -> Self {
        Self {
            prompt,
            images,
            options,
            prefix: None,
        }
    }

    /// The same after a prefix: prompt and images are then only what follows it.
    pub fn with_prefix(mut self, prefix: impl Into<Option<&'a Prefix>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The ids of the whole prompt, those of the prefix first.
    pub fn all_ids(&self) -> Vec<u32> {
        let before = self.prefix.map(Prefix::ids).unwrap_or_default();
        [before, self.prompt].concat()
    }

    /// What a backbone stored in the prefix, for the backbone; `None` without a prefix.
    ///
    /// # Errors
    /// [`VlmError::Prefix`] when it holds something else, or with a method inside the language model, which chooses
    /// while the whole prompt is read.
    pub fn prefix_content<T: Any>(&self) -> Result<Option<&'a T>, VlmError> {
        let Some(prefix) = self.prefix else {
            return Ok(None);
        };
        if let Some(inside) = self.images.inside() {
            let found = format!("one together with the method `{}`", inside.pruner.name());
            return Err(VlmError::Prefix {
                found,
                wanted: "none, since the method chooses while the whole prompt is read",
            });
        }
        match prefix.content::<T>() {
            Some(content) => Ok(Some(content)),
            None => Err(VlmError::foreign_prefix()),
        }
    }
}

/// What is known of a sequence once its prompt is read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Joined {
    /// Its number.
    pub id: SequenceId,
    /// Tokens of the prompt as they enter the first layer: text, visual tokens and separators, those of a prefix too.
    pub prompt_tokens: usize,
    /// The tokens that a method inside the language model dropped; `None` for any other method, and when no token may
    /// be produced.
    pub report: Option<DecoderReport>,
}

impl Joined {
    /// A sequence whose prompt has as many tokens, with the report of a method inside the language model.
    pub const fn new(id: SequenceId, prompt_tokens: usize, report: Option<DecoderReport>) -> Self {
        Self {
            id,
            prompt_tokens,
            report,
        }
    }
}

/// What a step gave a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepToken {
    /// The sequence.
    pub id: SequenceId,
    /// Its new id; `None` when it ended without one, as it does at a stop id (which is not part of the answer).
    pub token: Option<u32>,
    /// Why it ended, when it did.
    pub finished: Option<Finish>,
}

impl StepToken {
    /// A new id, an end, or both.
    pub const fn new(id: SequenceId, token: Option<u32>, finished: Option<Finish>) -> Self {
        Self { id, token, finished }
    }
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Finish {
    /// At a stop id.
    Stop,
    /// At [`GenerateOptions::max_new_tokens`], or at the end of the model's positions.
    Length,
    /// Its scores were not finite: the weights are damaged, or need a wider number format.
    NotFinite,
}
