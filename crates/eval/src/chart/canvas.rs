//! Shapes and text on an SVG document, in pixels.

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::Colour;
use super::scale::{Scale, tick};
use crate::EvalError;
use crate::stats::Verdict;

/// Size of a title, in the units of the drawing library.
const TITLE: i32 = 20;
/// Size of text.
pub(crate) const TEXT: i32 = 16;
/// Size of small text.
pub(crate) const SMALL: i32 = 14;
/// Pixels of an average character of size [`TEXT`].
const CHARACTER: f64 = 7.1;
/// Height of a line of a title, pixels.
const LINE: i32 = 22;
/// Space above the first line of the title, pixels.
const ABOVE: i32 = 10;

type Place = (i32, i32);
pub(crate) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// How text stands to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Left,
    Middle,
    Right,
}

/// A white sheet.
pub(crate) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    size: (i32, i32),
}

/// Draws a document of that size under a title; the drawing begins below it, at the height that it is given.
pub(crate) fn document(
    name: &str,
    title: &str,
    width: i32,
    height: i32,
    draw: impl FnOnce(&Canvas<'_>, i32) -> Drawn,
) -> Result<String, EvalError> {
    let lines = wrapped(title, width - 24, TITLE);
    let top = ABOVE + LINE * lines.len() as i32 + 8;
    let size = (width, height + top);
    let mut svg = String::new();
    let drawn = || -> Drawn {
        let area = SVGBackend::with_string(&mut svg, (size.0 as u32, size.1 as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        let canvas = Canvas { area, size };
        for (number, line) in lines.iter().enumerate() {
            let at = (12, ABOVE + LINE * number as i32 + LINE / 2);
            canvas.text_of_size(line, at, Anchor::Left, Colour::INK, TITLE)?;
        }
        draw(&canvas, top)?;
        canvas.area.present()?;
        Ok(())
    };
    drawn().map_err(|error| EvalError::Plot {
        name: name.into(),
        problem: error.to_string(),
    })?;
    Ok(svg)
}

/// Width of text of size [`TEXT`], pixels.
pub(crate) fn width_of(text: &str) -> i32 {
    (text.chars().count() as f64 * CHARACTER).ceil() as i32
}

/// Words in lines that are not wider than so many pixels, at a size of text.
pub(crate) fn wrapped(text: &str, width: i32, size: i32) -> Vec<String> {
    // Most characters of a sentence are narrower than those of names and numbers.
    let room = (1.12 * f64::from(width) / (CHARACTER * f64::from(size) / f64::from(TEXT))) as usize;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

impl Canvas<'_> {
    /// Width and height, pixels.
    pub(crate) fn size(&self) -> (i32, i32) {
        self.size
    }

    pub(crate) fn text(&self, text: &str, at: Place, anchor: Anchor, colour: Colour) -> Drawn {
        self.text_of_size(text, at, anchor, colour, TEXT)
    }

    /// Text whose middle line lies at that height.
    pub(crate) fn text_of_size(
        &self,
        text: &str,
        at: Place,
        anchor: Anchor,
        colour: Colour,
        size: i32,
    ) -> Drawn {
        let anchor = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let colour = RGBColor::from(colour);
        let style = ("sans-serif", size)
            .into_font()
            .color(&colour)
            .pos(Pos::new(anchor, VPos::Center));
        self.area.draw_text(text, &style, at)?;
        Ok(())
    }

    /// The note below everything else.
    pub(crate) fn foot(&self, note: &str) -> Drawn {
        let place = (12, self.size.1 - 12);
        self.text_of_size(note, place, Anchor::Left, Colour::FAINT, SMALL)
    }

    /// Text that is read from below, its end at that place.
    pub(crate) fn upwards(&self, text: &str, at: Place, anchor: Anchor, colour: Colour) -> Drawn {
        let anchor = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let colour = RGBColor::from(colour);
        let style = ("sans-serif", TEXT)
            .into_font()
            .transform(FontTransform::Rotate270)
            .color(&colour)
            .pos(Pos::new(anchor, VPos::Center));
        self.area.draw_text(text, &style, at)?;
        Ok(())
    }

    pub(crate) fn line(&self, from: Place, to: Place, colour: Colour, width: u32) -> Drawn {
        self.path(&[from, to], colour, width)
    }

    pub(crate) fn path(&self, points: &[Place], colour: Colour, width: u32) -> Drawn {
        let style = RGBColor::from(colour).stroke_width(width);
        self.area.draw(&PathElement::new(points.to_vec(), style))?;
        Ok(())
    }

    pub(crate) fn dashed(&self, points: &[Place], colour: Colour, width: u32) -> Drawn {
        let style = RGBColor::from(colour).stroke_width(width);
        self.area
            .draw(&DashedPathElement::new(points.to_vec(), 6, 4, style))?;
        Ok(())
    }

    pub(crate) fn rectangle(&self, from: Place, to: Place, colour: Colour) -> Drawn {
        self.area
            .draw(&Rectangle::new([from, to], RGBColor::from(colour).filled()))?;
        Ok(())
    }

    pub(crate) fn circle(&self, at: Place, radius: i32, colour: Colour) -> Drawn {
        self.area
            .draw(&Circle::new(at, radius, RGBColor::from(colour).filled()))?;
        Ok(())
    }

    pub(crate) fn ring(&self, at: Place, radius: i32, colour: Colour) -> Drawn {
        self.area.draw(&Circle::new(at, radius, WHITE.filled()))?;
        self.area
            .draw(&Circle::new(at, radius, RGBColor::from(colour).stroke_width(1)))?;
        Ok(())
    }

    /// The mark of a verdict: shape and colour both tell it.
    pub(crate) fn mark(&self, verdict: Verdict, (x, y): Place) -> Drawn {
        let colour = of_verdict(verdict);
        let filled = |points: &[Place]| -> Drawn {
            let points: Vec<Place> = points.iter().map(|&(dx, dy)| (x + dx, y + dy)).collect();
            self.area
                .draw(&Polygon::new(points, RGBColor::from(colour).filled()))?;
            Ok(())
        };
        match verdict {
            Verdict::Holds => self.circle((x, y), 6, colour),
            Verdict::Equivalent => filled(&[(-6, -6), (6, -6), (6, 6), (-6, 6)]),
            Verdict::Tie | Verdict::Untestable => filled(&[(0, -7), (7, 0), (0, 7), (-7, 0)]),
            Verdict::Fails => {
                self.line((x - 6, y - 6), (x + 6, y + 6), colour, 3)?;
                self.line((x - 6, y + 6), (x + 6, y - 6), colour, 3)
            }
        }
    }

    /// Lines of the grid across, with their numbers at the left.
    pub(crate) fn rows(&self, scale: Scale, marks: &[f64], (left, right): (i32, i32)) -> Drawn {
        for &mark in marks {
            let y = scale.at(mark);
            self.line((left, y), (right, y), Colour::RULE, 1)?;
            self.text(&tick(mark, marks), (left - 8, y), Anchor::Right, Colour::FAINT)?;
        }
        Ok(())
    }

    /// Lines of the grid upwards, with their numbers below.
    pub(crate) fn columns(&self, scale: Scale, marks: &[f64], (top, bottom): (i32, i32)) -> Drawn {
        for &mark in marks {
            let x = scale.at(mark);
            self.line((x, top), (x, bottom), Colour::RULE, 1)?;
            self.text(
                &tick(mark, marks),
                (x, bottom + 14),
                Anchor::Middle,
                Colour::FAINT,
            )?;
        }
        Ok(())
    }
}

/// The colour of a verdict.
pub(crate) fn of_verdict(verdict: Verdict) -> Colour {
    match verdict {
        Verdict::Holds | Verdict::Equivalent => Colour::HOLDS,
        Verdict::Fails => Colour::FAILS,
        Verdict::Tie | Verdict::Untestable => Colour::TIE,
    }
}

/// Heights for labels that want to stand at `wanted`: moved apart by at least `gap`, kept between `top` and `bottom` where
/// there is room for all.
pub(crate) fn apart(wanted: &[i32], gap: i32, (top, bottom): (i32, i32)) -> Vec<i32> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&i| wanted[i]);
    let mut places = vec![0; wanted.len()];
    let mut above = i32::MIN / 2;
    for &i in &order {
        places[i] = wanted[i].max(top).max(above + gap);
        above = places[i];
    }
    let mut below = i32::MAX / 2;
    for &i in order.iter().rev() {
        places[i] = places[i].min(bottom).min(below - gap);
        below = places[i];
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_lie_on_one_another_nor_outside() {
        let places = apart(&[100, 101, 99, 300, 299], 16, (0, 305));
        let mut sorted = places.clone();
        sorted.sort_unstable();
        assert!(
            sorted.windows(2).all(|pair| pair[1] - pair[0] >= 16),
            "{places:?}"
        );
        assert!(places.iter().all(|&y| (0..=305).contains(&y)), "{places:?}");
        assert!(
            places[2] < places[0] && places[0] < places[1],
            "in the order of what they name"
        );
    }

    #[test]
    fn long_titles_break_between_words() {
        let lines = wrapped("one two three four five six seven eight nine ten", 150, TITLE);
        assert!(
            lines.len() > 1 && lines.iter().all(|line| line.len() <= 19),
            "{lines:?}"
        );
        assert_eq!(
            lines.join(" "),
            "one two three four five six seven eight nine ten"
        );
    }
}
