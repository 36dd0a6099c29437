//! Checksums beside a model's files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use diffprune_files::{sha256_hex, write_whole};

use crate::error::LabError;

/// Name of the list in a model's folder, in the format of `sha256sum`.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// Writes the checksums of a model's weights and settings (`.safetensors`, `.json`, `.jinja`) beside them.
///
/// # Errors
/// When a file cannot be read or the list not written.
pub fn write_checksums(dir: &Path) -> Result<(), LabError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(LabError::io(dir, "read"))? {
        let name = entry.map_err(LabError::io(dir, "read"))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if [".safetensors", ".json", ".jinja"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            names.push(name);
        }
    }
    names.sort();
    let mut list = String::new();
    for name in names {
        list += &format!("{}  {name}\n", checksum(&dir.join(&name))?);
    }
    Ok(write_whole(dir.join(CHECKSUMS), list.as_bytes())?)
}

/// Compares the files of a model with the list beside them; without a list there is nothing to compare.
///
/// # Errors
/// When a file of the list is missing or has another content, or the list cannot be read.
pub fn verify_checksums(dir: &Path) -> Result<(), LabError> {
    let path = dir.join(CHECKSUMS);
    let list = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        list => list.map_err(LabError::io(&path, "read"))?,
    };
    for line in list.lines().filter(|line| !line.trim().is_empty()) {
        let parts = line.split_once("  ");
        let Some((wanted, name)) = parts.filter(|(_, name)| !name.contains(['/', '\\'])) else {
            return Err(LabError::Setup {
                subject: path.display().to_string(),
                found: format!("the line `{line}`"),
                wanted: "a checksum, two spaces and the name of a file beside the list".into(),
            });
        };
        let file: PathBuf = dir.join(name);
        let found = checksum(&file)?;
        if found != wanted {
            return Err(LabError::Setup {
                subject: file.display().to_string(),
                found: format!("the checksum {found}"),
                wanted: format!(
                    "{wanted}, as {CHECKSUMS} beside it says; restore the file, or remove {CHECKSUMS} if the change is meant"
                ),
            });
        }
    }
    Ok(())
}

fn checksum(path: &Path) -> Result<String, LabError> {
    let file = File::open(path).map_err(LabError::io(path, "read"))?;
    sha256_hex(file).map_err(LabError::io(path, "read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        verify_checksums(dir.path()).unwrap();
        for (name, text) in [
            ("model.safetensors", "w"),
            ("config.json", "{}"),
            ("README.md", "card"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        write_checksums(dir.path()).unwrap();
        let list = fs::read_to_string(dir.path().join(CHECKSUMS)).unwrap();
        assert_eq!(list.lines().count(), 2, "{list}");
        verify_checksums(dir.path()).unwrap();
        fs::write(dir.path().join("README.md"), "another card").unwrap();
        verify_checksums(dir.path()).unwrap();
        fs::write(dir.path().join("model.safetensors"), "v").unwrap();
        let error = verify_checksums(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("model.safetensors") && error.contains("restore"),
            "{error}"
        );
        fs::remove_file(dir.path().join("model.safetensors")).unwrap();
        assert!(verify_checksums(dir.path()).is_err());
        fs::write(dir.path().join(CHECKSUMS), "0  ../other\n").unwrap();
        assert!(verify_checksums(dir.path()).is_err());
    }

    #[test]
    fn the_shipped_models_are_as_their_lists_say() {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
        let folders = fs::read_dir(assets).unwrap().map(|entry| entry.unwrap().path());
        let models: Vec<PathBuf> = folders
            .filter(|path| path.join("config.json").is_file())
            .collect();
        assert!(models.len() >= 4, "{models:?}");
        for model in models {
            assert!(model.join(CHECKSUMS).is_file(), "{}", model.display());
            verify_checksums(&model).unwrap();
        }
    }
}
