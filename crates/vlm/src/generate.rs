//! Options of decoding.

/// How prompts are continued.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Most ids to produce.
    pub max_new_tokens: usize,
    /// Ids that end a sequence; they are not part of the answer.
    pub stop_ids: Vec<u32>,
    /// How an id is chosen.
    pub sampling: Sampling,
    /// Divides the positive scores (multiplies the negative) of every id seen so far, prompt included; 1 is off.
    pub repetition_penalty: f32,
}

/// How an id is chosen.
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
}
