//! The option that an answer means: the matchers of MMBench's programs.

use super::normalise::is_space;

/// The marks before and after a letter in the decorations that lmms-eval knows, in its order.
const DECORATIONS: [(&str, &str); 12] = [
    ("", "."),
    ("", ","),
    ("", ":"),
    ("", ")"),
    ("", ")."),
    ("(", ")"),
    ("(", ")."),
    (":", ""),
    (":", ","),
    (":", "."),
    (":", ")"),
    (":", ")."),
];
/// Marks that VLMEvalKit takes for spaces.
const MARKS: &str = ".()[],:;!*#{}";
/// Parts of answers that VLMEvalKit takes for a refusal.
const REFUSALS: [&str; 4] = [
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
];
/// The text that programs write instead of an answer when a remote model fails; no matcher reads it.
const NO_ANSWER: &str = "Failed to obtain answer via API";
/// A letter this far from the end of an answer is not what it chooses.
const LAST_WORDS: usize = 4;
/// VLMEvalKit's letter for no option at all.
const NONE_OF_THEM: char = 'Z';

/// lmms-eval's matcher. `None` when it cannot tell; the letter may be `E`, which is no option.
///
/// First exactly one of A to E as a bare word, unless `A` is among more than three words; then exactly one with a
/// decoration; then exactly one option text inside the answer.
pub fn mmbench_letter_lmms(answer: &str, options: &[(char, String)]) -> Option<char> {
    const LETTERS: [char; 5] = ['A', 'B', 'C', 'D', 'E'];
    let by_letter = || {
        let words = words(answer);
        let decorated = |(before, after): (&str, &str)| {
            only(
                LETTERS
                    .into_iter()
                    .filter(|letter| words.contains(&format!("{before}{letter}{after}").as_str())),
            )
        };
        let article = words.contains(&"A") && words.len() > 3;
        let bare = decorated(("", "")).filter(|_| !article);
        bare.or_else(|| DECORATIONS.into_iter().find_map(decorated))
    };
    let by_letter = (!answer.contains(NO_ANSWER)).then(by_letter).flatten();
    by_letter.or_else(|| option_inside(answer, options))
}

/// VLMEvalKit's matcher. `None` when it cannot tell; `Z` means none of the options.
///
/// Refusals are `Z`. Otherwise marks become spaces, and exactly one letter among the words counts if it is one of the
/// last four; without any letter a word `Z` counts; then the phrase "answer is X"; then the text of exactly one option, if
/// the answer is not longer than twice all options together.
pub fn mmbench_letter_vlmevalkit(answer: &str, options: &[(char, String)]) -> Option<char> {
    let by_text = || {
        let n_letters: usize = options.iter().map(|(_, text)| text.chars().count()).sum();
        let short = answer.to_lowercase().chars().count() <= 2 * n_letters;
        short.then(|| option_inside(answer, options)).flatten()
    };
    letter_vlmevalkit(answer, options).or_else(by_text)
}

fn letter_vlmevalkit(answer: &str, options: &[(char, String)]) -> Option<char> {
    if answer.contains(NO_ANSWER) {
        return None;
    }
    if REFUSALS.iter().any(|refusal| answer.contains(refusal)) {
        return Some(NONE_OF_THEM);
    }
    let spaced = answer.replace(|letter| MARKS.contains(letter), " ");
    let words = words(&spaced);
    let place = |letter: char| words.iter().position(|word| is_letter(word, letter));
    let found: Vec<(char, usize)> = options
        .iter()
        .filter_map(|&(letter, _)| Some((letter, place(letter)?)))
        .collect();
    match found.as_slice() {
        [(letter, place)] if place + LAST_WORDS >= words.len() => return Some(*letter),
        [] if place(NONE_OF_THEM).is_some() => return Some(NONE_OF_THEM),
        _ => {}
    }
    let phrased = phrased(answer)?;
    options
        .iter()
        .map(|&(letter, _)| letter)
        .find(|&letter| letter == phrased)
}

fn words(text: &str) -> Vec<&str> {
    text.split(is_space).filter(|word| !word.is_empty()).collect()
}

fn is_letter(word: &str, letter: char) -> bool {
    word.chars().eq([letter])
}

/// The letter after the first "answer is" that one of A to D follows, with any number of asterisks between; case does
/// not matter.
fn phrased(answer: &str) -> Option<char> {
    const WORD: &str = "answer";
    let lower = answer.to_ascii_lowercase();
    lower.match_indices(WORD).find_map(|(place, _)| {
        let rest = &lower[place + WORD.len()..];
        let verb = rest.trim_start();
        let after = verb
            .strip_prefix("is")
            .filter(|after| verb.len() < rest.len() && after.starts_with(char::is_whitespace))?;
        let letter = after.trim_start().trim_start_matches('*').chars().next()?;
        let letter = letter.to_ascii_uppercase();
        matches!(letter, 'A'..='D').then_some(letter)
    })
}

/// The only option whose text is inside the answer; case does not matter.
fn option_inside(answer: &str, options: &[(char, String)]) -> Option<char> {
    let answer = answer.to_lowercase();
    let inside = |(_, text): &&(char, String)| answer.contains(&text.to_lowercase());
    only(options.iter().filter(inside).map(|&(letter, _)| letter))
}

/// The only item.
fn only(mut items: impl Iterator<Item = char>) -> Option<char> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}
