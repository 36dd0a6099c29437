//! The two normalisers of open answers: the VQA program's and EvalAI's.

use super::contractions::contraction;

/// Characters that step 2 removes or turns into spaces.
const PUNCTUATION: &str = ";/[]\"{}()=+\\_-><@`,?!";

/// The published program hands a flag to the place of a count, so that no more periods than this are deleted.
const MAX_PERIODS: usize = 32;

/// When digits and commas glue all punctuation of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommaRule {
    /// One comma between two digits (the VQA program).
    One,
    /// One or more commas between two digits (the EvalAI code).
    Several,
}

/// The VQA program's normal form of an answer.
pub fn vqa_normalise(text: &str) -> String {
    digits_and_articles(&punctuation(&vqa_clean(text), CommaRule::One))
}

/// The EvalAI code's normal form of an answer (TextVQA, VizWiz, and what LLaVA uploads).
pub fn evalai_normalise(text: &str) -> String {
    digits_and_articles(&punctuation(
        &vqa_clean(&evalai_tokenise(text)),
        CommaRule::Several,
    ))
}

/// Newlines and tabs to spaces, both ends trimmed.
pub fn vqa_clean(text: &str) -> String {
    text.replace(['\n', '\t'], " ").trim_matches(is_space).to_string()
}

/// EvalAI's first stage: lower case, no commas and question marks, a space before every `'s`, both ends trimmed.
pub fn evalai_tokenise(text: &str) -> String {
    text.to_lowercase()
        .replace([',', '?'], "")
        .replace("'s", " 's")
        .trim_matches(is_space)
        .to_string()
}

/// Punctuation and periods.
///
/// A mark that somewhere touches a space is deleted everywhere, as are all marks when a comma stands between digits;
/// the others become spaces. Then periods that no digit follows are deleted, at most 32 of them.
pub fn punctuation(text: &str, rule: CommaRule) -> String {
    let glued = has_number_comma(text, rule);
    let deleted =
        |mark: char| glued || text.contains(&format!("{mark} ")) || text.contains(&format!(" {mark}"));
    let mut marks = String::with_capacity(text.len());
    for letter in text.chars() {
        if !PUNCTUATION.contains(letter) {
            marks.push(letter);
        } else if !deleted(letter) {
            marks.push(' ');
        }
    }
    without_periods(&marks)
}

fn without_periods(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut deleted = 0;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let before_digit = letters.peek().is_some_and(|&next| is_digit(next));
        if letter == '.' && !before_digit && deleted < MAX_PERIODS {
            deleted += 1;
        } else {
            kept.push(letter);
        }
    }
    kept
}

/// True when commas stand between two digits.
fn has_number_comma(text: &str, rule: CommaRule) -> bool {
    let (mut after_digit, mut n_commas) = (false, 0);
    for letter in text.chars() {
        if letter == ',' && after_digit {
            n_commas += 1;
        } else {
            if is_digit(letter) && (n_commas == 1 || (n_commas > 1 && rule == CommaRule::Several)) {
                return true;
            }
            (after_digit, n_commas) = (is_digit(letter), 0);
        }
    }
    false
}

/// Lower case, number words to digits, articles away, contractions spelt out, single spaces.
pub fn digits_and_articles(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(is_space)
        .filter(|word| !word.is_empty())
        .map(|word| number(word).unwrap_or(word))
        .filter(|word| !matches!(*word, "a" | "an" | "the"))
        .map(|word| contraction(word).unwrap_or(word))
        .collect();
    words.join(" ")
}

fn number(word: &str) -> Option<&'static str> {
    Some(match word {
        "none" | "zero" => "0",
        "one" => "1",
        "two" => "2",
        "three" => "3",
        "four" => "4",
        "five" => "5",
        "six" => "6",
        "seven" => "7",
        "eight" => "8",
        "nine" => "9",
        "ten" => "10",
        _ => return None,
    })
}

/// White space as the published programs see it: Unicode's, and the four separators of ASCII.
pub(crate) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

/// Decimal digits of the scripts in wide use.
fn is_digit(letter: char) -> bool {
    /// The zero of each script; its other digits follow.
    const ZEROS: [u32; 16] = [
        0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50,
        0xed0, 0xff10,
    ];
    ZEROS
        .iter()
        .any(|&zero| (zero..zero + 10).contains(&u32::from(letter)))
}
