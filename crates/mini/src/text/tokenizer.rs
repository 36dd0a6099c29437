//! The word-level tokenizer, in the format that Hugging Face tokenizers read.

use super::words::{SPECIAL, sentences, vocabulary};
use crate::MiniError;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::Whitespace;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

/// Builds the tokenizer: one token per word, punctuation split off, capitals kept (sign letters are words of their
/// own), the fixed sentences of the benchmarks one token each, `<s>` put before every text.
///
/// # Errors
/// [`MiniError::Tokenizer`] if the word list contradicts itself.
pub fn build_tokenizer() -> Result<Tokenizer, MiniError> {
    let failed = |reason: &dyn ToString| MiniError::Tokenizer {
        reason: reason.to_string(),
    };
    let vocab = vocabulary().into_iter().zip(0u32..).collect();
    let model = WordLevel::builder()
        .vocab(vocab)
        .unk_token(SPECIAL[0].to_owned())
        .build();
    let template = TemplateProcessing::builder()
        .try_single("<s> $A")
        .map_err(|e| failed(&e))?
        .try_pair("<s> $A $B")
        .map_err(|e| failed(&e))?
        .special_tokens(vec![("<s>", 1)])
        .build();
    let mut tokenizer = Tokenizer::new(model.map_err(|e| failed(&e))?);
    tokenizer.with_pre_tokenizer(Some(Whitespace {}));
    tokenizer.with_post_processor(Some(template.map_err(|e| failed(&e))?));
    let special = SPECIAL.map(|token| AddedToken::from(token, true).normalized(false));
    tokenizer.add_special_tokens(special).map_err(|e| failed(&e))?;
    let fixed = sentences()
        .into_iter()
        .map(|token| AddedToken::from(token, false).normalized(false));
    tokenizer.add_tokens(fixed).map_err(|e| failed(&e))?;
    Ok(tokenizer)
}
