//! The word list, in the order of the ids.

use super::chinese;
use super::prompt::{OTHER_SENTENCES, SPEAKERS, SUFFIX_LETTER, SUFFIX_SHORT, SYSTEM};
use crate::world::{Colour, LETTERS, Shape, Size};

/// Special tokens; the place is the id.
pub(super) const SPECIAL: [&str; 5] = ["<unk>", "<s>", "</s>", "<pad>", "<image>"];

/// The vocabulary is padded with unused entries to a multiple of this, for the sake of matrix kernels.
const MULTIPLE: usize = 16;

/// Words of captions, questions and answers that are not names of shapes, colours, sizes or letters.
const PLAIN: &str = "a an the is are there in on at of and or that nothing object objects image sign says shows \
    left right above below top bottom center yes no unanswerable what where which how many color shape does say \
    written Is What Where Which How There Are Does The A B C D E Yes No Unanswerable Answer answer USER ASSISTANT \
    0 1 2 3 4 5 6 7 8 9 . , ? ! : ; ' \" ( ) - \"? this word one two three four Ann Ben has";

/// Further words of a person who asks without a benchmark. They come last, so that the ids of the others stay.
const PERSON: &str = "picture colour do Do you see can Can";

/// Sentences that are one token each: they never change, and a short sequence is a fast one. Chinese words are among
/// them, because nothing sets them apart from their neighbours.
pub(super) fn sentences() -> Vec<&'static str> {
    [SYSTEM, SUFFIX_SHORT, SUFFIX_LETTER]
        .into_iter()
        .chain(OTHER_SENTENCES)
        .chain(SPEAKERS)
        .chain(chinese::words())
        .collect()
}

/// Every entry of the vocabulary; the place is the id.
pub(super) fn vocabulary() -> Vec<String> {
    let letters = LETTERS.map(String::from);
    let names = (Shape::ALL.iter().flat_map(|s| [s.word(), s.plural()]))
        .chain(Colour::ALL.iter().map(|c| c.word()))
        .chain(Size::ALL.iter().map(|s| s.word()));
    let mut words: Vec<String> = (SPECIAL.into_iter())
        .chain(sentences())
        .chain(PLAIN.split_whitespace())
        .chain(names)
        .map(str::to_owned)
        .chain(letters)
        .chain(PERSON.split_whitespace().map(str::to_owned))
        .collect();
    let unused = words.len().next_multiple_of(MULTIPLE) - words.len();
    words.extend((0..unused).map(|i| format!("<unused_{i}>")));
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_entry_occurs_once() {
        let words = vocabulary();
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
        assert!(words.len().is_multiple_of(MULTIPLE));
        assert!(words.len() <= 256, "{}", words.len());
    }
}
