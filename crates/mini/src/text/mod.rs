//! Words about scenes: captions, questions, and the tokenizer that knows every one of them.

mod absent;
mod caption;
mod chinese;
mod claim;
mod existence;
mod form;
mod mention;
mod options;
mod plain;
mod processor;
mod prompt;
mod question;
mod style;
mod tokenizer;
mod turn;
mod words;

pub use caption::caption;
pub use existence::existence;
pub use plain::plainly;
pub use processor::write_processor_files;
pub use prompt::{SUFFIX_LETTER, SUFFIX_SHORT, SYSTEM, prompt, training_text};
pub use question::{Question, QuestionKind, question_of_kind, questions, unanswerable};
pub use style::{Prompts, Style};
pub use tokenizer::{ProcessorIds, build_tokenizer};
pub use turn::{Turn, practice, turns};

pub(crate) use claim::{MmeTask, claim};
pub(crate) use question::UNANSWERABLE;
pub(crate) use turn::turn;
