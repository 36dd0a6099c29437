//! The pictures of a study without classes.

use std::path::{Path, PathBuf};

use diffprune::vlm::load_image;
use diffprune_mini::{SceneDataset, Split, WorldConfig, render};
use image::RgbImage;

use crate::error::LabError;

/// The first `count` pictures of a folder, by name; without a folder test scenes of the small world.
///
/// # Errors
/// When the folder cannot be read or holds no files, or a picture cannot be decoded.
pub fn study_pictures(dir: Option<&Path>, count: usize, seed: u64) -> Result<Vec<RgbImage>, LabError> {
    let Some(dir) = dir else {
        let scenes = SceneDataset::new(WorldConfig::default(), seed, Split::Test)?;
        return Ok((0..count as u64)
            .map(|index| render(&scenes.get(index)))
            .collect());
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(LabError::io(dir, "read"))?;
    files.retain(|file| file.is_file());
    files.sort();
    files.truncate(count);
    if files.is_empty() {
        return Err(LabError::Setup {
            subject: dir.display().to_string(),
            found: "no files".into(),
            wanted: "a folder of pictures".into(),
        });
    }
    Ok(files.iter().map(load_image).collect::<Result<_, _>>()?)
}
