//! What a run leaves in its folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Every file below a folder, but those that tell of the run itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder(BTreeMap<PathBuf, Vec<u8>>);

impl Folder {
    /// Reads everything below `dir`.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![dir.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
            for entry in entries {
                let path = entry?.path();
                let name = path.strip_prefix(dir)?.to_path_buf();
                if path.is_symlink() {
                    let to = std::fs::read_link(&path)?;
                    files.insert(name, to.into_os_string().into_encoded_bytes());
                } else if path.is_dir() {
                    folders.push(path);
                } else if !tells_of_the_run(&name) {
                    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
                    files.insert(name, bytes);
                }
            }
        }
        Ok(Self(files))
    }

    /// The same without the checkpoints: a run that is asked to end writes one where it is.
    pub fn without_checkpoints(mut self) -> Self {
        self.0
            .retain(|name, _| !name.components().any(|part| part.as_os_str() == "checkpoints"));
        self
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What is not the same in another folder.
    pub fn differs(&self, other: &Self) -> Vec<String> {
        let mut differs = Vec::new();
        for (name, bytes) in &self.0 {
            match other.0.get(name) {
                None => differs.push(format!("{} is missing", name.display())),
                Some(found) if found != bytes => differs.push(format!("{} differs", name.display())),
                Some(_) => {}
            }
        }
        let more = other.0.keys().filter(|name| !self.0.contains_key(*name));
        differs.extend(more.map(|name| format!("{} is left over", name.display())));
        differs
    }
}

/// Files that differ from run to run: how long something took, and the number of the process that works in a folder.
fn tells_of_the_run(name: &Path) -> bool {
    let file = name
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    matches!(file, "timing.json" | "stages.json" | ".diffprune.lock") || file.ends_with("_per_second.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_left_over_or_different_is_told() {
        let folder = |files: &[(&str, &str)]| {
            let files = files.iter();
            Folder(
                files
                    .map(|(name, text)| (name.into(), text.as_bytes().to_vec()))
                    .collect(),
            )
        };
        let whole = folder(&[("a", "1"), ("b/c", "2")]);
        assert!(whole.differs(&whole).is_empty());
        let other = folder(&[("a", "3"), ("d", "")]);
        assert_eq!(
            whole.differs(&other),
            ["a differs", "b/c is missing", "d is left over"]
        );
        assert!(tells_of_the_run(Path::new("x/timing.json")));
        assert!(!tells_of_the_run(Path::new("x/report.json")));
    }
}
