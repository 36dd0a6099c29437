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

/// A chart of lines. Those of the palette are drawn in colour, with bands and a name at their right end; the others thin and
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
        lines.retain(|line| !line.points.is_empty());
        let colour = |line: &Line| palette.colour(&line.name);
        let labels = lines.iter().filter(|line| colour(line).is_some());
        let room = labels.map(|line| width_of(&self.label(line))).max().unwrap_or(0) + 34;
        let (left, right) = (74, WIDTH - room.clamp(60, WIDTH / 2));
        let (top, bottom) = (top + 4, canvas.size().1 - 62);
        let points = || lines.iter().flat_map(|line| &line.points);
        let (first, last) = range(points().map(|point| point.0), 0.0);
        let pixels = match self.falling {
            true => (right, left),
            false => (left, right),
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
        let path = |line: &Line| -> Vec<(i32, i32)> {
            let place = |point: &(f64, Estimate)| (x.at(point.0), y.at(point.1.value));
            line.points.iter().map(place).collect()
        };
        for line in lines.iter().filter(|line| colour(line).is_none()) {
            canvas.path(&path(line), Colour::GREY, 1)?;
        }
        let mut named = Vec::new();
        for line in &lines {
            let Some(colour) = colour(line) else { continue };
            let edge = |end: fn(&Estimate) -> f64| {
                let place = move |point: &(f64, Estimate)| (x.at(point.0), y.at(end(&point.1)));
                line.points.iter().map(place)
            };
            let band: Vec<_> = edge(|e| e.hi).chain(edge(|e| e.lo).rev()).collect();
            if line.points.iter().any(|point| point.1.lo < point.1.hi) && line.points.len() > 1 {
                canvas.band(band, colour)?;
            }
            named.push((line, colour));
        }
        for (line, colour) in &named {
            let path = path(line);
            match line.dashed {
                true => canvas.dashed(&path, *colour, 2)?,
                false => canvas.path(&path, *colour, 2)?,
            }
            if path.len() <= 12 {
                for &place in &path {
                    canvas.circle(place, 4, *colour)?;
                }
            }
        }
        let ends: Vec<(i32, i32)> = named
            .iter()
            .filter_map(|(line, _)| path(line).last().copied())
            .collect();
        let heights: Vec<i32> = ends.iter().map(|end| end.1).collect();
        for (((line, colour), end), height) in
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
