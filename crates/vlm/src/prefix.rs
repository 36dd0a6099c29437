//! The beginning of a prompt, read once for several sequences.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::PreparedImages;

/// Keys and values of the beginning of a prompt (system words and pictures): read once, then the beginning of several
/// sequences, such as the turns of a conversation or many questions about one picture.
///
/// A clone shares everything. What is inside is the backbone's own business.
/// [`Vlm::read_prefix`](crate::Vlm::read_prefix) makes it, [`JoinRequest::with_prefix`](crate::JoinRequest::with_prefix)
/// takes it.
#[derive(Clone)]
pub struct Prefix {
    ids: Arc<[u32]>,
    len: usize,
    bytes: u64,
    content: Arc<dyn Any + Send + Sync>,
}

impl Prefix {
    /// What a backbone made of `ids` (with placeholders): `len` tokens, held in `bytes` bytes.
    pub fn new(ids: &[u32], len: usize, bytes: u64, content: impl Any + Send + Sync) -> Self {
        Self {
            ids: ids.into(),
            len,
            bytes,
            content: Arc::new(content),
        }
    }

    /// Number of ids of a prompt up to its last image's end: the part that can be shared. `None` where nothing can: no
    /// image, no id after the last one, or a method inside the language model, whose choice depends on the words after
    /// the images.
    pub fn end(prompt: &[u32], image_id: u32, images: &PreparedImages<'_>) -> Option<usize> {
        if images.is_empty() || images.inside().is_some() {
            return None;
        }
        let end = prompt.iter().rposition(|&id| id == image_id)? + 1;
        (end < prompt.len()).then_some(end)
    }

    /// The ids that it stands for, with placeholders. A prompt that begins with them, about the same images, goes on at
    /// `prompt[prefix.n_ids()..]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Number of [`Self::ids`].
    pub fn n_ids(&self) -> usize {
        self.ids.len()
    }

    /// Number of tokens: text, visual tokens and separators.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without tokens.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of its keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the backbone stored, if it is of this type.
    pub fn content<T: Any>(&self) -> Option<&T> {
        self.content.downcast_ref()
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefix")
            .field("n_ids", &self.n_ids())
            .field("len", &self.len)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
