//! Letters as ScienceQA's and SEED-Bench's programs read them.

use super::normalise::is_space;

/// LLaVA's reading of a ScienceQA answer: the whole text is a letter from A to E; or a letter, `. ` and anything; or
/// exactly one "The answer is X" with a character after it. Case and spaces count; `None` when none of these fits.
pub fn scienceqa_letter(answer: &str) -> Option<char> {
    const PHRASE: &str = "The answer is ";
    let mut letters = answer.chars();
    if let Some(first @ 'A'..='E') = letters.next() {
        let rest = letters.as_str();
        if rest.is_empty() || rest.starts_with(". ") {
            return Some(first);
        }
    }
    let mut found = Vec::new();
    let mut rest = answer;
    while let Some(place) = rest.find(PHRASE) {
        let after = &rest[place + PHRASE.len()..];
        let mut letters = after.chars();
        match (letters.next(), letters.next()) {
            (Some(letter @ 'A'..='Z'), Some(next)) if next != '\n' => {
                found.push(letter);
                rest = letters.as_str();
            }
            _ => rest = after,
        }
    }
    match found.as_slice() {
        [letter] => Some(*letter),
        _ => None,
    }
}

/// lmms-eval's rule for ScienceQA: the trimmed answer is the letter in any case, or starts with it and a period.
pub fn scienceqa_correct_lmms(answer: &str, letter: char) -> bool {
    let answer = answer.trim_matches(is_space);
    let named = letter.to_string();
    answer.eq_ignore_ascii_case(&named) || answer.starts_with(&format!("{letter}."))
}

/// lmms-eval's reading of a SEED-Bench answer: the first character of the trimmed text.
pub fn seed_letter_lmms(answer: &str) -> Option<char> {
    answer.trim_matches(is_space).chars().next()
}
