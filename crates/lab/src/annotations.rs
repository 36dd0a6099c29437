//! The relevance of tokens by the `boxes.json` of a small world.

use std::path::{Path, PathBuf};

use diffprune::{CaptionData, CaptionFolder, CaptionSample, DataError, Layout};
use diffprune_eval::Annotations;
use diffprune_mini::Boxes;

use crate::error::LabError;

/// The annotated relevance of the pictures of a data folder, for oracle arms.
pub struct SceneTruth {
    root: PathBuf,
    boxes: Boxes,
}

impl SceneTruth {
    /// Reads `boxes.json` below `root`; `None` when there is none.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn open(root: &Path) -> Result<Option<Self>, LabError> {
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
    fn around(folder: &Path) -> Result<Option<Self>, LabError> {
        for root in folder.ancestors().take(3) {
            if let Some(truth) = Self::open(root)? {
                return Ok(Some(truth));
            }
        }
        Ok(None)
    }
}

/// Captioned pictures, with their annotations where there are some.
pub struct Captions {
    folder: CaptionFolder,
    truth: Option<SceneTruth>,
}

impl Captions {
    /// Reads the captions of a folder, from a column of that name if one is given; with `boxes` also the annotations around it.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open(folder: &Path, boxes: bool, column: Option<&str>) -> Result<Self, LabError> {
        let truth = if boxes { SceneTruth::around(folder)? } else { None };
        let folder = CaptionFolder::open_with(folder, column)?;
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

    fn digest(&self) -> Result<Option<String>, DataError> {
        self.folder.digest()
    }

    fn place(&self, index: usize) -> Option<String> {
        self.folder.place(index)
    }

    fn class(&self, index: usize) -> Option<String> {
        self.folder.class(index)
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

/// The map on other tokens: each takes the mean of what it covers, patches weighted by their share of it and the border
/// around the picture counting as irrelevant.
fn resampled(map: &[f32], [rows, cols]: [usize; 2], layout: &Layout) -> Option<Vec<f32>> {
    if map.len() != rows * cols || map.is_empty() {
        return None;
    }
    let token = |i: usize| -> Option<f32> {
        let area = layout.area(i)?;
        let (high, wide) = (
            shares(area.top, area.bottom, rows),
            shares(area.left, area.right, cols),
        );
        let weighted = high.flat_map(|(row, height)| {
            let wide = wide.clone();
            wide.map(move |(col, width)| height * width * f64::from(map[row * cols + col]))
        });
        Some(weighted.sum::<f64>() as f32)
    };
    Some((0..layout.n_tokens()).map(|i| token(i).unwrap_or(0.0)).collect())
}

/// The patches of `onto` that a stretch of the picture's side covers, each with its share of the stretch.
fn shares(from: f64, to: f64, onto: usize) -> impl Iterator<Item = (usize, f64)> + Clone {
    // An edge on that of a patch is there to the bit, whatever the last bit of the share says.
    let edge = |place: f64| {
        let edge = place * onto as f64;
        let whole = edge.round();
        if (edge - whole).abs() < 1e-9 { whole } else { edge }
    };
    let (from, to) = (edge(from), edge(to));
    let clamped = |edge: f64| edge.clamp(0.0, onto as f64);
    let covered = clamped(from).floor() as usize..clamped(to).ceil() as usize;
    covered.map(move |patch| {
        let (left, right) = (from.max(patch as f64), to.min((patch + 1) as f64));
        (patch, (right - left).max(0.0) / (to - from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune::Grid;
    use diffprune::pruning::{Area, Segment};

    #[test]
    fn maps_are_stretched() {
        let map = [1.0, 2.0, 3.0, 4.0];
        let of = |rows, cols| resampled(&map, [2, 2], &Grid { rows, cols }.into()).unwrap();
        assert_eq!(of(2, 2), map);
        assert_eq!(of(2, 4), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
        assert_eq!(of(1, 1), [2.5]);
        assert_eq!(of(1, 2), [2.0, 3.0]);
        let thirds = of(3, 1);
        for (found, wanted) in thirds.iter().zip([1.5, 2.5, 3.5]) {
            assert!((found - wanted).abs() < 1e-6, "{thirds:?}");
        }
        assert!(resampled(&map, [3, 2], &Grid { rows: 2, cols: 2 }.into()).is_none());
    }

    #[test]
    fn equal_rasters_give_the_map_bit_for_bit() {
        for side in 1..40 {
            let cell = |i: usize| (i as f32 * 0.7531).sin().abs();
            let map: Vec<f32> = (0..side * side).map(cell).collect();
            let grid = Grid {
                rows: side,
                cols: side,
            };
            assert_eq!(resampled(&map, [side; 2], &grid.into()).unwrap(), map, "{side}");
        }
    }

    #[test]
    fn a_small_view_beside_a_map() {
        // Tokens of two by two patches, then one for each patch; a border as wide as the picture on its left.
        let segment = |rows, cols, left| Segment {
            grid: Grid { rows, cols },
            area: Area { left, ..Area::IMAGE },
        };
        let layout = Layout {
            segments: vec![
                segment(1, 2, 0.0),
                segment(2, 4, 0.0),
                segment(1, 2, -1.0),
                segment(1, 1, -1.0),
            ],
            views: Vec::new(),
        };
        let map = [1.0, 0.0, 0.5, 0.25, 0.0, 0.0, 1.0, 0.25];
        let found = resampled(&map, [2, 4], &layout).unwrap();
        assert_eq!(found[..2], [0.25, 0.5]);
        assert_eq!(found[2..10], map);
        assert_eq!(found[10..], [0.0, 0.375, 0.1875]);
    }
}
