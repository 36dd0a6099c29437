//! Claims with their intervals: shape and colour tell the verdict.

use super::canvas::{Anchor, Canvas, Drawn, SMALL, document, of_verdict, width_of, wrapped};
use super::palette::Colour;
use super::scale::{Scale, number, range, ticks};
use crate::EvalError;
use crate::stats::{Estimate, Verdict};

const WIDTH: i32 = 1100;
/// Height of a line of a claim, pixels.
const LINE: i32 = 16;
/// Space between claims, pixels.
const GAP: i32 = 9;
/// Height of a unit's head and axis, pixels.
const HEAD: i32 = 66;
/// Left end of the axis, pixels.
const LEFT: i32 = 560;

/// One claim.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestRow {
    /// The claim in short.
    pub label: String,
    /// Unit of the number; claims of one unit share an axis.
    pub unit: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The number with its interval.
    pub estimate: Estimate,
    /// The number of another source, drawn hollow.
    pub beside: Option<Estimate>,
}

/// A chart of claims, one axis for each unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// File name without ending, for errors.
    pub name: String,
    /// What the chart says, as a statement.
    pub title: String,
    /// What stands below the chart.
    pub note: String,
    /// The claims.
    pub rows: Vec<ForestRow>,
}

impl Forest {
    /// The SVG document.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn svg(&self) -> Result<String, EvalError> {
        let rows: i32 = self.rows.iter().map(height).sum();
        let height = 30 + rows + HEAD * self.units().len() as i32 + 24;
        document(&self.name, &self.title, WIDTH, height, |canvas, top| {
            self.draw(canvas, top)
        })
    }

    fn units(&self) -> Vec<&str> {
        let mut units: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !units.contains(&row.unit.as_str()) {
                units.push(&row.unit);
            }
        }
        units
    }

    fn draw(&self, canvas: &Canvas<'_>, top: i32) -> Drawn {
        let mut x = 18;
        for verdict in [Verdict::Holds, Verdict::Equivalent, Verdict::Tie, Verdict::Fails] {
            canvas.mark(verdict, (x, top + 8))?;
            canvas.text(
                verdict.name(),
                (x + 12, top + 8),
                Anchor::Left,
                of_verdict(verdict),
            )?;
            x += 36 + width_of(verdict.name());
        }
        if self.rows.iter().any(|row| row.beside.is_some()) {
            canvas.ring((x, top + 8), 5, Colour::FAINT)?;
            canvas.text(
                "the papers' cells",
                (x + 12, top + 8),
                Anchor::Left,
                Colour::FAINT,
            )?;
        }
        let mut y = top + 30;
        for unit in self.units() {
            let rows: Vec<&ForestRow> = self.rows.iter().filter(|row| row.unit == unit).collect();
            self.unit(canvas, y, unit, &rows)?;
            y += HEAD + rows.iter().map(|row| height(row)).sum::<i32>();
        }
        canvas.foot(&self.note)
    }

    /// The claims of one unit over their axis.
    fn unit(&self, canvas: &Canvas<'_>, top: i32, unit: &str, rows: &[&ForestRow]) -> Drawn {
        let right = WIDTH - 170;
        let first = top + 22;
        let bottom = first + rows.iter().map(|row| height(row)).sum::<i32>();
        let span = range(rows.iter().flat_map(|row| ends(row)).chain([0.0]), 0.05);
        let x = Scale::new(span, (LEFT, right));
        canvas.text(unit, (12, first - 12), Anchor::Left, Colour::INK)?;
        canvas.columns(x, &ticks(span, 6), (first, bottom))?;
        canvas.line((LEFT, bottom), (right, bottom), Colour::FAINT, 1)?;
        canvas.line((x.at(0.0), first - 4), (x.at(0.0), bottom), Colour::INK, 1)?;
        let mut above = first;
        for row in rows {
            let lines = lines(row);
            let y = above + height(row) / 2;
            for (number, line) in lines.iter().enumerate() {
                let y = y + (2 * number as i32 + 1 - lines.len() as i32) * LINE / 2;
                canvas.text_of_size(line, (LEFT - 12, y), Anchor::Right, Colour::INK, SMALL)?;
            }
            above += height(row);
            let colour = of_verdict(row.verdict);
            let Estimate { value, lo, hi } = row.estimate;
            canvas.line((x.at(lo.max(span.0)), y), (x.at(hi.min(span.1)), y), colour, 2)?;
            if let Some(beside) = row.beside {
                canvas.ring((x.at(beside.value), y), 5, Colour::FAINT)?;
            }
            canvas.mark(row.verdict, (x.at(value), y))?;
            let decimals = if value.abs() < 0.095 { 3 } else { 1 };
            let [value, lo, hi] = [value, lo, hi].map(|end| match end.is_finite() {
                true => number(end, decimals),
                false => "∞".to_string(),
            });
            let text = format!("{value} [{lo}, {hi}]");
            canvas.text_of_size(&text, (WIDTH - 12, y), Anchor::Right, colour, SMALL)?;
        }
        Ok(())
    }
}

/// A claim's text in lines.
fn lines(row: &ForestRow) -> Vec<String> {
    wrapped(&row.label, LEFT - 30, SMALL)
}

fn height(row: &ForestRow) -> i32 {
    LINE * lines(row).len() as i32 + GAP
}

/// What the axis must hold of a claim.
fn ends(row: &ForestRow) -> Vec<f64> {
    let beside = row.beside.iter().map(|beside| beside.value);
    [row.estimate.lo, row.estimate.value, row.estimate.hi]
        .into_iter()
        .chain(beside)
        .collect()
}
