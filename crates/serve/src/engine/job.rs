//! Work for a model, and what comes of it.

use std::fmt;
use std::time::Instant;

use diffprune_vlm::{GenerateOptions, Turn};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::api::{SelectAnswer, Usage};
use crate::error::ApiError;
use crate::picture::Picture;

/// Work for a model.
pub(crate) enum Job {
    /// A conversation to be continued.
    Chat(Box<ChatJob>),
    /// A picture to be chosen from.
    Select(Box<SelectJob>),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chat(_) => "Chat",
            Self::Select(_) => "Select",
        })
    }
}

/// A conversation to be continued.
pub(crate) struct ChatJob {
    pub turns: Vec<Turn>,
    pub pictures: Vec<Picture>,
    /// Seed of methods that draw at random.
    pub seed: u64,
    pub wishes: Wishes,
    pub stops: Vec<String>,
    /// What could not be done as it was asked for, so far.
    pub warnings: Vec<String>,
    /// Where pieces of the answer go. At most one per token and three more, so it is bounded by the answer's length.
    pub events: UnboundedSender<Event>,
    pub queued: Instant,
    /// When the answer is cut off.
    pub deadline: Instant,
}

/// Makes the options of generation from the model's own; they are known only on the model's thread.
pub(crate) type Wishes =
    Box<dyn FnOnce(GenerateOptions, &mut Vec<String>) -> Result<GenerateOptions, ApiError> + Send>;

/// What happens to a conversation, in this order: `Read`, `Text` as often as there is some, `Finished`; or `Failed` at any
/// point.
#[derive(Debug)]
pub(crate) enum Event {
    /// The prompt is read; the answer begins.
    Read,
    /// More of the answer.
    Text(String),
    /// The answer is complete.
    Finished(Box<Outcome>),
    /// There is no (further) answer.
    Failed(ApiError),
}

/// The end of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// `stop` or `length`.
    pub reason: &'static str,
    pub usage: Usage,
    pub warnings: Vec<String>,
}

/// A picture to be chosen from.
pub(crate) struct SelectJob {
    pub picture: Picture,
    /// Names of methods; empty takes the default.
    pub methods: Vec<String>,
    pub seed: u64,
    pub question: Option<String>,
    pub answer: oneshot::Sender<Result<SelectAnswer, ApiError>>,
}
