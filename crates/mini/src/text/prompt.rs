//! The sentences around a question, as the benchmarks and LLaVA-1.5 write them.

/// The system sentence of the `vicuna_v1` conversation.
pub const SYSTEM: &str = "A chat between a curious user and an artificial intelligence assistant. \
The assistant gives helpful, detailed, and polite answers to the user's questions.";

/// What the benchmarks add, on a line of its own, to get a short answer.
pub const SUFFIX_SHORT: &str = "Answer the question using a single word or phrase.";

/// What the benchmarks add, on a line of its own, to get the letter of a choice.
pub const SUFFIX_LETTER: &str = "Answer with the option's letter from the given choices directly.";

/// The other fixed sentences that the benchmarks' prompts may hold.
pub(super) const OTHER_SENTENCES: [&str; 6] = [
    "Reference OCR token:",
    "There are several options:",
    "Please answer yes or no.",
    "When the provided information is insufficient, respond with 'Unanswerable'.",
    "\u{8bf7}\u{76f4}\u{63a5}\u{56de}\u{7b54}\u{9009}\u{9879}\u{5b57}\u{6bcd}\u{3002}",
    "Describe the image.",
];

/// The names of the two speakers, with their colon.
pub(super) const SPEAKERS: [&str; 2] = ["USER:", "ASSISTANT:"];

/// The prompt for one question with the short-answer suffix, without the system sentence (the chat template of
/// the LLaVA checkpoints has none): `USER: <image>\n{question}\n{suffix} ASSISTANT:`.
pub fn prompt(question: &str) -> String {
    format!("USER: <image>\n{question}\n{SUFFIX_SHORT} ASSISTANT:")
}

/// [`prompt`] with the answer and the end of the turn, as one training sequence.
pub fn training_text(question: &str, answer: &str) -> String {
    format!("{} {answer}</s>", prompt(question))
}
