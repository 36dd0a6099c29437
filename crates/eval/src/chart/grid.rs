//! Maps of heat: numbers in cells, and surfaces side by side.

use super::canvas::{Anchor, Canvas, Drawn, SMALL, document, width_of};
use super::palette::{Colour, Palette};
use super::scale::{number, range};
use crate::EvalError;

/// Size of a cell, pixels.
const CELL: (i32, i32) = (40, 22);
/// Least width of a drawing, pixels.
const LEAST: i32 = 640;
/// Steps of a scale of colours.
const STEPS: i32 = 40;

/// From a value to a colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shading {
    /// White at zero, orange below, blue above; full at this distance from zero.
    Diverging(f64),
    /// From near white to dark blue between these values.
    Rising(f64, f64),
}

impl Shading {
    fn colour(self, value: f64) -> Colour {
        let mix = |from: u8, to: u8, share: f64| {
            (f64::from(from) + (f64::from(to) - f64::from(from)) * share) as u8
        };
        let blend = |from: Colour, to: Colour, share: f64| {
            Colour(
                mix(from.0, to.0, share),
                mix(from.1, to.1, share),
                mix(from.2, to.2, share),
            )
        };
        const WHITE: Colour = Colour(255, 255, 255);
        match self {
            Self::Diverging(most) => {
                let share = (value / most).clamp(-1.0, 1.0);
                match share < 0.0 {
                    true => blend(WHITE, Colour(230, 97, 1), -share),
                    false => blend(WHITE, Colour(45, 110, 180), share),
                }
            }
            Self::Rising(low, high) => {
                let share = ((value - low) / (high - low).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
                blend(Colour(247, 251, 255), Colour(8, 48, 107), share)
            }
        }
    }

    /// The least and the greatest value of the scale.
    fn ends(self) -> (f64, f64) {
        match self {
            Self::Diverging(most) => (-most, most),
            Self::Rising(low, high) => (low, high),
        }
    }

    /// A scale of colours from the top down, its greatest and least value beside it.
    fn legend(self, canvas: &Canvas<'_>, (left, top): (i32, i32), height: i32, decimals: usize) -> Drawn {
        let (low, high) = self.ends();
        for step in 0..STEPS {
            let value = high + (low - high) * f64::from(step) / f64::from(STEPS - 1);
            let edge = |step: i32| top + step * height / STEPS;
            canvas.rectangle(
                (left, edge(step)),
                (left + 14, edge(step + 1)),
                self.colour(value),
            )?;
        }
        for (value, y) in [
            (high, top + 4),
            ((low + high) / 2.0, top + height / 2),
            (low, top + height - 4),
        ] {
            let text = number(value, decimals);
            canvas.text_of_size(&text, (left + 20, y), Anchor::Left, Colour::FAINT, SMALL)?;
        }
        Ok(())
    }
}

/// Rows and columns of numbers on one scale of colours.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// File name without ending, for errors.
    pub name: String,
    /// What the map says, as a statement.
    pub title: String,
    /// Rows: the method, which gives the colour of the label, and the label.
    pub rows: Vec<(String, String)>,
    /// Groups of columns: a name and the columns' names.
    pub columns: Vec<(String, Vec<String>)>,
    /// A value for each row and column; none where there is nothing.
    pub values: Vec<Vec<Option<f64>>>,
    /// From values to colours.
    pub shading: Shading,
    /// What stands below the map.
    pub note: String,
}

impl Grid {
    /// The SVG document.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn svg(&self, palette: &Palette) -> Result<String, EvalError> {
        let names = self.columns.iter().flat_map(|group| &group.1);
        let heads = names.map(|name| width_of(name)).max().unwrap_or(0) + 16;
        let left = self.rows.iter().map(|row| width_of(&row.1)).max().unwrap_or(0) + 24;
        let columns: i32 = self
            .columns
            .iter()
            .map(|(name, columns)| 8 + group(name, columns))
            .sum();
        let width = (left + columns + 70).max(LEAST).max(width_of(&self.note));
        let groups = if self.columns.len() > 1 { 22 } else { 0 };
        let height = heads + groups + CELL.1 * self.rows.len().max(4) as i32 + 40;
        document(&self.name, &self.title, width, height, |canvas, top| {
            self.draw(canvas, top + groups, (left, heads), palette)
        })
    }

    fn draw(&self, canvas: &Canvas<'_>, top: i32, (left, heads): (i32, i32), palette: &Palette) -> Drawn {
        let first = top + heads;
        let mut x = left;
        let mut column = 0;
        for (name, names) in &self.columns {
            let width = group(name, names);
            let next = x + width + 8;
            if self.columns.len() > 1 {
                canvas.text_of_size(
                    name,
                    (x + width / 2, top - 10),
                    Anchor::Middle,
                    Colour::INK,
                    SMALL,
                )?;
                canvas.line((x + 2, top), (x + width - 2, top), Colour::FAINT, 1)?;
            }
            for name in names {
                canvas.upwards(name, (x + CELL.0 / 2, first - 6), Anchor::Left, Colour::INK)?;
                for (row, values) in self.values.iter().enumerate() {
                    let y = first + CELL.1 * row as i32;
                    let Some(value) = values.get(column).copied().flatten() else {
                        continue;
                    };
                    let colour = self.shading.colour(value);
                    canvas.rectangle((x, y), (x + CELL.0 - 1, y + CELL.1 - 1), colour)?;
                    let light = u32::from(colour.0) + 2 * u32::from(colour.1) + u32::from(colour.2) / 2;
                    let ink = if light < 380 {
                        Colour(255, 255, 255)
                    } else {
                        Colour::INK
                    };
                    let middle = (x + CELL.0 / 2, y + CELL.1 / 2);
                    canvas.text_of_size(&number(value, 0), middle, Anchor::Middle, ink, SMALL)?;
                }
                x += CELL.0;
                column += 1;
            }
            x = next;
        }
        for (row, (name, label)) in self.rows.iter().enumerate() {
            let y = first + CELL.1 * row as i32 + CELL.1 / 2;
            let colour = palette.colour(name).unwrap_or(Colour::FAINT);
            canvas.text(label, (left - 8, y), Anchor::Right, colour)?;
        }
        let height = (CELL.1 * self.rows.len() as i32).clamp(60, 160);
        self.shading.legend(canvas, (x + 8, first), height, 0)?;
        canvas.foot(&self.note)
    }
}

/// Width of a group of columns: that of its cells, or of its name.
fn group(name: &str, columns: &[String]) -> i32 {
    (CELL.0 * columns.len() as i32).max(width_of(name))
}

/// Maps side by side on one scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Surfaces {
    /// File name without ending, for errors.
    pub name: String,
    /// What the maps say, as a statement.
    pub title: String,
    /// Name and unit of the values.
    pub unit: String,
    /// A name and rows of values for each map.
    pub maps: Vec<(String, Vec<Vec<f64>>)>,
    /// From values to colours; `None` takes the 2nd to the 98th percentile.
    pub shading: Option<Shading>,
    /// Side of a map, pixels.
    pub side: i32,
    /// What stands below the maps.
    pub note: String,
}

impl Surfaces {
    /// The SVG document.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn svg(&self) -> Result<String, EvalError> {
        let width = 24 + self.maps.len() as i32 * (self.side + 24) + 90;
        document(&self.name, &self.title, width, self.side + 64, |canvas, top| {
            self.draw(canvas, top)
        })
    }

    fn percentiles(&self) -> Shading {
        let all = self.maps.iter().flat_map(|map| map.1.iter().flatten().copied());
        let mut values: Vec<f64> = all.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (share * values.len().saturating_sub(1) as f64).round() as usize;
            values.get(place).copied()
        };
        let (low, high) = range([at(0.02), at(0.98)].into_iter().flatten(), 0.0);
        Shading::Rising(low, high)
    }

    fn draw(&self, canvas: &Canvas<'_>, top: i32) -> Drawn {
        let shading = self.shading.unwrap_or_else(|| self.percentiles());
        let first = top + 24;
        for (place, (name, map)) in self.maps.iter().enumerate() {
            let left = 24 + place as i32 * (self.side + 24);
            canvas.text(name, (left, first - 12), Anchor::Left, Colour::INK)?;
            let n = map.len().max(1) as i32;
            let edge = |i: usize| i as i32 * self.side / n;
            for (y, row) in map.iter().enumerate() {
                for (x, &value) in row.iter().enumerate() {
                    let from = (left + edge(x), first + edge(y));
                    let to = (left + edge(x + 1), first + edge(y + 1));
                    canvas.rectangle(from, to, shading.colour(value))?;
                }
            }
        }
        let left = 24 + self.maps.len() as i32 * (self.side + 24);
        let (low, high) = shading.ends();
        let decimals = (1.0 - (high - low).abs().log10().floor()).clamp(0.0, 4.0) as usize;
        shading.legend(canvas, (left, first), self.side.min(200), decimals)?;
        canvas.text_of_size(&self.unit, (left, first - 12), Anchor::Left, Colour::INK, SMALL)?;
        canvas.text_of_size(
            &self.note,
            (24, canvas.size().1 - 14),
            Anchor::Left,
            Colour::FAINT,
            SMALL,
        )
    }
}
