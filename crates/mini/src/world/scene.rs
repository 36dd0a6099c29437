//! The content of an image.

use super::background::Background;
use super::config::WorldConfig;
use super::kinds::{Colour, Place, Shape, Size};
use super::placement;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// An axis-parallel box in pixels, edges not rounded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Box2 {
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
}

impl Box2 {
    /// The box around a centre.
    pub fn around(centre: [f32; 2], width: f32, height: f32) -> Self {
        let [x, y] = centre;
        Self {
            x0: x - width / 2.0,
            y0: y - height / 2.0,
            x1: x + width / 2.0,
            y1: y + height / 2.0,
        }
    }

    /// The middle, `[x, y]`.
    pub fn centre(&self) -> [f32; 2] {
        [(self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0]
    }

    /// `true` if the two boxes are closer than `gap` on both axes.
    pub fn is_near(&self, other: &Self, gap: f32) -> bool {
        self.x0 < other.x1 + gap
            && other.x0 < self.x1 + gap
            && self.y0 < other.y1 + gap
            && other.y0 < self.y1 + gap
    }
}

/// One coloured thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its outline.
    pub shape: Shape,
    /// Its paint.
    pub colour: Colour,
    /// Its size class.
    pub size: Size,
    /// Middle of its box, `[x, y]` in pixels.
    pub centre: [f32; 2],
    /// The square that it fills.
    pub bbox: Box2,
}

/// A light plate with dark letters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sign {
    /// The letters, without spaces.
    pub text: String,
    /// The plate with its border; whole pixels.
    pub bbox: Box2,
    /// One box per letter, left to right; whole pixels.
    pub letters: Vec<Box2>,
    /// Pixels per letter dot.
    pub scale: u32,
    /// Width of the border in pixels.
    pub border: u32,
}

impl Sign {
    /// The letters as the answer to a reading question: `H K T`.
    pub fn spelled(&self) -> String {
        let letters: Vec<String> = self.text.chars().map(String::from).collect();
        letters.join(" ")
    }
}

/// Everything that is needed to draw an image and to answer questions about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// Side of the image in pixels.
    pub image_size: u32,
    /// Side of a patch in pixels.
    pub patch_size: u32,
    /// The background.
    pub background: Background,
    /// The coloured things, in the order in which they were placed.
    pub objects: Vec<Object>,
    /// The sign, if there is one.
    pub sign: Option<Sign>,
    /// `true` if the picture is out of focus, so that no outline or letter in it can be told.
    #[serde(default)]
    pub blurred: bool,
}

impl Scene {
    /// Draws the scene that `seed` and `index` stand for. The same three arguments always give the same scene, and
    /// scenes of different `index` or `seed` are independent.
    pub fn generate(config: &WorldConfig, seed: u64, index: u64) -> Self {
        let mut rng = stream(seed, index, 0);
        let (objects, sign) = placement::place(config, &mut rng);
        let background = Background::draw(&mut rng);
        Self {
            image_size: config.image_size,
            patch_size: config.patch_size,
            background,
            objects,
            sign,
            blurred: false,
        }
    }

    /// Patches per side.
    pub fn grid(&self) -> usize {
        (self.image_size / self.patch_size) as usize
    }

    /// The region in which the centre of a box lies.
    pub fn place(&self, bbox: &Box2) -> Place {
        Place::of(bbox.centre(), self.image_size)
    }

    /// `true` if the place of a box is beyond doubt: its centre at least `margin` pixels inside its region.
    pub fn is_clearly_placed(&self, bbox: &Box2, margin: f32) -> bool {
        Place::clearance(bbox.centre(), self.image_size) >= margin
    }
}

/// An independent random stream for each `(seed, index, purpose)`.
pub(crate) fn stream(seed: u64, index: u64, purpose: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    key[16..24].copy_from_slice(&purpose.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}
