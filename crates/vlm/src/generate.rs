//! Options of decoding.

/// Options of continuing prompts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GenerateOptions {
    /// Most ids to produce.
    pub max_new_tokens: usize,
    /// Ids that end a sequence; they are not part of the answer.
    pub stop_ids: Vec<u32>,
    /// The rule that chooses an id.
    pub sampling: Sampling,
    /// Divides the positive scores (multiplies the negative) of every id seen so far, prompt included; 1 is off.
    pub repetition_penalty: f32,
}

/// The rule that chooses an id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// The highest score; the lowest id on a tie.
    Greedy,
    /// Drawn from the softmax of the scores.
    Random {
        /// Divides the scores before the softmax.
        temperature: f32,
        /// Mass of the smallest set of most likely ids that is drawn from; 1 is off.
        top_p: f32,
        /// Number of most likely ids that are drawn from; 0 is off.
        top_k: usize,
        /// Seed; each prompt of a batch has its own stream.
        seed: u64,
    },
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            stop_ids: Vec::new(),
            sampling: Sampling::Greedy,
            repetition_penalty: 1.0,
        }
    }
}

impl GenerateOptions {
    /// The same options with another limit.
    pub fn with_max_new_tokens(mut self, max_new_tokens: usize) -> Self {
        self.max_new_tokens = max_new_tokens;
        self
    }

    /// The same with other ids that end a sequence.
    pub fn with_stop_ids(mut self, stop_ids: Vec<u32>) -> Self {
        self.stop_ids = stop_ids;
        self
    }

    /// The same with ids chosen in another way.
    pub fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// The same with another penalty of ids seen before; 1 is off.
    pub fn with_repetition_penalty(mut self, repetition_penalty: f32) -> Self {
        self.repetition_penalty = repetition_penalty;
        self
    }
}
