//! From a question to token ids: the checkpoint's chat template, or a fixed conversation format, and its tokenizer.

mod built_in;
mod loops;
mod prompt;
mod python;
mod template;
mod tokenizer;

pub(crate) use built_in::check_built_in;
pub(crate) use prompt::render_template;
pub use prompt::{PromptStyle, render_prompt};
pub use template::{ChatTemplate, Content, Message};
pub use tokenizer::TextTokenizer;
