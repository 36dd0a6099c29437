//! The folders of a training of a small model: its settings are settled once, and its result appears whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use diffprune_files::write_whole;
use diffprune_mini::{Family, PretrainConfig};
use serde::de::DeserializeOwned;

use crate::checksums::write_checksums;
use crate::digest::Digest;
use crate::error::LabError;
use crate::files::make_folder;

/// The recipe of a small model: its own, with what the file at `path` names laid over it. `start` is the folder of the model
/// to go on from, whose weights then belong to the recipe.
///
/// # Errors
/// When a file cannot be read, is no recipe, or is that of another family.
pub fn pretrain_recipe(
    family: Family,
    start: Option<&Path>,
    path: Option<&Path>,
) -> Result<PretrainConfig, LabError> {
    let own = PretrainConfig {
        start: start.map(weights_hash).transpose()?,
        ..PretrainConfig::of(family)
    };
    let Some(path) = path else {
        return Ok(own);
    };
    let given: toml::Table = read_recipe(path)?;
    let not_a_recipe = |source: toml::de::Error| LabError::RecipeFile {
        path: path.into(),
        source: Box::new(source),
    };
    let mut recipe = toml::Table::try_from(&own).map_err(|error| LabError::Setup {
        subject: "recipe".into(),
        found: format!("settings that TOML cannot hold ({error})"),
        wanted: "those of a small model".into(),
    })?;
    lay_over(&mut recipe, given);
    let recipe: PretrainConfig = recipe.try_into().map_err(not_a_recipe)?;
    if recipe.family != family {
        return Err(LabError::Setup {
            subject: path.display().to_string(),
            found: format!("family {}", recipe.family),
            wanted: format!("{family}; name it with --model"),
        });
    }
    Ok(recipe)
}

/// Reads a recipe in TOML.
///
/// # Errors
/// When the file cannot be read or is no recipe.
pub fn read_recipe<T: DeserializeOwned>(path: &Path) -> Result<T, LabError> {
    let text = fs::read_to_string(path).map_err(LabError::io(path, "read"))?;
    toml::from_str(&text).map_err(|source| LabError::RecipeFile {
        path: path.into(),
        source: Box::new(source),
    })
}

/// Hash of a checkpoint's weights.
fn weights_hash(dir: &Path) -> Result<String, LabError> {
    let path = dir.join("model.safetensors");
    let bytes = fs::read(&path).map_err(LabError::io(&path, "read"))?;
    Ok(Digest::new().bytes(&bytes).hex())
}

/// Replaces what `given` names, table by table.
fn lay_over(recipe: &mut toml::Table, given: toml::Table) {
    for (key, value) in given {
        match (recipe.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(given)) => lay_over(inner, given),
            (_, value) => {
                recipe.insert(key, value);
            }
        }
    }
}

/// Writes the resolved recipe of a run before its first step.
///
/// # Errors
/// When another recipe is there, or the file cannot be written.
pub fn settle_recipe(path: &Path, recipe: &str) -> Result<(), LabError> {
    match fs::read_to_string(path) {
        Ok(found) if found == recipe => Ok(()),
        Ok(_) => Err(LabError::Setup {
            subject: path.display().to_string(),
            found: "another recipe".into(),
            wanted: "that of this run; choose another folder with --out or remove it".into(),
        }),
        Err(_) => Ok(write_whole(path, recipe.as_bytes())?),
    }
}

/// An empty hidden folder beside the one that is wanted, to be filled and handed to [`replace_folder`].
///
/// # Errors
/// When the system refuses.
pub fn unfinished_folder(dir: &Path) -> Result<PathBuf, LabError> {
    let folder = sibling(dir, "unfinished")?;
    remove(&folder)?;
    make_folder(&folder)?;
    Ok(folder)
}

/// Writes the checksums of the model in the finished folder and renames it to its place; one that was there goes, and so does
/// what a crash in here left.
///
/// # Errors
/// When the system refuses.
pub fn replace_folder(from: &Path, to: &Path) -> Result<(), LabError> {
    write_checksums(from)?;
    let old = sibling(to, "old")?;
    if to.exists() {
        remove(&old)?;
        fs::rename(to, &old).map_err(LabError::io(to, "rename"))?;
    }
    fs::rename(from, to).map_err(LabError::io(from, "rename"))?;
    remove(&old)
}

fn remove(dir: &Path) -> Result<(), LabError> {
    match dir.exists() {
        true => fs::remove_dir_all(dir).map_err(LabError::io(dir, "remove")),
        false => Ok(()),
    }
}

fn sibling(dir: &Path, what: &str) -> Result<PathBuf, LabError> {
    let name = dir.file_name().ok_or_else(|| LabError::Setup {
        subject: "folder".into(),
        found: dir.display().to_string(),
        wanted: "a path that ends in a name".into(),
    })?;
    Ok(dir.with_file_name(format!(".{}.{what}", name.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_blocks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("model");
        let put = |folder: &Path, text: &str| {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("a"), text).unwrap();
        };
        // Between the renames, and after both: the old folder is there, without and with the one in its place.
        for there in [false, true] {
            let from = unfinished_folder(&to).unwrap();
            put(&from, "new");
            put(&sibling(&to, "old").unwrap(), "old");
            assert_eq!(to.exists(), there);
            replace_folder(&from, &to).unwrap();
            assert_eq!(fs::read_to_string(to.join("a")).unwrap(), "new");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_file_replaces_what_it_names_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.toml");
        let own = PretrainConfig::of(Family::Llava15);
        fs::write(&path, "seed = 77\n").unwrap();
        let recipe = pretrain_recipe(Family::Llava15, None, Some(&path)).unwrap();
        assert_eq!((recipe.seed, recipe.family), (77, own.family));
        assert_eq!(pretrain_recipe(Family::Llava15, None, None).unwrap(), own);
        fs::write(&path, "family = \"qwen2.5-vl\"\n").unwrap();
        let error = pretrain_recipe(Family::Llava15, None, Some(&path)).unwrap_err();
        assert!(error.to_string().contains("--model"), "{error}");
        fs::write(&path, "seed = \"many\"\n").unwrap();
        assert!(pretrain_recipe(Family::Llava15, None, Some(&path)).is_err());
        assert!(pretrain_recipe(Family::Llava15, Some(dir.path()), None).is_err());
    }
}
