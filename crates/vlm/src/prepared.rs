//! Images on their way into the language model, pruned.

use diffprune_pruner::Layout;

use crate::{DecoderPruning, VisualInput};

/// Images that were encoded and pruned: the visual tokens that the language model gets, what was kept, and, where the
/// method acts inside the language model, the method itself.
///
/// [`prepare`](crate::prepare) makes it, [`respond`](crate::respond) reads it. Since it carries the method, a method
/// inside the language model cannot be left out on the way.
#[derive(Debug, Clone, Default)]
pub struct PreparedImages<'p> {
    pub(crate) visual: Option<VisualInput>,
    pub(crate) keep: Vec<Vec<usize>>,
    pub(crate) layouts: Vec<Layout>,
    pub(crate) inside: Option<DecoderPruning<'p>>,
}

impl<'p> PreparedImages<'p> {
    /// No images: for prompts of text alone.
    pub fn none() -> Self {
        Self::default()
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.layouts.len()
    }

    /// True without images.
    pub fn is_empty(&self) -> bool {
        self.layouts.is_empty()
    }

    /// The visual tokens that enter the language model; `None` without images.
    ///
    /// With a method inside the language model these are all tokens, and the method drops some of them later.
    pub fn visual(&self) -> Option<&VisualInput> {
        self.visual.as_ref()
    }

    /// The tokens of each image that enter the language model: ascending, or in the order of merged tokens.
    pub fn keep(&self) -> &[Vec<usize>] {
        &self.keep
    }

    /// As [`Self::keep`], of one image.
    ///
    /// # Panics
    /// When there is no image of that number.
    pub fn keep_indices(&self, image: usize) -> &[usize] {
        &self.keep[image]
    }

    /// Tokens of an image that enter the language model.
    ///
    /// # Panics
    /// When there is no image of that number.
    pub fn kept(&self, image: usize) -> usize {
        self.keep[image].len()
    }

    /// Tokens that the encoder made of an image.
    ///
    /// # Panics
    /// When there is no image of that number.
    pub fn total(&self, image: usize) -> usize {
        self.layouts[image].n_tokens()
    }

    /// The layout of each image's tokens, before pruning.
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// The method inside the language model, when the pruner is one.
    pub fn inside(&self) -> Option<DecoderPruning<'p>> {
        self.inside
    }

    /// Chosen images, in the order given; an image may be chosen more than once.
    ///
    /// # Panics
    /// When there is no image of that number.
    pub fn rows(&self, images: &[usize]) -> Self {
        Self {
            visual: self.visual.as_ref().map(|visual| visual.rows(images)),
            keep: images.iter().map(|&image| self.keep[image].clone()).collect(),
            layouts: images.iter().map(|&image| self.layouts[image].clone()).collect(),
            inside: self.inside,
        }
    }

    /// The images of both, those of `self` first. A method inside the language model acts on all of them.
    pub fn and(self, other: Self) -> Self {
        let visual = match (self.visual, other.visual) {
            (Some(left), Some(right)) => Some(left.and(right)),
            (left, right) => left.or(right),
        };
        Self {
            visual,
            keep: [self.keep, other.keep].concat(),
            layouts: [self.layouts, other.layouts].concat(),
            inside: self.inside.or(other.inside),
        }
    }
}
