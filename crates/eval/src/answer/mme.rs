//! MME: yes, no or something else.

use super::normalise::is_space;

/// The subtasks of perception, in the order of MME's program.
pub const MME_PERCEPTION: [&str; 10] = [
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
];
/// The subtasks of cognition.
pub const MME_COGNITION: [&str; 4] = [
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
];

/// MME's label of an answer: exactly `yes` or `no` in any case, else what the first four characters contain, `yes`
/// before `no`; `None` is "other", which is wrong.
pub fn mme_label(answer: &str) -> Option<bool> {
    label(&answer.to_lowercase())
}

/// lmms-eval's label: the same after trimming and without periods; the single letters `y` and `n` count too.
pub fn mme_label_lmms(answer: &str) -> Option<bool> {
    match answer
        .to_lowercase()
        .trim_matches(is_space)
        .replace('.', "")
        .as_str()
    {
        "y" => Some(true),
        "n" => Some(false),
        bare => label(bare),
    }
}

fn label(lower: &str) -> Option<bool> {
    let start: String = lower.chars().take(4).collect();
    if start.contains("yes") {
        Some(true)
    } else if start.contains("no") {
        Some(false)
    } else {
        None
    }
}
