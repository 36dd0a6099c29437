//! Values with intervals, one row for each method.

use super::canvas::{Anchor, Canvas, Drawn, SMALL, document, width_of};
use super::palette::{Colour, Palette};
use super::scale::{Scale, number, range, ticks};
use crate::EvalError;
use crate::stats::Estimate;

const WIDTH: i32 = 900;
/// Height of a value in a row, pixels.
const VALUE: i32 = 14;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct DotRow {
    /// The method, which gives the colour where there is one series.
    pub name: String,
    /// Text at the left.
    pub label: String,
    /// A value for each series.
    pub values: Vec<Estimate>,
}

/// A chart of dots with intervals. With one series methods have their colours and their value at the right; with several the
/// series have colours, named above.
#[derive(Debug, Clone, PartialEq)]
pub struct Dots {
    /// File name without ending, for errors.
    pub name: String,
    /// What the chart says, as a statement.
    pub title: String,
    /// Name and unit of the abscissa.
    pub x: String,
    /// Names of the series; empty for one.
    pub series: Vec<String>,
    /// A line upwards with its name.
    pub level: Option<(f64, String)>,
    /// Digits of values.
    pub decimals: usize,
    /// What stands below the chart.
    pub note: String,
    /// The rows from the top.
    pub rows: Vec<DotRow>,
}

impl Dots {
    /// The SVG document.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn svg(&self, palette: &Palette) -> Result<String, EvalError> {
        let legend = 20 * self.series.len() as i32;
        let height = legend + self.row() * self.rows.len() as i32 + 92;
        document(&self.name, &self.title, WIDTH, height, |canvas, top| {
            self.draw(canvas, top, palette)
        })
    }

    fn row(&self) -> i32 {
        6 + VALUE * self.series.len().max(1) as i32
    }

    fn draw(&self, canvas: &Canvas<'_>, top: i32, palette: &Palette) -> Drawn {
        let has_series = !self.series.is_empty();
        let names = self
            .rows
            .iter()
            .map(|row| width_of(&row.label))
            .max()
            .unwrap_or(0);
        let left = (names + 24).clamp(90, WIDTH / 2);
        let text = |value: &Estimate| {
            let [value, lo, hi] = [value.value, value.lo, value.hi].map(|end| number(end, self.decimals));
            format!("{value} [{lo}, {hi}]")
        };
        let values = || self.rows.iter().flat_map(|row| &row.values);
        let texts = values().map(|value| width_of(&text(value))).max().unwrap_or(0);
        let right = WIDTH - 24 - if has_series { 0 } else { texts };
        for (number, name) in self.series.iter().enumerate() {
            let (colour, y) = (Palette::series(number), top + 20 * number as i32 + 8);
            canvas.circle((left + 4, y), 5, colour)?;
            canvas.text(name, (left + 16, y), Anchor::Left, colour)?;
        }
        let top = top + 20 * self.series.len() as i32 + if self.level.is_some() { 20 } else { 6 };
        let bottom = top + self.row() * self.rows.len() as i32;
        let level = self.level.as_ref().map(|level| level.0);
        let span = range(
            values()
                .flat_map(|value| [value.lo, value.value, value.hi])
                .chain(level),
            0.03,
        );
        let x = Scale::new(span, (left, right));
        canvas.columns(x, &ticks(span, 7), (top, bottom))?;
        canvas.line((left, bottom), (right, bottom), Colour::FAINT, 1)?;
        if let Some((value, name)) = &self.level {
            canvas.dashed(&[(x.at(*value), top), (x.at(*value), bottom)], Colour::INK, 1)?;
            let anchor = match x.at(*value) > (left + right) / 2 {
                true => Anchor::Right,
                false => Anchor::Left,
            };
            canvas.text_of_size(name, (x.at(*value), top - 9), anchor, Colour::INK, SMALL)?;
        }
        for (place, row) in self.rows.iter().enumerate() {
            let middle = top + self.row() * place as i32 + self.row() / 2;
            let own = if has_series {
                None
            } else {
                palette.colour(&row.name)
            };
            let named = own.unwrap_or(if has_series { Colour::INK } else { Colour::FAINT });
            canvas.text(&row.label, (left - 10, middle), Anchor::Right, named)?;
            for (number, value) in row.values.iter().enumerate() {
                let colour = match has_series {
                    true => Palette::series(number),
                    false => own.unwrap_or(Colour::GREY),
                };
                let y = middle + (2 * number as i32 + 1 - row.values.len() as i32) * VALUE / 2;
                canvas.line((x.at(value.lo), y), (x.at(value.hi), y), colour, 2)?;
                canvas.circle((x.at(value.value), y), 5, colour)?;
                if !has_series {
                    canvas.text_of_size(&text(value), (WIDTH - 12, y), Anchor::Right, named, SMALL)?;
                }
            }
        }
        canvas.text(
            &self.x,
            ((left + right) / 2, bottom + 36),
            Anchor::Middle,
            Colour::INK,
        )?;
        canvas.foot(&self.note)
    }
}
