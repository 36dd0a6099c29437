//! Methods inside the language model: what they decided for a conversation is repeated in its later turns.

use std::sync::Arc;

use diffprune_vlm::{DecideOnce, GenerateOptions, JoinRequest, PreparedImages, Vlm};

use super::cache::ByteCache;
use super::methods::Offered;
use super::pictures::SelectionKey;
use crate::error::ApiError;
use crate::metrics::ModelMetrics;

/// Conversations whose decisions are kept.
const CONVERSATIONS: u64 = 256;

/// What methods inside the language model decided. A server has no conversations, only requests that begin alike: the key
/// is what the method saw when it decided.
pub(super) struct Decisions<'m> {
    cache: ByteCache<DecisionKey, Arc<DecideOnce<'m>>>,
    metrics: ModelMetrics,
}

/// All that a decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DecisionKey {
    /// The pictures, with method, budget and seed.
    pub pictures: Vec<SelectionKey>,
    /// The ids up to the end of the question that brought the last picture.
    pub prompt: Vec<u32>,
}

impl<'m> Decisions<'m> {
    pub fn new(metrics: ModelMetrics) -> Self {
        Self {
            cache: ByteCache::new(CONVERSATIONS),
            metrics,
        }
    }

    /// The decision of an earlier turn, and true; or one that is still to be made.
    pub fn of(&mut self, key: &DecisionKey, offered: &'m Offered) -> Option<(Arc<DecideOnce<'m>>, bool)> {
        let decoder = offered.pruner.decoder()?;
        let known = self.cache.get(key);
        self.metrics.cache("decisions", known.is_some());
        let is_known = known.is_some();
        Some((
            known.unwrap_or_else(|| Arc::new(DecideOnce::new(decoder))),
            is_known,
        ))
    }

    /// Keeps a decision that was made.
    pub fn keep(&mut self, key: DecisionKey, once: Arc<DecideOnce<'m>>) {
        self.cache.put(key, once, 1);
    }

    /// Drops a decision after a prompt that could not be read.
    pub fn forget(&mut self, key: &DecisionKey) {
        self.cache.remove(key);
    }
}

/// Lets the method decide on the prompt of an earlier turn, where nobody remembers its decision.
pub(super) fn decide(vlm: &dyn Vlm, prompt: &[u32], images: &PreparedImages<'_>) -> Result<(), ApiError> {
    // Without a token to come, nothing is decided.
    let options: GenerateOptions = vlm.generate_options().with_max_new_tokens(1);
    vlm.decode_batch()
        .join(JoinRequest::new(prompt, images, &options))?;
    Ok(())
}
