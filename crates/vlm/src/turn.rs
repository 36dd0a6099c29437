//! The turns of a conversation.

use serde::{Deserialize, Serialize};

/// One question and, once it is known, its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The question, without image placeholders.
    pub question: String,
    /// The answer; `None` in the last turn, where the model is to speak.
    pub answer: Option<String>,
    /// Images that come with the question.
    pub n_images: usize,
}

impl Turn {
    /// A question about one image.
    pub fn ask(question: impl Into<String>) -> Self {
        Self {
            question: question.into(),
            answer: None,
            n_images: 1,
        }
    }

    /// The same turn, answered.
    pub fn with_answer(self, answer: impl Into<String>) -> Self {
        Self {
            answer: Some(answer.into()),
            ..self
        }
    }

    /// The same turn with another number of images.
    pub fn with_images(self, n_images: usize) -> Self {
        Self { n_images, ..self }
    }
}
