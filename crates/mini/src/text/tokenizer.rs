//! The word-level tokenizer, in the format that Hugging Face tokenizers read.

use super::words::{SPECIAL, sentences, vocabulary};
use crate::{Family, MiniError};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::Whitespace;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

/// What stands in Qwen2.5-VL's vocabulary in place of [`SPECIAL`], in the same parts: unknown words, begin and end of a
/// turn, padding, image.
const QWEN_PARTS: [&str; 5] = [
    "<unk>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|image_pad|>",
];
/// Further marks of Qwen2.5-VL's conversations.
const QWEN_MARKS: [&str; 3] = ["<|vision_start|>", "<|vision_end|>", "<|video_pad|>"];
/// Words of Qwen2.5-VL's conversations; the sentence of its system turn is one.
const QWEN_WORDS: [&str; 4] = ["You are a helpful assistant.", "system", "user", "assistant"];
/// The vocabulary is padded with unused entries to a multiple of this, for the sake of matrix kernels.
const MULTIPLE: usize = 16;

/// Token ids that a model's configuration repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorIds {
    /// Unknown words.
    pub unk: u32,
    /// Begin of text; texts of Qwen2.5-VL begin without it.
    pub bos: u32,
    /// End of a turn.
    pub eos: u32,
    /// Padding.
    pub pad: u32,
    /// The image placeholder.
    pub image: u32,
    /// The video placeholder of Qwen2.5-VL; in the LLaVAs the image's.
    pub video: u32,
    /// Before an image in Qwen2.5-VL; in the LLaVAs the image's.
    pub vision_start: u32,
    /// After an image in Qwen2.5-VL; in the LLaVAs the image's.
    pub vision_end: u32,
    /// Entries of the vocabulary, `vocab_size` of the model; a multiple of 16.
    pub vocab_size: usize,
}

impl ProcessorIds {
    /// The ids of [`build_tokenizer`].
    pub fn of(family: Family) -> Self {
        let words = entries(family);
        let id = |word: &str| words.iter().position(|entry| entry == word).unwrap_or(0) as u32;
        match family {
            Family::Qwen25Vl => Self {
                unk: 0,
                bos: 3,
                eos: 2,
                pad: 3,
                image: 4,
                video: id(QWEN_MARKS[2]),
                vision_start: id(QWEN_MARKS[0]),
                vision_end: id(QWEN_MARKS[1]),
                vocab_size: words.len(),
            },
            _ => Self {
                unk: 0,
                bos: 1,
                eos: 2,
                pad: 3,
                image: 4,
                video: 4,
                vision_start: 4,
                vision_end: 4,
                vocab_size: words.len(),
            },
        }
    }
}

/// Every entry of a family's vocabulary; the place is the id. That of Qwen2.5-VL has marks of its own.
fn entries(family: Family) -> Vec<String> {
    let mut words = vocabulary();
    if family == Family::Qwen25Vl {
        for (entry, part) in words.iter_mut().zip(QWEN_PARTS) {
            *entry = part.to_owned();
        }
        words.extend(QWEN_MARKS.into_iter().chain(QWEN_WORDS).map(str::to_owned));
        let unused = words.len().next_multiple_of(MULTIPLE) - words.len();
        words.extend((0..unused).map(|i| format!("<|unused_{i}|>")));
    }
    words
}

/// The entries that are found inside a text before it is split into words: id, text, and whether they are special.
pub(super) fn added_with_ids(family: Family) -> Vec<(usize, &'static str, bool)> {
    let words = entries(family);
    let id = |text: &str| words.iter().position(|entry| entry == text);
    let with_id = |(text, special)| Some((id(text)?, text, special));
    added(family).into_iter().filter_map(with_id).collect()
}

fn added(family: Family) -> Vec<(&'static str, bool)> {
    let (mut special, mut plain) = (SPECIAL.to_vec(), sentences());
    if family == Family::Qwen25Vl {
        special = [&QWEN_PARTS[..], &QWEN_MARKS].concat();
        plain.push(QWEN_WORDS[0]);
    }
    let special = special.into_iter().map(|token| (token, true));
    special
        .chain(plain.into_iter().map(|token| (token, false)))
        .collect()
}

/// Builds the tokenizer: one token per word, punctuation split off, capitals kept (sign letters are words of their
/// own), the fixed sentences of the benchmarks one token each. `<s>` is put before every text of the LLaVAs.
///
/// # Errors
/// [`MiniError::Family`] for a family without a small model, [`MiniError::Tokenizer`] if the word list contradicts itself.
pub fn build_tokenizer(family: Family) -> Result<Tokenizer, MiniError> {
    crate::pretrain::check(family)?;
    let failed = |reason: &dyn ToString| MiniError::Tokenizer {
        reason: reason.to_string(),
    };
    let vocab = entries(family).into_iter().zip(0u32..).collect();
    let model = WordLevel::builder()
        .vocab(vocab)
        .unk_token(SPECIAL[0].to_owned())
        .build();
    let mut tokenizer = Tokenizer::new(model.map_err(|e| failed(&e))?);
    tokenizer.with_pre_tokenizer(Some(Whitespace {}));
    if family != Family::Qwen25Vl {
        let template = TemplateProcessing::builder()
            .try_single("<s> $A")
            .map_err(|e| failed(&e))?
            .try_pair("<s> $A $B")
            .map_err(|e| failed(&e))?
            .special_tokens(vec![("<s>", 1)])
            .build();
        tokenizer.with_post_processor(Some(template.map_err(|e| failed(&e))?));
    }
    let token = |(token, special): (&'static str, bool)| AddedToken::from(token, special).normalized(false);
    let (special, plain): (Vec<_>, Vec<_>) = added(family).into_iter().partition(|(_, special)| *special);
    tokenizer
        .add_special_tokens(special.into_iter().map(token))
        .map_err(|e| failed(&e))?;
    tokenizer
        .add_tokens(plain.into_iter().map(token))
        .map_err(|e| failed(&e))?;
    Ok(tokenizer)
}
