//! Beginnings of prompts that were read before.

use diffprune_vlm::{Prefix, PreparedImages, Vlm};

use super::cache::ByteCache;
use super::pictures::SelectionKey;
use crate::error::ApiError;
use crate::metrics::ModelMetrics;

/// Keys and values of beginnings of prompts: words and pictures. A key holds, for each picture, its digest, the method,
/// the budget and the seed, resolved to numbers.
pub(super) struct Prefixes {
    cache: ByteCache<PrefixKey, Prefix>,
    metrics: ModelMetrics,
}

/// All that a beginning depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PrefixKey {
    pictures: Vec<SelectionKey>,
    ids: Vec<u32>,
}

impl Prefixes {
    pub fn new(most: u64, metrics: ModelMetrics) -> Self {
        Self {
            cache: ByteCache::new(most),
            metrics,
        }
    }

    /// The beginning of a prompt about these pictures, read now if it was not before, and whether it was. `None` where
    /// there is none to be shared.
    pub fn of(
        &mut self,
        vlm: &dyn Vlm,
        prompt: &[u32],
        pictures: &[SelectionKey],
        images: &PreparedImages<'_>,
    ) -> Result<Option<(Prefix, bool)>, ApiError> {
        if images.is_empty() {
            return Ok(None);
        }
        // With all pictures of the prompt in it, a beginning ends after the last of them: there is no longer one.
        let fits = |key: &PrefixKey| key.pictures == pictures && prompt.starts_with(&key.ids);
        let known = self.cache.find(fits).and_then(|key| self.cache.get(&key));
        if let Some(prefix) = known {
            self.metrics.cache("prefixes", true);
            return Ok(Some((prefix, true)));
        }
        let Some(prefix) = vlm.read_prefix(prompt, images)? else {
            return Ok(None);
        };
        self.metrics.cache("prefixes", false);
        let key = PrefixKey {
            pictures: pictures.to_vec(),
            ids: prefix.ids().to_vec(),
        };
        self.cache.put(key, prefix.clone(), prefix.bytes());
        self.metrics.cache_bytes("prefixes", self.cache.bytes());
        Ok(Some((prefix, false)))
    }
}
