//! The beginning of a prompt, read once for several sequences.

use burn::module::ParamId;

use super::continuation::fill;
use super::{KvCache, Llama, Reader};
use crate::splice::Before;
use crate::{JoinRequest, Padding, Prefix, PreparedImages, VlmError};

/// Keys and values of the beginning of a prompt, and where it ends.
#[derive(Debug)]
pub(super) struct LlamaPrefix {
    /// Of one sequence, without room for more.
    pub(super) cache: KvCache,
    pub(super) before: Before,
    /// Tells the model that read it: copies of a model share the ids of its parameters, and no two models do.
    embeddings: ParamId,
}

impl LlamaPrefix {
    /// The prefix of a request, if it has one.
    ///
    /// # Errors
    /// When another model read it, or there is a method inside the language model.
    pub(super) fn of<'a>(request: &JoinRequest<'a>, language: &Llama) -> Result<Option<&'a Self>, VlmError> {
        let Some(prefix) = request.prefix_content::<Self>()? else {
            return Ok(None);
        };
        match prefix.embeddings == language.embed_tokens.weight.id {
            true => Ok(Some(prefix)),
            false => Err(VlmError::foreign_prefix()),
        }
    }

    /// Reads the beginning of a prompt; `None` where nothing can be shared.
    ///
    /// # Errors
    /// When the prompt does not fit the images, or its beginning is too long.
    pub(super) fn read(
        reader: &Reader<'_>,
        prompt: &[u32],
        images: &PreparedImages<'_>,
    ) -> Result<Option<Prefix>, VlmError> {
        let Some(end) = Prefix::end(prompt, reader.image_token_id, images) else {
            return Ok(None);
        };
        let ids = &prompt[..end];
        let spliced = reader.splice(&[ids.to_vec()], images.visual(), Padding::Left)?;
        let mut cache = reader.llama.cache(1, spliced.width);
        fill(reader.llama, &spliced, &mut cache);
        let prefix = Self {
            before: Before::of(&spliced.plans[0]),
            embeddings: reader.llama.embed_tokens.weight.id,
            cache,
        };
        let bytes = prefix.cache.bytes();
        Ok(Some(Prefix::new(ids, spliced.width, bytes, prefix)))
    }
}
