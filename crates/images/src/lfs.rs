//! Files that stand in for others: what a repository has in the place of a large file that was not downloaded with it.

/// Such a file, in a message.
pub(crate) const FOUND: &str = "a git-lfs pointer in place of the file";
/// The remedy of a pointer of git-lfs, for messages.
pub const LFS_REMEDY: &str = "run `git lfs pull` where it was cloned, or download the file itself";

/// `true` if a file that begins with `bytes` is a pointer of git-lfs: a line of text in the place of a large file that was not
/// downloaded.
pub fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs")
}

#[cfg(test)]
mod tests {
    #[test]
    fn pointers_are_told_by_their_first_line() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12\n";
        assert!(super::is_pointer(pointer));
        assert!(!super::is_pointer(b"version 2"));
    }
}
