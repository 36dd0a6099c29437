//! Answers of `POST /v1/chat/completions`, whole and in pieces.

use serde::Serialize;

/// A whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct Answer<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: u64,
    pub model: &'a str,
    pub system_fingerprint: &'a str,
    pub choices: [Choice; 1],
    pub usage: Usage,
    /// What could not be done as it was asked for.
    pub warnings: Vec<String>,
}

/// The one choice of a whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct Choice {
    index: u32,
    message: Message,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

impl Choice {
    /// What the model said, and why it ended.
    pub fn new(content: String, finish_reason: &'static str) -> [Self; 1] {
        let message = Message {
            role: "assistant",
            content,
            refusal: None,
        };
        [Self {
            index: 0,
            message,
            logprobs: None,
            finish_reason,
        }]
    }
}

impl<'a> Answer<'a> {
    /// The object type of a whole answer.
    pub const OBJECT: &'static str = "chat.completion";

    /// A whole answer.
    pub fn new(
        head: Head<'a>,
        content: String,
        reason: &'static str,
        usage: Usage,
        warnings: Vec<String>,
    ) -> Self {
        Self {
            id: head.id,
            object: Self::OBJECT,
            created: head.created,
            model: head.model,
            system_fingerprint: head.fingerprint,
            choices: Choice::new(content, reason),
            usage,
            warnings,
        }
    }
}

/// What every piece of an answer begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub id: &'a str,
    pub created: u64,
    pub model: &'a str,
    pub fingerprint: &'a str,
}

/// A piece of an answer.
#[derive(Debug, Serialize)]
pub(crate) struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: Vec<ChunkChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct ChunkChoice {
    index: u32,
    delta: Delta,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

impl<'a> Chunk<'a> {
    fn new(head: Head<'a>, choices: Vec<ChunkChoice>, with_usage: bool) -> Self {
        Self {
            id: head.id,
            object: "chat.completion.chunk",
            created: head.created,
            model: head.model,
            system_fingerprint: head.fingerprint,
            choices,
            // Where counts were asked for, every piece but the last says that they are still to come.
            usage: with_usage.then_some(None),
            warnings: None,
        }
    }

    fn of(head: Head<'a>, delta: Delta, reason: Option<&'static str>, with_usage: bool) -> Self {
        let choice = ChunkChoice {
            index: 0,
            delta,
            logprobs: None,
            finish_reason: reason,
        };
        Self::new(head, vec![choice], with_usage)
    }

    /// The first piece: who speaks.
    pub fn first(head: Head<'a>, with_usage: bool) -> Self {
        let delta = Delta {
            role: Some("assistant"),
            content: Some(String::new()),
        };
        Self::of(head, delta, None, with_usage)
    }

    /// A piece of text.
    pub fn text(head: Head<'a>, text: String, with_usage: bool) -> Self {
        let delta = Delta {
            role: None,
            content: Some(text),
        };
        Self::of(head, delta, None, with_usage)
    }

    /// The end, with what could not be done as it was asked for.
    pub fn last(head: Head<'a>, reason: &'static str, warnings: Vec<String>, with_usage: bool) -> Self {
        Self {
            warnings: (!warnings.is_empty()).then_some(warnings),
            ..Self::of(head, Delta::default(), Some(reason), with_usage)
        }
    }

    /// The counts, after the end.
    pub fn usage(head: Head<'a>, usage: Usage) -> Self {
        Self {
            usage: Some(Some(usage)),
            ..Self::new(head, Vec::new(), true)
        }
    }
}

/// Counts and times of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// Tokens of the prompt as they entered the language model: text, kept visual tokens, separators.
    pub prompt_tokens: usize,
    /// New tokens.
    pub completion_tokens: usize,
    pub total_tokens: usize,
    pub prompt_tokens_details: PromptDetails,
    /// Tokens that the encoder made of all pictures.
    pub visual_tokens_total: usize,
    /// Those that the language model worked on; the average over its layers for a method inside it.
    pub visual_tokens_kept: usize,
    /// The same for each picture.
    pub images: Vec<ImageUsage>,
    pub time_ms: Times,
    /// Bytes of keys and values of prompt and answer.
    pub kv_bytes: u64,
    /// Bytes that the dropped tokens would have taken.
    pub kv_bytes_saved: u64,
    /// The seed of sampling and of methods that draw at random.
    pub seed: u64,
}

/// More about the tokens of a prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct PromptDetails {
    /// Tokens whose keys and values were there already.
    pub cached_tokens: usize,
}

/// One picture's counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ImageUsage {
    pub total: usize,
    pub kept: usize,
    /// The budget as it was asked for.
    pub visual_tokens: String,
    /// The method that chose.
    pub pruner: String,
    /// True when the encoder did not have to run.
    pub cached: bool,
}

/// Milliseconds of each stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Times {
    /// Waiting for the model.
    pub queue: f64,
    /// Preprocessing and encoding the pictures.
    pub encode: f64,
    /// Choosing, gathering and projecting tokens.
    pub select: f64,
    /// Reading the prompt.
    pub prefill: f64,
    /// From the prompt to the last token.
    pub decode: f64,
    /// From the arrival of the request at the model to the first token.
    pub first_token: f64,
}
