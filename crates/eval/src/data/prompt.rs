//! The texts around a question.

/// Suffix of questions with a short answer.
pub const SHORT_ANSWER: &str = "\nAnswer the question using a single word or phrase.";

/// TextVQA's text: the question with its first letter raised and the rest lowered, OCR tokens when given, the suffix.
pub fn textvqa_text(question: &str, ocr_tokens: Option<&[String]>) -> String {
    let ocr = ocr_tokens
        .map(|tokens| format!("\nReference OCR token: {}", tokens.join(", ")))
        .unwrap_or_default();
    format!("{}{ocr}{SHORT_ANSWER}", capitalised(question))
}

/// First letter upper case, the rest lower case.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first
            .to_uppercase()
            .chain(letters.as_str().to_lowercase().chars())
            .collect(),
        None => String::new(),
    }
}
