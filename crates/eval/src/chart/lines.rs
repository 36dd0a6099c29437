//! Lines with their names at their ends.

use super::canvas::{Anchor, Drawn, SMALL, apart, document, width_of};
use super::palette::{Colour, Palette};
use super::scale::{Scale, number, range, tick, ticks};
use crate::EvalError;
use crate::stats::Estimate;

const WIDTH: i32 = 900;
const HEIGHT: i32 = 470;
/// Least distance of two labels, pixels.
const GAP: i32 = 18;
/// Lines of so many points have marks and intervals at each.
const FEW: usize = 12;
/// Distance of the marks of two lines at one place, pixels.
const DODGE: i32 = 7;

/// A number over something.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The method, which gives the colour.
    pub name: String,
    /// Text at the end of the line, with the value there where [`Lines::decimals`] asks for it.
    pub label: String,
    /// Abscissa and value with its interval.
    pub points: Vec<(f64, Estimate)>,
    /// Drawn dashed.
    pub dashed: bool,
}

/// A chart of lines. Those of the palette are drawn in colour, with intervals and a name at their right end; the others thin and
/// grey.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines {
    /// File name without ending, for errors.
    pub name: String,
    /// What the chart says, as a statement.
    pub title: String,
    /// Name and unit of the abscissa.
    pub x: String,
    /// Name and unit of the ordinate.
    pub y: String,
    /// Logarithmic abscissa.
    pub log_x: bool,
    /// The abscissa falls from left to right.
    pub falling: bool,
    /// Marks on the abscissa; round numbers when empty.
    pub x_marks: Vec<f64>,
    /// A line across with its name.
    pub level: Option<(f64, String)>,
    /// Digits of the value behind each label; none is printed without.
    pub decimals: Option<usize>,
    /// What stands below the chart.
    pub note: String,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Lines {
    /// The SVG document.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn svg(&self, palette: &Palette) -> Result<String, EvalError> {
        document(&self.name, &self.title, WIDTH, HEIGHT, |canvas, top| {
            self.draw(canvas, top, palette)
        })
    }

    /// The labels of lines in colour, each with the value at its end.
    fn label(&self, line: &Line) -> String {
        match (self.decimals, line.points.last()) {
            (Some(decimals), Some((_, end))) => format!("{} {}", line.label, number(end.value, decimals)),
            _ => line.label.clone(),
        }
    }

    fn draw(&self, canvas: &super::canvas::Canvas<'_>, top: i32, palette: &Palette) -> Drawn {
        let mut lines: Vec<Line> = self.lines.clone();
        for line in &mut lines {
            let order = |a: &(f64, Estimate), b: &(f64, Estimate)| match self.falling {
                true => b.0.total_cmp(&a.0),
                false => a.0.total_cmp(&b.0),
            };
            line.points.sort_by(order);
        }
        let colour = |line: &Line| palette.colour(&line.name);
        let named: Vec<Line> = lines
            .iter()
            .filter(|line| colour(line).is_some())
            .cloned()
            .collect();
        let measure = if named.is_empty() { &lines } else { &named };
        let (first, last) = range(
            measure.iter().flat_map(|line| &line.points).map(|point| point.0),
            0.0,
        );
        // Grey lines show the field around the others, not regions of their own.
        for line in &mut lines {
            line.points.retain(|point| (first..=last).contains(&point.0));
        }
        lines.retain(|line| !line.points.is_empty());
        let room = named
            .iter()
            .map(|line| width_of(&self.label(line)))
            .max()
            .unwrap_or(0)
            + 34;
        let (left, right) = (74, WIDTH - room.clamp(60, WIDTH / 2));
        let (top, bottom) = (top + 4, canvas.size().1 - 78);
        let is_dodged = named.iter().all(|line| line.points.len() <= FEW);
        let inset = if is_dodged {
            DODGE * (named.len() as i32 + 1) / 2 + 4
        } else {
            0
        };
        let pixels = match self.falling {
            true => (right - inset, left + inset),
            false => (left + inset, right - inset),
        };
        let x = match self.log_x && first > 0.0 {
            true => Scale::log((first, last), pixels),
            false => Scale::new((first, last), pixels),
        };
        // Intervals of lines that are not told apart by colour do not widen the chart.
        let ends = |line: &Line| -> Vec<f64> {
            let shown = colour(line).is_some();
            let of = |point: &(f64, Estimate)| match shown {
                true => [point.1.value, point.1.lo, point.1.hi],
                false => [point.1.value; 3],
            };
            line.points.iter().flat_map(of).collect()
        };
        let level = self.level.as_ref().map(|level| level.0);
        let span = range(lines.iter().flat_map(ends).chain(level), 0.04);
        let y = Scale::new(span, (bottom, top));
        canvas.rows(y, &ticks(span, 7), (left, right))?;
        let marks = match self.x_marks.as_slice() {
            [] => ticks((first, last), 7),
            marks => marks.to_vec(),
        };
        for &mark in &marks {
            let at = x.at(mark);
            canvas.line((at, bottom), (at, bottom + 5), Colour::FAINT, 1)?;
            let whole = marks.iter().all(|mark| mark.fract() == 0.0);
            let text = if whole {
                number(mark, 0)
            } else {
                tick(mark, &marks)
            };
            canvas.text(&text, (at, bottom + 16), Anchor::Middle, Colour::FAINT)?;
        }
        canvas.line((left, bottom), (right, bottom), Colour::FAINT, 1)?;
        canvas.text(
            &self.x,
            ((left + right) / 2, bottom + 36),
            Anchor::Middle,
            Colour::INK,
        )?;
        canvas.upwards(&self.y, (18, (top + bottom) / 2), Anchor::Middle, Colour::INK)?;
        if let Some((value, name)) = &self.level {
            let at = y.at(*value);
            canvas.dashed(&[(left, at), (right, at)], Colour::INK, 1)?;
            canvas.text_of_size(name, (left + 6, at - 9), Anchor::Left, Colour::INK, SMALL)?;
        }
        let path = |line: &Line, shift: i32| -> Vec<(i32, i32)> {
            let place = |point: &(f64, Estimate)| (x.at(point.0) + shift, y.at(point.1.value));
            line.points.iter().map(place).collect()
        };
        for line in lines.iter().filter(|line| colour(line).is_none()) {
            canvas.path(&path(line, 0), Colour::GREY, 1)?;
        }
        // Points beside each other, so that intervals do not lie on one another; curves have no room for that.
        let shift = |number: usize| match is_dodged {
            true => DODGE * (2 * number as i32 + 1 - named.len() as i32) / 2,
            false => 0,
        };
        let named: Vec<(&Line, Colour, i32)> = named
            .iter()
            .enumerate()
            .filter_map(|(number, line)| Some((line, colour(line)?, shift(number))))
            .collect();
        for &(line, colour, shift) in &named {
            let path = path(line, shift);
            match line.dashed {
                true => canvas.dashed(&path, colour, 2)?,
                false => canvas.path(&path, colour, 2)?,
            }
            if is_dodged {
                for (&(at, middle), (_, estimate)) in path.iter().zip(&line.points) {
                    canvas.line((at, y.at(estimate.lo)), (at, y.at(estimate.hi)), colour, 1)?;
                    canvas.circle((at, middle), 4, colour)?;
                }
            }
        }
        let ends: Vec<(i32, i32)> = named
            .iter()
            .filter_map(|(line, _, shift)| path(line, *shift).last().copied())
            .collect();
        let heights: Vec<i32> = ends.iter().map(|end| end.1).collect();
        for (((line, colour, _), end), height) in
            named.iter().zip(&ends).zip(apart(&heights, GAP, (top, bottom)))
        {
            let at = right + 18;
            if height != end.1 || end.0 < right {
                canvas.path(&[(end.0 + 6, end.1), (at - 4, height)], Colour::GREY, 1)?;
            }
            canvas.text(&self.label(line), (at, height), Anchor::Left, *colour)?;
        }
        canvas.text_of_size(
            &self.note,
            (12, canvas.size().1 - 10),
            Anchor::Left,
            Colour::FAINT,
            SMALL,
        )
    }
}
