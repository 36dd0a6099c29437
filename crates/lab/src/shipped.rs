//! The small models that the repository ships, and where they lie.

use std::path::{Path, PathBuf};

use diffprune::LoadOptions;
use diffprune_eval::free_memory;
use diffprune_mini::{Family, model_name};

use crate::error::LabError;
use crate::model::LoadedModel;
use crate::units::readable_bytes;

/// The folder of the shipped models in the repository.
const ASSETS: &str = "assets";

/// The shipped classifier of the pilot studies.
pub const CLASSIFIER: &str = "mini-deit";

/// The family of the shipped model that a text names; a folder of that name comes first.
pub fn shipped_family(model: &str) -> Option<Family> {
    let named = Family::ALL
        .into_iter()
        .find(|&family| model_name(family) == model);
    named.filter(|_| !Path::new(model).is_dir())
}

/// The folder of the shipped small model of this name, from the root of the repository.
pub fn shipped_folder(name: &str) -> PathBuf {
    Path::new(ASSETS).join(name)
}

/// Finds the shipped small model of a family.
///
/// # Errors
/// As [`find_shipped`].
pub fn shipped_model(family: Family) -> Result<PathBuf, LabError> {
    find_shipped(&model_name(family), &family.to_string())
}

/// Finds a folder below the shipped models: below the current folder, above it, or above the program's own file. `model` is
/// its name for `cargo xtask mini`.
///
/// # Errors
/// When it is nowhere.
pub fn find_shipped(name: &str, model: &str) -> Result<PathBuf, LabError> {
    let here = std::env::current_dir().map_err(LabError::io(Path::new("."), "find"))?;
    let program = std::env::current_exe().unwrap_or_default();
    let folder = Path::new(ASSETS).join(name);
    let found = here
        .ancestors()
        .chain(program.ancestors())
        .map(|dir| dir.join(&folder))
        .find(|dir| dir.is_dir());
    found.ok_or_else(|| LabError::Setup {
        subject: folder.display().to_string(),
        found: format!("no such folder in {} or above", here.display()),
        wanted: format!(
            "a shipped model; train it with `cargo xtask mini --model {model}` or name a checkpoint"
        ),
    })
}

/// A note about the weights of the checkpoint in `dir`, where they take more memory than is free. A checkpoint whose files are
/// damaged is told by reading it.
pub fn memory_note(dir: &Path, options: &LoadOptions) -> Option<String> {
    let need = LoadedModel::needed_bytes(dir, options).ok()?;
    note_of(need, free_memory()?)
}

/// The note about weights of `need` bytes where `free` bytes are free.
fn note_of(need: u64, free: u64) -> Option<String> {
    (need > free).then(|| {
        format!(
            "the weights take {}, and {} of memory are free (a limit of the control group counts): expect the system to end the \
             program; --dtype f16 halves what f32 takes, and a GPU has memory of its own",
            readable_bytes(need),
            readable_bytes(free)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WeightType;

    #[test]
    fn weights_that_do_not_fit_are_told_before_they_are_read() {
        let note = note_of(28 << 30, 6 << 30).unwrap();
        assert!(note.contains("28.0 GiB") && note.contains("6.0 GiB"), "{note}");
        assert_eq!(note_of(6 << 30, 28 << 30), None);
        let dir = shipped_model(Family::default()).unwrap();
        let [f32, f16] = [WeightType::F32, WeightType::F16].map(|dtype| {
            let mut options = LoadOptions::default();
            options.dtype = Some(dtype.into());
            LoadedModel::needed_bytes(&dir, &options).unwrap()
        });
        assert!(f32 == 2 * f16 && f16 > 1 << 20, "{f32} {f16}");
    }

    #[test]
    fn shipped_models_are_found_by_name() {
        for family in Family::ALL {
            assert_eq!(shipped_family(&model_name(family)), Some(family));
            assert!(
                shipped_model(family)
                    .unwrap()
                    .ends_with(shipped_folder(&model_name(family)))
            );
        }
        assert_eq!(shipped_family("mini-llava"), None);
        let error = find_shipped("mini-nothing", "nothing").unwrap_err().to_string();
        assert!(error.contains("cargo xtask mini --model nothing"), "{error}");
    }
}
