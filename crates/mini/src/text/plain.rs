//! A question in a person's words, without the sentences that benchmarks put around it.

use rand::{Rng, RngExt};

/// How a person may ask whether something is there, in place of `Is there`.
const SEEING: [&str; 4] = ["Is there", "Is there", "Do you see", "Can you see"];
/// Where, in place of ` in the image`.
const PICTURES: [&str; 3] = ["", " in the image", " in the picture"];

/// The question as somebody may type it: `is there a red circle`, `Do you see a red circle in the picture?`,
/// `what colour is the star?`.
pub fn plainly(question: &str, rng: &mut impl Rng) -> String {
    let mut pick = |words: &[&'static str]| words[rng.random_range(0..words.len() as u32) as usize];
    let mut text = question.replace(" in this image", " in the image");
    if let Some(thing) = text.strip_prefix("Is there a") {
        text = format!("{} a{thing}", pick(&SEEING));
    }
    text = text.replace(" in the image", pick(&PICTURES));
    text = text.replace(" color ", pick(&[" color ", " colour "]));
    if rng.random_bool(0.25) {
        text.truncate(text.trim_end_matches('?').len());
    }
    if rng.random_bool(0.5) {
        let first = text.chars().next().map_or(0, char::len_utf8);
        text = text[..first].to_lowercase() + &text[first..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, build_tokenizer};
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    #[test]
    fn every_wording_is_made_of_known_words() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let tokenizer = build_tokenizer(Family::Llava15).unwrap();
        let questions = [
            "Is there a red circle in the image?",
            "Is there an orange star in this image?",
            "What color is the star?",
            "How many objects are there?",
            "Where is the sign?",
            "Are there two stars in this image?",
        ];
        let mut seen = BTreeSet::new();
        for question in questions.iter().cycle().take(600) {
            let text = plainly(question, &mut rng);
            let ids = tokenizer.encode(text.as_str(), false).unwrap();
            assert!(!ids.get_ids().contains(&0), "unknown word in {text:?}");
            seen.insert(text);
        }
        for text in [
            "is there a red circle",
            "Do you see a red circle in the picture?",
            "what colour is the star?",
        ] {
            assert!(seen.contains(text), "{text:?} is never asked");
        }
    }
}
