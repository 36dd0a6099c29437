//! The vocabulary of the world: shapes, colours, sizes, letters and places, each with its words.

use serde::{Deserialize, Serialize};

/// Letters that signs are written with. None of them names an option of a multiple-choice question (A to D).
pub const LETTERS: [char; 12] = ['H', 'J', 'L', 'O', 'P', 'S', 'T', 'V', 'X', 'Z', 'K', 'U'];

/// Outline of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// A filled disc.
    Circle,
    /// A filled square.
    Square,
    /// A filled triangle, point up.
    Triangle,
    /// A plus with thick arms.
    Cross,
    /// A thick circle line; the background shows in the middle.
    Ring,
    /// A five-pointed star.
    Star,
    /// A crescent, open to the right.
    Moon,
    /// A square on its corner, narrower than high.
    Diamond,
}

impl Shape {
    /// Every shape; a world with fewer uses the first ones.
    pub const ALL: [Self; 8] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Cross,
        Self::Ring,
        Self::Star,
        Self::Moon,
        Self::Diamond,
    ];

    /// The noun.
    pub fn word(self) -> &'static str {
        [
            "circle", "square", "triangle", "cross", "ring", "star", "moon", "diamond",
        ][self.index()]
    }

    /// The noun for several.
    pub fn plural(self) -> &'static str {
        [
            "circles",
            "squares",
            "triangles",
            "crosses",
            "rings",
            "stars",
            "moons",
            "diamonds",
        ][self.index()]
    }

    /// Place in [`Shape::ALL`], from 0.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Saturated colour of an object; backgrounds and signs never have one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Signal red.
    Red,
    /// Grass green.
    Green,
    /// Deep blue.
    Blue,
    /// Lemon yellow.
    Yellow,
    /// Dark purple.
    Purple,
    /// Light cyan.
    Cyan,
    /// Light pink.
    Pink,
    /// Bright orange.
    Orange,
}

impl Colour {
    /// Every colour; a world with fewer uses the first ones.
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Green,
        Self::Blue,
        Self::Yellow,
        Self::Purple,
        Self::Cyan,
        Self::Pink,
        Self::Orange,
    ];

    /// The adjective.
    pub fn word(self) -> &'static str {
        [
            "red", "green", "blue", "yellow", "purple", "cyan", "pink", "orange",
        ][self.index()]
    }

    /// Place in [`Colour::ALL`], from 0.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The paint, 8-bit RGB.
    pub fn rgb(self) -> [u8; 3] {
        [
            [214, 20, 32],
            [24, 150, 44],
            [28, 52, 222],
            [250, 232, 32],
            [120, 24, 160],
            [36, 214, 226],
            [255, 134, 204],
            [250, 130, 10],
        ][self.index()]
    }
}

/// The two sizes of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Drawn from the smaller range of widths.
    Small,
    /// Drawn from the larger range of widths.
    Large,
}

impl Size {
    /// Both sizes.
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// The adjective.
    pub fn word(self) -> &'static str {
        ["small", "large"][self.index()]
    }

    /// Place in [`Size::ALL`], from 0.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One of the nine thirds-by-thirds regions of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// 0 top, 1 middle, 2 bottom third.
    pub row: u8,
    /// 0 left, 1 middle, 2 right third.
    pub column: u8,
}

impl Place {
    /// The nine regions, row by row.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..9).map(|i| Self {
            row: i / 3,
            column: i % 3,
        })
    }

    /// The region that holds a point.
    pub fn of(centre: [f32; 2], image_size: u32) -> Self {
        let third = image_size as f32 / 3.0;
        let index = |x: f32| ((x / third) as i32).clamp(0, 2) as u8;
        Self {
            row: index(centre[1]),
            column: index(centre[0]),
        }
    }

    /// Distance of a point to the nearest line between thirds, in pixels.
    pub fn clearance(centre: [f32; 2], image_size: u32) -> f32 {
        let third = image_size as f32 / 3.0;
        let lines = [third, 2.0 * third];
        centre
            .iter()
            .flat_map(|x| lines.map(|line| (x - line).abs()))
            .fold(f32::INFINITY, f32::min)
    }

    /// The answer to "where": `top left`, `top`, ..., `center`, ..., `bottom right`.
    pub fn words(self) -> &'static str {
        [
            ["top left", "top", "top right"],
            ["left", "center", "right"],
            ["bottom left", "bottom", "bottom right"],
        ][self.row as usize][self.column as usize]
    }

    /// The phrase of a caption: `at the top left`, `on the left`, `in the center`, ...
    pub fn phrase(self) -> String {
        let preposition = match (self.row, self.column) {
            (1, 1) => "in",
            (1, _) => "on",
            _ => "at",
        };
        format!("{preposition} the {}", self.words())
    }
}
