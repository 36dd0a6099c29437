//! The truth about every picture, for the oracle arms of a comparison.

use super::plan::Picture;
use crate::MiniError;
use crate::world::{Box2, Colour, Scene, Shape, Size, dense_labels};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The file `boxes.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Boxes {
    /// Side of every picture in pixels.
    pub image_size: u32,
    /// Rows and columns of the relevance maps.
    pub grid: [usize; 2],
    /// The truth by the picture's path under the world's folder. Of a picture inside a file (MMBench): the file's path, a
    /// slash and the FNV-1a hash (128 bits, hexadecimal) of the encoded picture.
    pub images: BTreeMap<String, ImageTruth>,
}

/// The content of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageTruth {
    /// The objects.
    pub objects: Vec<ObjectTruth>,
    /// The sign, if there is one.
    pub sign: Option<SignTruth>,
    /// Share of each patch that objects or sign cover, row-major, from 0 (background) to 1.
    pub relevance: Vec<f32>,
}

/// One object; boxes are `[x0, y0, x1, y1]` in pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectTruth {
    /// Its outline.
    pub shape: Shape,
    /// Its paint.
    pub colour: Colour,
    /// Its size class.
    pub size: Size,
    /// Its box.
    pub bbox: [f32; 4],
}

/// A sign; boxes are `[x0, y0, x1, y1]` in pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignTruth {
    /// Its letters.
    pub text: String,
    /// The plate's box.
    pub bbox: [f32; 4],
    /// The box of each letter.
    pub letters: Vec<[f32; 4]>,
}

impl Boxes {
    /// The truth about all pictures.
    pub(super) fn of<'a>(pictures: impl Iterator<Item = &'a Picture>, image_size: u32, grid: usize) -> Self {
        let images = pictures.map(|picture| (picture.path.clone(), ImageTruth::of(&picture.scene)));
        Self {
            image_size,
            grid: [grid, grid],
            images: images.collect(),
        }
    }

    /// Reads `boxes.json`.
    ///
    /// # Errors
    /// [`MiniError::Io`] if the file cannot be read, [`MiniError::Json`] if it is no such file.
    pub fn read(path: &Path) -> Result<Self, MiniError> {
        let text = fs::read_to_string(path).map_err(MiniError::io("read", path))?;
        serde_json::from_str(&text).map_err(MiniError::json(path))
    }
}

impl ImageTruth {
    fn of(scene: &Scene) -> Self {
        let objects = scene.objects.iter().map(|object| ObjectTruth {
            shape: object.shape,
            colour: object.colour,
            size: object.size,
            bbox: corners(&object.bbox),
        });
        let sign = scene.sign.as_ref().map(|sign| SignTruth {
            text: sign.text.clone(),
            bbox: corners(&sign.bbox),
            letters: sign.letters.iter().map(corners).collect(),
        });
        let relevance = dense_labels(scene).relevance().into_iter().map(rounded).collect();
        Self {
            objects: objects.collect(),
            sign,
            relevance,
        }
    }
}

fn corners(bbox: &Box2) -> [f32; 4] {
    [bbox.x0, bbox.y0, bbox.x1, bbox.y1].map(rounded)
}

/// Three decimals are plenty, and keep the file small.
fn rounded(value: f32) -> f32 {
    (value * 1000.0).round() / 1000.0
}
