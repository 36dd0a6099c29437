//! One visual language for every drawing of the project: colours of methods, axes, labels at the ends of lines, verdicts.
//!
//! A drawing is a value with its title and its data; `svg` draws it. Reports and pilot studies draw with these alone, so that a
//! method has one colour everywhere.

mod canvas;
mod dots;
mod forest;
mod grid;
mod lines;
mod palette;
mod scale;

pub use dots::{DotRow, Dots};
pub use forest::{Forest, ForestRow};
pub use grid::{Grid, Shading, Surfaces};
pub use lines::{Line, Lines};
pub use palette::{Colour, Palette};
