//! What `boxes.json` of a small world says about its pictures, as relevance of tokens.

use std::path::{Path, PathBuf};

use diffprune::{CaptionData, CaptionFolder, CaptionSample, DataError, Layout};
use diffprune_eval::Annotations;
use diffprune_mini::Boxes;

/// The truth about the pictures of a data folder.
pub struct SceneTruth {
    root: PathBuf,
    boxes: Boxes,
}

impl SceneTruth {
    /// Reads `boxes.json` below `root`; `None` when there is none.
    pub fn open(root: &Path) -> anyhow::Result<Option<Self>> {
        let path = root.join("boxes.json");
        if !path.is_file() {
            return Ok(None);
        }
        Ok(Some(Self {
            root: root.to_path_buf(),
            boxes: Boxes::read(&path)?,
        }))
    }

    /// The truth about the world whose captions are in `folder`: `boxes.json` there or up to two folders above.
    fn around(folder: &Path) -> anyhow::Result<Option<Self>> {
        for root in folder.ancestors().take(3) {
            if let Some(truth) = Self::open(root)? {
                return Ok(Some(truth));
            }
        }
        Ok(None)
    }
}

/// Captioned pictures, with the truth about them where it is known.
pub struct Captions {
    folder: CaptionFolder,
    truth: Option<SceneTruth>,
}

impl Captions {
    /// Reads the captions of a folder; with `boxes` also the truth around it.
    pub fn open(folder: &Path, boxes: bool) -> anyhow::Result<Self> {
        let truth = if boxes { SceneTruth::around(folder)? } else { None };
        let folder = CaptionFolder::open(folder)?;
        Ok(Self { folder, truth })
    }
}

impl CaptionData for Captions {
    fn len(&self) -> usize {
        self.folder.len()
    }

    fn sample(&self, index: usize) -> Result<CaptionSample, DataError> {
        self.folder.sample(index)
    }

    /// Boxes of the captions' own list come first.
    fn relevance(&self, index: usize, layout: &Layout) -> Result<Option<Vec<f32>>, DataError> {
        if let Some(relevance) = self.folder.relevance(index, layout)? {
            return Ok(Some(relevance));
        }
        let truth = self.truth.as_ref().zip(self.folder.picture(index));
        Ok(truth.and_then(|(truth, picture)| truth.relevance(&picture, layout)))
    }
}

impl Annotations for SceneTruth {
    fn relevance(&self, image: &Path, layout: &Layout) -> Option<Vec<f32>> {
        let inside = image.strip_prefix(&self.root).ok()?;
        let name: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
        let truth = self.boxes.images.get(&name.join("/"))?;
        resampled(&truth.relevance, self.boxes.grid, layout)
    }
}

/// The map on other tokens: each takes the share of the patch that lies at its middle, and none outside the picture.
fn resampled(map: &[f32], [rows, cols]: [usize; 2], layout: &Layout) -> Option<Vec<f32>> {
    if map.len() != rows * cols || map.is_empty() {
        return None;
    }
    // A middle on the edge of two patches belongs to the later one, whatever the last bit of the share says.
    let middle = |from: f64, to: f64, onto: usize| {
        let place = (from + to) / 2.0 * onto as f64 + 1e-9;
        (0.0..onto as f64).contains(&place).then_some(place as usize)
    };
    let token = |i: usize| {
        let area = layout.area(i)?;
        let (row, col) = (
            middle(area.top, area.bottom, rows)?,
            middle(area.left, area.right, cols)?,
        );
        Some(map[row * cols + col])
    };
    Some((0..layout.n_tokens()).map(|i| token(i).unwrap_or(0.0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune::Grid;

    #[test]
    fn maps_are_stretched() {
        let map = [1.0, 2.0, 3.0, 4.0];
        let of = |rows, cols| resampled(&map, [2, 2], &Grid { rows, cols }.into()).unwrap();
        assert_eq!(of(2, 2), map);
        assert_eq!(of(2, 4), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
        assert_eq!(of(1, 1), [4.0]);
        assert!(resampled(&map, [3, 2], &Grid { rows: 2, cols: 2 }.into()).is_none());
    }
}
