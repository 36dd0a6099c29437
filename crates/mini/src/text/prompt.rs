//! The sentences around a question, as the benchmarks and LLaVA-1.5 write them.

/// The system sentence of the `vicuna_v1` conversation.
pub const SYSTEM: &str = "A chat between a curious user and an artificial intelligence assistant. \
The assistant gives helpful, detailed, and polite answers to the user's questions.";

/// What the benchmarks add, on a line of its own, to get a short answer.
pub const SUFFIX_SHORT: &str = "Answer the question using a single word or phrase.";

/// What the benchmarks add, on a line of its own, to get the letter of a choice.
pub const SUFFIX_LETTER: &str = "Answer with the option's letter from the given choices directly.";

/// What VizWiz adds before [`SUFFIX_SHORT`].
pub(super) const SUFFIX_INSUFFICIENT: &str =
    "When the provided information is insufficient, respond with 'Unanswerable'.";

/// [`SUFFIX_LETTER`] as LLaVA asks MMBench-CN.
pub(super) const SUFFIX_LETTER_CN: &str = "请直接回答选项字母。";

/// [`SUFFIX_LETTER`] as lmms-eval asks MMBench-CN.
pub(super) const SUFFIX_LETTER_CN_LMMS: &str = "请直接使用所提供的选项字母作为答案回答。";

/// What stands before the tokens of an optical reader.
pub(super) const LEAD_OCR: &str = "Reference OCR token:";

/// What lmms-eval puts before the options of MMBench.
pub(super) const LEAD_OPTIONS: &str = "There are several options:";

/// What ScienceQA puts before a hint.
pub(super) const LEAD_CONTEXT: &str = "Context:";

/// The other fixed sentences that the benchmarks' prompts may hold.
pub(super) const OTHER_SENTENCES: [&str; 8] = [
    LEAD_OCR,
    LEAD_OPTIONS,
    "Please answer yes or no.",
    SUFFIX_INSUFFICIENT,
    SUFFIX_LETTER_CN,
    "Describe the image.",
    LEAD_CONTEXT,
    SUFFIX_LETTER_CN_LMMS,
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
