//! Words about scenes: captions, questions, and the tokenizer that knows every one of them.

mod caption;
mod form;
mod mention;
mod processor;
mod prompt;
mod question;
mod tokenizer;
mod words;

pub use caption::caption;
pub use processor::{ProcessorIds, write_processor_files};
pub use prompt::{SUFFIX_LETTER, SUFFIX_SHORT, SYSTEM, prompt, training_text};
pub use question::{Question, QuestionKind, existence, question_of_kind, questions, unanswerable};
pub use tokenizer::build_tokenizer;
