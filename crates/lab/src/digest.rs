//! Short names for settings and files: the same input gives the same name on every machine.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use diffprune_files::Fnv64;
use serde::Serialize;

use crate::error::LabError;

/// Files up to this size are read as a whole.
const WHOLE: u64 = 64 << 20;
/// Of larger ones, blocks of this size at their beginning and end and every [`STRIDE`] bytes between: too close for a changed
/// matrix to slip through.
const BLOCK: u64 = 64 << 10;
/// Distance of the blocks' beginnings.
const STRIDE: u64 = 1 << 20;

/// A digest under construction: [`Fnv64`] over texts and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(Fnv64);

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl Digest {
    /// The hash of no bytes.
    pub fn new() -> Self {
        Self(Fnv64::new())
    }

    /// The digest of settings.
    ///
    /// # Errors
    /// When they cannot be written as JSON.
    pub fn of_settings<T: Serialize>(settings: &T) -> Result<Self, LabError> {
        Ok(Self::new().text(&serde_json::to_string(settings)?))
    }

    /// The digest of a folder's files of these names, and of every safetensors file in it.
    ///
    /// # Errors
    /// When the folder or a file cannot be read.
    pub fn of_folder(dir: &Path, names: &[&str]) -> Result<Self, LabError> {
        let mut files: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
        let entries = std::fs::read_dir(dir).map_err(LabError::io(dir, "read"))?;
        for entry in entries {
            let path = entry.map_err(LabError::io(dir, "read"))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "safetensors")
            {
                files.push(path);
            }
        }
        files.sort();
        files
            .iter()
            .try_fold(Self::new(), |digest, file| digest.file(file))
    }

    /// The hash with these bytes behind what was there.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        Self(self.0.bytes(bytes))
    }

    /// The hash with a text behind what was there, kept apart from the next one.
    pub fn text(self, text: &str) -> Self {
        Self(self.0.text(text))
    }

    /// The hash with a file behind what was there: its name, its length and its bytes, of files above 64 MiB 64 KiB of each
    /// MiB. A file that is not there counts as empty.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub fn file(self, path: &Path) -> Result<Self, LabError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let digest = self.text(&name.unwrap_or_default());
        match sampled(path, digest.clone()) {
            Ok(digest) => Ok(digest),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(digest),
            Err(error) => Err(LabError::io(path, "read")(error)),
        }
    }

    /// Sixteen hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.hex()
    }

    /// The first eight digits, for names of folders.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

fn sampled(path: &Path, digest: Digest) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut digest = digest.text(&length.to_string());
    let mut bytes = Vec::new();
    if length <= WHOLE {
        file.read_to_end(&mut bytes)?;
        return Ok(digest.bytes(&bytes));
    }
    let starts = (0..length).step_by(STRIDE as usize).chain([length - BLOCK]);
    for start in starts {
        file.seek(SeekFrom::Start(start))?;
        bytes.clear();
        (&mut file).take(BLOCK).read_to_end(&mut bytes)?;
        digest = digest.bytes(&bytes);
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.safetensors", "one");
        write("config.json", "{}");
        let digest = || Digest::of_folder(dir.path(), &["config.json"]).unwrap().hex();
        let first = digest();
        write("other.txt", "not looked at");
        assert_eq!(digest(), first);
        write("a.safetensors", "two");
        assert_ne!(digest(), first);
        let second = digest();
        let large = File::create(dir.path().join("b.safetensors")).unwrap();
        large.set_len(WHOLE + 5 * STRIDE).unwrap();
        let third = digest();
        assert_ne!(third, second);
        // A matrix in the middle, and the last byte.
        use std::os::unix::fs::FileExt;
        large
            .write_all_at(&vec![1; STRIDE as usize], 33 * STRIDE + 7)
            .unwrap();
        let fourth = digest();
        assert_ne!(fourth, third);
        large.write_all_at(&[1], WHOLE + 5 * STRIDE - 1).unwrap();
        assert_ne!(digest(), fourth);
        assert_ne!(
            Digest::new().text("ab").text("c").hex(),
            Digest::new().text("a").text("bc").hex()
        );
    }
}
