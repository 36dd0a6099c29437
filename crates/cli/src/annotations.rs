//! What `boxes.json` of a small world says about its pictures, as relevance of tokens.

use std::path::{Path, PathBuf};

use diffprune::Grid;
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
}

impl Annotations for SceneTruth {
    fn relevance(&self, image: &Path, grid: Grid) -> Option<Vec<f32>> {
        let inside = image.strip_prefix(&self.root).ok()?;
        let name: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
        let truth = self.boxes.images.get(&name.join("/"))?;
        resampled(&truth.relevance, self.boxes.grid, grid)
    }
}

/// The map on another grid: each token takes the share of the patch that lies at its middle.
fn resampled(map: &[f32], [rows, cols]: [usize; 2], grid: Grid) -> Option<Vec<f32>> {
    if map.len() != rows * cols || map.is_empty() {
        return None;
    }
    let middle = |index: usize, of: usize, onto: usize| (2 * index + 1) * onto / (2 * of);
    let token = |i: usize| {
        let (row, col) = (i / grid.cols, i % grid.cols);
        map[middle(row, grid.rows, rows) * cols + middle(col, grid.cols, cols)]
    };
    Some((0..grid.n_tokens()).map(token).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_stretched() {
        let map = [1.0, 2.0, 3.0, 4.0];
        let of = |rows, cols| resampled(&map, [2, 2], Grid { rows, cols }).unwrap();
        assert_eq!(of(2, 2), map);
        assert_eq!(of(2, 4), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
        assert_eq!(of(1, 1), [4.0]);
        assert!(resampled(&map, [3, 2], Grid { rows: 2, cols: 2 }).is_none());
    }
}
