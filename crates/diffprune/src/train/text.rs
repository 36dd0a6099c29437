//! Captions as targets of the language model.

use diffprune_vlm::{TextBatch, Turn, Vlm, VlmError};

/// Turns captions into sequences: the prompt with one image placeholder, the caption, the end token.
///
/// The loss counts the caption and the end token only.
#[derive(Debug, Clone)]
pub struct CaptionPrompt {
    question: String,
    open: Vec<u32>,
    max_tokens: usize,
}

impl CaptionPrompt {
    /// A prompt that asks `question`; captions are cut to `max_tokens`.
    ///
    /// # Errors
    /// When the prompt cannot be rendered or tokenised.
    pub fn new(vlm: &dyn Vlm, question: &str, max_tokens: usize) -> Result<Self, VlmError> {
        let open = vlm.prompt_ids(&[Turn::ask(question)])?;
        Ok(Self {
            question: question.to_string(),
            open,
            max_tokens,
        })
    }

    /// Sequences and targets of some captions.
    ///
    /// # Errors
    /// When a caption cannot be rendered or tokenised.
    pub fn batch(&self, vlm: &dyn Vlm, captions: &[String]) -> Result<TextBatch, VlmError> {
        let mut batch = TextBatch {
            ids: Vec::new(),
            targets: Vec::new(),
        };
        for caption in captions {
            let (prompt, answer) = self.split(vlm, caption)?;
            batch
                .targets
                .push([vec![false; prompt.len()], vec![true; answer.len()]].concat());
            batch.ids.push([prompt, answer].concat());
        }
        Ok(batch)
    }

    /// Prompt and answer of a caption.
    ///
    /// The caption is tokenised in its place, after the prompt, since tokenizers treat the first word of a text
    /// differently; what a template adds after an answer is replaced by the end token alone, as the models are trained.
    fn split(&self, vlm: &dyn Vlm, caption: &str) -> Result<(Vec<u32>, Vec<u32>), VlmError> {
        let eos = vlm.end_id();
        let full = vlm.prompt_ids(&[Turn::ask(self.question.as_str()).with_answer(caption)])?;
        let common = full
            .iter()
            .zip(&self.open)
            .take_while(|(left, right)| left == right)
            .count();
        let mut answer = full[common..].to_vec();
        let closing = |id: &u32| Some(*id) == eos || vlm.text_of(&[*id]).trim().is_empty();
        while answer.last().is_some_and(closing) {
            answer.pop();
        }
        answer.truncate(self.max_tokens);
        answer.extend(eos);
        Ok((full[..common].to_vec(), answer))
    }
}

/// Number of targets of a batch.
pub(crate) fn count_targets(batch: &TextBatch) -> usize {
    batch.targets.iter().flatten().filter(|&&target| target).count()
}
