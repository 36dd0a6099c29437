//! Assumptions and omissions of reading a checkpoint, for the caller.

use std::cell::RefCell;

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes something that a user should know and that is no error.
pub(crate) fn note(text: String) {
    NOTES.with_borrow_mut(|notes| {
        if !notes.contains(&text) {
            notes.push(text);
        }
    });
}

/// The assumptions that this thread's readers of checkpoints made in place of absent files, and what they passed over, since the last call: one
/// sentence each, naming the file. Each is there once, however often a folder was read.
///
/// ```
/// let folder = std::env::temp_dir();
/// let _ = diffprune_vlm_adapters::load_vlm(folder, &Default::default(), Default::default());
/// for note in diffprune_vlm_adapters::take_notes() {
///     eprintln!("note: {note}");
/// }
/// ```
pub fn take_notes() -> Vec<String> {
    NOTES.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_there_once() {
        for text in ["a", "b", "a"] {
            note(text.into());
        }
        assert_eq!(take_notes(), ["a", "b"]);
        assert!(take_notes().is_empty());
    }
}
