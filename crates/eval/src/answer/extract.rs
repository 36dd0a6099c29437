//! lmms-eval's last resort for answers that no matcher resolves: the letter that stands in the most telling place.

use super::normalise::is_space;

/// Marks that are taken from both ends, one kind after the other.
const ENDS: [char; 8] = [',', '.', '!', '?', ';', ':', '\'', '"'];
/// Phrases after which a letter is meant, in lower case.
const PHRASES: [&str; 27] = [
    "the answer is",
    "answer is",
    "the correct answer is",
    "correct answer is",
    "the best answer is",
    "best answer is",
    "the correct option is",
    "correct option is",
    "the best option is",
    "best option is",
    "the choice is",
    "choice is",
    "the correct choice is",
    "correct choice is",
    "i choose",
    "i select",
    "i pick",
    "my answer is",
    "my choice is",
    "옵션",
    "정답은",
    "답은",
    "답:",
    "答案是",
    "答案为",
    "选",
    "答えは",
];
/// Texts before and after a letter, and how telling each is.
const AROUND: [(&str, &str, u8); 5] = [
    ("(", ")", 6),
    ("", ".", 5),
    ("", ":", 4),
    ("", ")", 3),
    ("", " ", 2),
];
/// Weights of a letter at the start, at the end and after a phrase.
const START: u8 = 10;
const END: u8 = 9;
const PHRASE: u8 = 7;

/// The letter that an answer most likely chooses, among those of the options; `None` when it has none.
///
/// The most telling place wins, and among equals the last one; a letter anywhere is the last resort. Upper case only.
pub fn extract_letter(answer: &str, letters: &[char]) -> Option<char> {
    let bare = ENDS.iter().fold(answer.trim_matches(is_space), |text, &mark| {
        text.trim_matches(mark)
    });
    if answer.trim_matches(is_space).is_empty() {
        return None;
    }
    let text: Vec<char> = format!(" {bare} ").chars().collect();
    let lower: Vec<char> = format!(" {bare} ").to_lowercase().chars().collect();
    let mut best: Option<(u8, usize, char)> = None;
    let mut offer = |telling: u8, place: usize, letter: char| {
        if best.is_none_or(|(best, at, _)| (telling, place) > (best, at)) {
            best = Some((telling, place, letter));
        }
    };
    for (before, after, telling) in AROUND {
        for &letter in letters {
            let wanted: Vec<char> = format!("{before}{letter}{after}").chars().collect();
            if let Some(place) = text.windows(wanted.len()).rposition(|window| window == wanted) {
                offer(telling, place, letter);
            }
        }
    }
    for phrase in PHRASES {
        let phrase: Vec<char> = phrase.chars().collect();
        let Some(place) = lower.windows(phrase.len()).position(|window| window == phrase) else {
            continue;
        };
        let after = (place + phrase.len()).min(text.len());
        for &letter in letters {
            if let Some(place) = text[after..].iter().position(|&found| found == letter) {
                offer(PHRASE, after + place, letter);
            }
        }
    }
    let core: Vec<char> = bare.trim_matches(is_space).chars().collect();
    let part_of_word = |place: Option<usize>| {
        place
            .and_then(|place| core.get(place))
            .is_some_and(|letter| letter.is_alphabetic())
    };
    for &letter in letters {
        if core.first() == Some(&letter) && !part_of_word(Some(1)) {
            offer(START, 0, letter);
        }
        if core.last() == Some(&letter) && !part_of_word(core.len().checked_sub(2)) {
            offer(END, text.len() - 1, letter);
        }
    }
    let anywhere = || {
        letters
            .iter()
            .filter_map(|&letter| Some((text.iter().rposition(|&found| found == letter)?, letter)))
            .max_by_key(|&(place, _)| place)
            .map(|(_, letter)| letter)
    };
    best.map(|(_, _, letter)| letter).or_else(anywhere)
}
