//! Drawings of the studies, in the colours of the reports.

use diffprune_eval::Estimate;
use plotters::prelude::*;

use crate::PilotError;

/// Colours that most eyes can tell apart, in the order of the reports.
pub(crate) const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(110, 110, 110),
    RGBColor(0, 0, 0),
];

/// A line with a band.
pub(crate) struct Line {
    /// Text at its end.
    pub label: String,
    /// Abscissa, value, lower and upper end.
    pub points: Vec<(f64, f64, f64, f64)>,
    /// Drawn dashed.
    pub dashed: bool,
}

/// A chart of lines.
pub(crate) struct Chart<'a> {
    /// Heading: a statement of what is shown.
    pub title: &'a str,
    /// Name and unit of the abscissa.
    pub x: &'a str,
    /// Name and unit of the ordinate.
    pub y: &'a str,
    /// Logarithmic abscissa.
    pub log_x: bool,
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws lines; labels stand at their right ends, moved apart where they would lie on one another.
pub(crate) fn lines(name: &str, chart: &Chart<'_>, lines: &[Line]) -> Result<Vec<u8>, PilotError> {
    let mut svg = String::new();
    draw(&mut svg, chart, lines).map_err(|error| PilotError::Figure {
        name: name.into(),
        problem: error.to_string(),
    })?;
    Ok(svg.into_bytes())
}

const SIZE: (u32, u32) = (860, 460);
/// Room for labels, pixels.
const LABELS: u32 = 220;
/// Least distance of two labels, pixels.
const LABEL_GAP: i32 = 17;

fn draw(svg: &mut String, chart: &Chart<'_>, lines: &[Line]) -> Drawn {
    let place = |x: f64| if chart.log_x { x.ln() } else { x };
    let points = || lines.iter().flat_map(|line| &line.points);
    let (left, right) = span(points().map(|point| place(point.0)));
    let (bottom, top) = span(points().flat_map(|point| [point.2, point.3, point.1]));
    let margin = 0.05 * (top - bottom);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(chart.title, ("sans-serif", 18))?;
    let mut context = ChartBuilder::on(&area)
        .margin(10)
        .margin_right(LABELS)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(left..right, bottom - margin..top + margin)?;
    let label_x = |value: &f64| {
        let value = if chart.log_x { value.exp() } else { *value };
        short(value)
    };
    context
        .configure_mesh()
        .x_desc(chart.x)
        .y_desc(chart.y)
        .x_label_formatter(&label_x)
        .y_label_formatter(&|value| short(*value))
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    let mut labels = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let upper = line.points.iter().map(|point| (place(point.0), point.3));
        let lower = line.points.iter().rev().map(|point| (place(point.0), point.2));
        context.draw_series([Polygon::new(
            upper.chain(lower).collect::<Vec<_>>(),
            colour.mix(0.1),
        )])?;
        let middle = line.points.iter().map(|point| (place(point.0), point.1));
        if line.dashed {
            context.draw_series(DashedLineSeries::new(middle, 6, 4, colour.stroke_width(2)))?;
        } else {
            context.draw_series(LineSeries::new(middle, colour.stroke_width(2)).point_size(3))?;
        }
        if let Some(last) = line.points.last() {
            let (x, y) = context.backend_coord(&(place(last.0), last.1));
            labels.push((x, y, colour, line.label.as_str()));
        }
    }
    labels.sort_by_key(|label| label.1);
    let mut above = i32::MIN / 2;
    for (x, y, colour, text) in labels {
        let y = y.max(above + LABEL_GAP);
        above = y;
        let style = ("sans-serif", 14).into_font().color(&colour);
        // Coordinates of the chart are those of the whole drawing.
        let (_, offset) = area.get_base_pixel();
        area.draw_text(text, &style, (x + 8, y - 7 - offset))?;
    }
    area.present()?;
    Ok(())
}

/// Least and greatest value, never equal.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (lo, hi) = values
        .filter(|value| value.is_finite())
        .fold((f64::MAX, f64::MIN), |(lo, hi), value| {
            (lo.min(value), hi.max(value))
        });
    if lo < hi {
        (lo, hi)
    } else {
        (lo.min(0.0), lo.max(0.0) + 1.0)
    }
}

/// A number with as many digits as a reader wants.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 10.0 || (v - v.round()).abs() < 1e-9 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.1}"),
        v if v >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

/// A chart of values with intervals, one row for each arm.
pub(crate) struct Dots<'a> {
    /// Heading: a statement of what is shown.
    pub title: &'a str,
    /// Name and unit of the abscissa.
    pub x: &'a str,
    /// Names of the rows, from the top.
    pub rows: &'a [&'a str],
    /// Names of the colours.
    pub series: &'a [&'a str],
    /// For each row one value for each colour.
    pub values: &'a [Vec<Estimate>],
}

/// Height of a row of dots, pixels.
const ROW: i32 = 34;

/// Draws values and their intervals.
pub(crate) fn dots(name: &str, chart: &Dots<'_>) -> Result<Vec<u8>, PilotError> {
    let mut svg = String::new();
    draw_dots(&mut svg, chart).map_err(|error| PilotError::Figure {
        name: name.into(),
        problem: error.to_string(),
    })?;
    Ok(svg.into_bytes())
}

fn draw_dots(svg: &mut String, chart: &Dots<'_>) -> Drawn {
    let (left, right) = span(
        chart
            .values
            .iter()
            .flatten()
            .flat_map(|value| [value.lo, value.hi, 0.0]),
    );
    let margin = 0.03 * (right - left);
    let n = chart.rows.len();
    let height = 110 + n as i32 * ROW + 18 * chart.series.len() as i32;
    let area = SVGBackend::with_string(svg, (SIZE.0, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let area = area.titled(chart.title, ("sans-serif", 18))?;
    let (legend, area) = area.split_vertically(18 * chart.series.len() as i32 + 6);
    for (number, series) in chart.series.iter().enumerate() {
        let (colour, y) = (COLOURS[number % COLOURS.len()], 18 * number as i32 + 9);
        legend.draw(&Circle::new((180, y), 4, colour.filled()))?;
        let style = ("sans-serif", 14).into_font().color(&colour);
        legend.draw_text(series, &style, (190, y - 7))?;
    }
    let mut context = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(44)
        .y_label_area_size(160)
        .build_cartesian_2d(left - margin..right + margin, 0.0..n as f64)?;
    context
        .configure_mesh()
        .x_desc(chart.x)
        .x_label_formatter(&|value| short(*value))
        .disable_y_mesh()
        .y_labels(0)
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    context.draw_series(LineSeries::new([(0.0, 0.0), (0.0, n as f64)], BLACK.mix(0.4)))?;
    let (_, offset) = area.get_base_pixel();
    for (row, (name, values)) in chart.rows.iter().zip(chart.values).enumerate() {
        let middle = (n - row) as f64 - 0.5;
        let (_, y) = context.backend_coord(&(0.0, middle));
        area.draw_text(
            name,
            &("sans-serif", 14).into_text_style(&area),
            (12, y - 7 - offset),
        )?;
        for (number, value) in values.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let shift = (number as f64 - (values.len() - 1) as f64 / 2.0) * 0.26;
            let y = middle - shift;
            context.draw_series(LineSeries::new(
                [(value.lo, y), (value.hi, y)],
                colour.stroke_width(2),
            ))?;
            context.draw_series([Circle::new((value.value, y), 4, colour.filled())])?;
        }
    }
    area.present()?;
    Ok(())
}
