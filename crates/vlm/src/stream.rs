//! The text of an answer while it is made.

use crate::Vlm;

/// Turns new ids into pieces of text, for answers that are shown as they come.
///
/// A piece ends where the text cannot change any more: an unfinished character and blanks at the end wait for the next id.
/// Blanks in front of the answer are left out.
///
/// ```
/// use burn::tensor::Device;
/// use diffprune_vlm::{FakeVlm, TextStream, Vlm};
///
/// let vlm = FakeVlm::new(&Device::flex());
/// let mut stream = TextStream::new(&vlm);
/// let ids = vlm.text_ids("a cat")?;
/// let pieces: Vec<String> = ids.into_iter().filter_map(|id| stream.push(id)).collect();
/// assert_eq!(pieces, ["a", " c", "a", "t"]);
/// # Ok::<(), diffprune_vlm::VlmError>(())
/// ```
pub struct TextStream<'a> {
    vlm: &'a dyn Vlm,
    ids: Vec<u32>,
    given: String,
}

impl<'a> TextStream<'a> {
    /// The start of an answer.
    pub fn new(vlm: &'a dyn Vlm) -> Self {
        Self {
            vlm,
            ids: Vec::new(),
            given: String::new(),
        }
    }

    /// Takes the next id; gives the text that has become certain with it, if any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.ids.push(id);
        let text = self.vlm.text_of(&self.ids);
        let text = text.trim_start();
        if text.ends_with(char::REPLACEMENT_CHARACTER) || text.ends_with(char::is_whitespace) {
            return None;
        }
        let new = text
            .strip_prefix(self.given.as_str())
            .filter(|new| !new.is_empty())?
            .to_string();
        self.given.push_str(&new);
        Some(new)
    }

    /// The part of the whole answer that has not been given yet.
    pub fn rest<'t>(&self, answer: &'t str) -> &'t str {
        answer.strip_prefix(self.given.as_str()).unwrap_or_default()
    }
}
