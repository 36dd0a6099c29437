//! Every size and share of the small world in one place.

use super::kinds::{Colour, LETTERS, Shape};
use crate::MiniError;
use serde::{Deserialize, Serialize};

/// A closed range of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
}

/// The configuration of the small world's scenes. The defaults are those of the shipped mini model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldConfig {
    /// Side of the square image in pixels; a multiple of `patch_size`.
    pub image_size: u32,
    /// Side of a patch of the vision tower in pixels; labels are per patch.
    pub patch_size: u32,
    /// Fewest objects in a scene, at least 1.
    pub min_objects: usize,
    /// Most objects in a scene; objects that find no free place are left out.
    pub max_objects: usize,
    /// The number of [`Shape::ALL`] in use (a prefix).
    pub n_shapes: usize,
    /// The number of [`Colour::ALL`] in use (a prefix).
    pub n_colours: usize,
    /// Width and height of small objects.
    pub small: Span,
    /// Width and height of large objects; must not overlap `small`.
    pub large: Span,
    /// Least free space between the boxes of two things.
    pub min_gap: f32,
    /// Least free space between a thing and the image's border.
    pub edge_margin: f32,
    /// The distance beyond the border at which places are drawn before they are pushed back inside, so that things also lie right
    /// at the border and its patches are not always empty.
    pub edge_pull: f32,
    /// Chance that an object repeats the shape or the colour of an earlier one. Without repetition there is
    /// nothing to count, and no adversarial question.
    pub repeat_probability: f64,
    /// The factor by which a popular shape-colour pair is drawn more often than another.
    pub popular_weight: f64,
    /// Share of scenes with a sign.
    pub sign_probability: f64,
    /// The number of [`LETTERS`] that signs are written with (a prefix).
    pub n_letters: usize,
    /// Letters on a sign, at most 3.
    pub letters_per_sign: usize,
    /// Pixels per dot of a 6 x 7 letter.
    pub glyph_scale: u32,
    /// Free pixels between two letters.
    pub letter_gap: u32,
    /// Signs stand so that each letter lies within one patch (when its width plus the gap is the patch size).
    pub snap_letters: bool,
    /// Free pixels between the letters and the sign's border.
    pub sign_padding: u32,
    /// Width of the sign's dark border.
    pub sign_border: u32,
    /// Position questions are only asked about things whose centre is this far from the lines between thirds.
    pub position_margin: f32,
    /// Relation questions are only asked about centres this far apart along the axis asked about.
    pub relation_margin: f32,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            image_size: 168,
            patch_size: 14,
            min_objects: 1,
            max_objects: 4,
            n_shapes: 8,
            n_colours: 8,
            small: Span { min: 26.0, max: 30.0 },
            large: Span { min: 39.0, max: 44.0 },
            min_gap: 4.0,
            edge_margin: 1.0,
            edge_pull: 12.0,
            repeat_probability: 0.35,
            popular_weight: 2.0,
            sign_probability: 0.5,
            n_letters: 10,
            letters_per_sign: 3,
            glyph_scale: 2,
            letter_gap: 2,
            snap_letters: true,
            sign_padding: 5,
            sign_border: 2,
            position_margin: 6.0,
            relation_margin: 20.0,
        }
    }
}

impl WorldConfig {
    /// Patches per side of the image.
    pub fn grid(&self) -> usize {
        (self.image_size / self.patch_size) as usize
    }

    /// Width and height of a sign in pixels.
    pub fn sign_size(&self) -> (u32, u32) {
        let n = self.letters_per_sign as u32;
        let rim = 2 * (self.sign_padding + self.sign_border);
        let letters = n * 6 * self.glyph_scale + n.saturating_sub(1) * self.letter_gap;
        (letters + rim, 7 * self.glyph_scale + rim)
    }

    /// Checks that scenes can be drawn.
    ///
    /// # Errors
    /// [`MiniError::Config`] with the first field that holds an impossible value.
    pub fn validate(&self) -> Result<(), MiniError> {
        let room = self.image_size as f32 - 2.0 * self.edge_margin;
        let share = |p: f64| (0.0..=1.0).contains(&p);
        require(self.patch_size > 0, "patch_size", self.patch_size, "at least 1")?;
        require(
            self.image_size > 0 && self.image_size.is_multiple_of(self.patch_size),
            "image_size",
            self.image_size,
            format!("a positive multiple of patch_size {}", self.patch_size),
        )?;
        require(
            self.min_objects >= 1,
            "min_objects",
            self.min_objects,
            "at least 1",
        )?;
        require(
            (self.min_objects..=9).contains(&self.max_objects),
            "max_objects",
            self.max_objects,
            format!("{} to 9", self.min_objects),
        )?;
        require(
            (2..=Shape::ALL.len()).contains(&self.n_shapes),
            "n_shapes",
            self.n_shapes,
            "2 to 8",
        )?;
        require(
            (2..=Colour::ALL.len()).contains(&self.n_colours),
            "n_colours",
            self.n_colours,
            "2 to 8",
        )?;
        require(
            self.small.min >= 4.0 && self.small.max >= self.small.min,
            "small",
            format!("{:?}", self.small),
            "4 <= min <= max",
        )?;
        require(
            self.large.min > self.small.max && self.large.max >= self.large.min && self.large.max < room,
            "large",
            format!("{:?}", self.large),
            format!("min above {}, max below {room}", self.small.max),
        )?;
        require(self.min_gap >= 0.0, "min_gap", self.min_gap, "not negative")?;
        require(
            self.edge_margin >= 0.0,
            "edge_margin",
            self.edge_margin,
            "not negative",
        )?;
        require(
            share(self.repeat_probability),
            "repeat_probability",
            self.repeat_probability,
            "0 to 1",
        )?;
        require(
            share(self.sign_probability),
            "sign_probability",
            self.sign_probability,
            "0 to 1",
        )?;
        require(
            self.popular_weight >= 1.0,
            "popular_weight",
            self.popular_weight,
            "at least 1",
        )?;
        require(
            (1..=LETTERS.len()).contains(&self.n_letters),
            "n_letters",
            self.n_letters,
            "1 to 12",
        )?;
        require(
            (1..=3).contains(&self.letters_per_sign),
            "letters_per_sign",
            self.letters_per_sign,
            "1 to 3",
        )?;
        require(
            self.glyph_scale >= 1,
            "glyph_scale",
            self.glyph_scale,
            "at least 1",
        )?;
        let (width, height) = self.sign_size();
        let fits = (width.max(height) as f32) < room || self.sign_probability == 0.0;
        require(
            fits,
            "glyph_scale",
            format!("{width} x {height} pixel signs"),
            format!("below {room} pixels"),
        )
    }
}

/// `Ok` when `holds`, else the error that names the field.
fn require(
    holds: bool,
    field: &'static str,
    found: impl ToString,
    wanted: impl Into<String>,
) -> Result<(), MiniError> {
    if holds {
        Ok(())
    } else {
        Err(MiniError::Config {
            field,
            found: found.to_string(),
            wanted: wanted.into(),
        })
    }
}
