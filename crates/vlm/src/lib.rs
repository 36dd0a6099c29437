#![doc = include_str!("../README.md")]

mod batch;
mod conversation;
mod decide_once;
mod encoded;
mod error;
mod fake;
mod family;
mod generate;
mod hooks;
mod inside;
mod one_by_one;
mod path;
mod prefix;
mod prepared;
mod sampler;
mod sequence;
mod stream;
mod turn;
mod vlm;

pub use batch::{DecodeBatch, Finish, JoinRequest, Joined, SequenceId, StepToken};
pub use conversation::{Conversation, Question, Reply};
pub use decide_once::DecideOnce;
pub use encoded::{Encoded, ImageShape, Pixels, Prompts, TextBatch, check_images};
pub use error::VlmError;
pub use fake::{FakeInput, FakeVlm};
pub use family::{Family, UnknownFamily};
pub use generate::{GenerateOptions, Sampling};
pub use hooks::{Hooks, OnScores, OnStage, OnToken, Stage};
pub use inside::{DecoderPruning, DecoderReport, SequenceReport, StageReport};
pub use one_by_one::OneByOne;
pub use path::{
    Answer, PruneOptions, answer, encode, loss, prepare, prepare_encoded, prepare_watched, pruning_context,
    respond, unpruned,
};
pub use prefix::Prefix;
pub use prepared::PreparedImages;
pub use sampler::Sampler;
pub use sequence::{VisualInput, VisualSequence, VisualSlot, VisualSource};
pub use stream::TextStream;
pub use turn::Turn;
pub use vlm::Vlm;
