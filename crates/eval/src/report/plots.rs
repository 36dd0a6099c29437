//! Plots as SVG documents.

use plotters::prelude::*;

use super::metric::Metric;
use super::result::Report;
use super::table::{Row, distinct};
use super::table_id::TableId;
use crate::EvalError;

/// A drawn plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// File name without ending.
    pub name: String,
    /// Heading.
    pub title: String,
    /// The SVG document.
    pub svg: String,
}

const SIZE: (u32, u32) = (900, 480);
/// Least width of a group of bars, pixels.
const GROUP: u32 = 92;
/// Arms shown in bar plots, the first of the tables.
const MOST_BARS: usize = 6;
/// Colours that most eyes can tell apart.
const COLOURS: [RGBColor; 14] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(110, 110, 110),
    RGBColor(0, 0, 0),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
    RGBColor(255, 152, 150),
    RGBColor(31, 60, 120),
];

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Every plot of the report.
pub(crate) fn all(report: &Report) -> Result<Vec<Plot>, EvalError> {
    let mut plots = Vec::new();
    let kept = |row: &Row| {
        Some(
            report
                .row(TableId::Tokens, &row.arm, &row.budget, &Metric::KeptTokens)?
                .value,
        )
    };
    let curves = curves(report, &Metric::Retention, 2, kept);
    if !curves.is_empty() {
        let title = "Retention against visual tokens kept (bands: 95 % intervals)";
        let axes = Axes {
            x: "visual tokens kept",
            y: "retention, %",
            level: Some(100.0),
        };
        plots.push(plot("retention", title, |svg| draw_curves(svg, &curves, &axes))?);
    }
    let cost = |row: &Row| {
        Some(
            report
                .row(TableId::Cost, &row.arm, &row.budget, &Metric::PrefillGflops)?
                .value,
        )
    };
    let curves = self::curves(report, &Metric::Average, 1, cost);
    if !curves.is_empty() {
        let title = "Average score against the cost of the prefill (bands: 95 % intervals)";
        let axes = Axes {
            x: "GFLOPs of the prefill",
            y: "average score, %",
            level: None,
        };
        plots.push(plot("cost", title, |svg| draw_curves(svg, &curves, &axes))?);
    }
    let kinds = report
        .table(TableId::Kinds)
        .map(|table| table.rows.as_slice())
        .unwrap_or_default();
    for budget in distinct(kinds.iter().map(|row| row.budget.as_str()))
        .iter()
        .filter(|budget| **budget != "all")
    {
        let rows: Vec<&Row> = kinds
            .iter()
            .filter(|row| row.budget == *budget || row.budget == "all")
            .collect();
        let name = format!("kinds-{}", budget.replace(['/', '%'], "-"));
        plots.push(plot(
            &name,
            &format!("Mean score by kind of question, {budget} tokens"),
            |svg| draw_bars(svg, &rows),
        )?);
    }
    Ok(plots)
}

fn plot(name: &str, title: &str, draw: impl FnOnce(&mut String) -> Drawn) -> Result<Plot, EvalError> {
    let mut svg = String::new();
    draw(&mut svg).map_err(|error| EvalError::Plot {
        name: name.into(),
        problem: error.to_string(),
    })?;
    Ok(Plot {
        name: name.into(),
        title: title.into(),
        svg,
    })
}

/// The two axes of a plot.
struct Axes {
    x: &'static str,
    y: &'static str,
    /// Height of a grey line across.
    level: Option<f64>,
}

/// One arm over budgets.
struct Curve {
    arm: String,
    /// Abscissa, value, lower and upper end, by abscissa.
    points: Vec<(f64, f64, f64, f64)>,
}

/// A metric of the main table over something else, for every arm with at least so many points.
fn curves(report: &Report, metric: &Metric, least: usize, x: impl Fn(&Row) -> Option<f64>) -> Vec<Curve> {
    let rows: Vec<&Row> = report
        .table(TableId::Main)
        .into_iter()
        .flat_map(|t| &t.rows)
        .filter(|row| row.metric == *metric)
        .collect();
    let curve = |arm: &str| {
        let of_arm = rows.iter().filter(|row| row.arm == arm);
        let mut points: Vec<_> = of_arm
            .filter_map(|row| Some((x(row)?, row.value, row.lo, row.hi)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Curve {
            arm: arm.to_string(),
            points,
        }
    };
    let arms = distinct(rows.iter().map(|row| row.arm.as_str()));
    arms.into_iter()
        .map(curve)
        .filter(|curve| curve.points.len() >= least)
        .collect()
}

/// A number on an axis: whole where that tells enough.
fn tick(value: f64, span: f64) -> String {
    let decimals = (1.0 - span.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

fn draw_curves(svg: &mut String, curves: &[Curve], axes: &Axes) -> Drawn {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (left, right) = range(points().map(|point| point.0));
    let (bottom, top) = range(points().flat_map(|point| [point.2, point.3]).chain(axes.level));
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let margin = 0.04 * (top - bottom);
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(
            left - 0.02 * (right - left)..right * 1.35,
            bottom - margin..top + margin,
        )?;
    let mesh = &mut chart.configure_mesh();
    mesh.x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|value| tick(*value, right - left))
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    if let Some(level) = axes.level {
        chart.draw_series(LineSeries::new(
            [(left, level), (right, level)],
            BLACK.mix(0.4).stroke_width(1),
        ))?;
    }
    for (place, curve) in curves.iter().enumerate() {
        let colour = colour(place);
        if let [(x, _, lo, hi)] = curve.points[..] {
            chart.draw_series([PathElement::new(
                [(x, lo), (x, hi)],
                colour.mix(0.4).stroke_width(4),
            )])?;
        }
        let upper = curve.points.iter().map(|point| (point.0, point.3));
        let lower = curve.points.iter().rev().map(|point| (point.0, point.2));
        chart.draw_series([Polygon::new(
            upper.chain(lower).collect::<Vec<_>>(),
            colour.mix(0.08),
        )])?;
        let line = curve.points.iter().map(|point| (point.0, point.1));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))?
            .label(&curve.arm)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}

fn draw_bars(svg: &mut String, rows: &[&Row]) -> Drawn {
    let mut arms = distinct(rows.iter().map(|row| row.arm.as_str()));
    arms.truncate(MOST_BARS);
    let kinds = distinct(rows.iter().map(|row| &row.metric));
    let width = SIZE.0.max(GROUP * (kinds.len() as u32 + 2));
    let area = SVGBackend::with_string(svg, (width, SIZE.1)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(60)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..kinds.len() as f64 + 1.5, 0.0..105.0)?;
    let label = |x: &f64| {
        let middle = (x.fract() - 0.5).abs() < 0.01;
        if middle {
            kinds
                .get(x.floor() as usize)
                .map(ToString::to_string)
                .unwrap_or_default()
        } else {
            String::new()
        }
    };
    let mesh = &mut chart.configure_mesh();
    mesh.disable_x_mesh()
        .x_labels(0)
        .y_desc("mean score, %")
        .x_label_formatter(&label)
        .light_line_style(WHITE)
        .draw()?;
    let style = ("sans-serif", 12).into_text_style(&area);
    for (place, kind) in kinds.iter().enumerate() {
        let below = if place % 2 == 0 { 0.0 } else { 14.0 };
        let at = chart.backend_coord(&(place as f64 + 0.1, 0.0));
        area.draw_text(&kind.to_string(), &style, (at.0, at.1 + 6 + below as i32))?;
    }
    let width = 0.8 / arms.len().max(1) as f64;
    for (a, arm) in arms.iter().enumerate() {
        let colour = colour(a);
        let bar = |row: &&&Row| {
            let place = kinds.iter().position(|kind| **kind == row.metric).unwrap_or(0);
            let x = place as f64 + 0.1 + a as f64 * width;
            Rectangle::new(
                [(x, 0.0), (x + 0.9 * width, row.value)],
                colour.mix(0.85).filled(),
            )
        };
        let of_arm: Vec<&&Row> = rows.iter().filter(|row| row.arm == *arm).collect();
        chart
            .draw_series(of_arm.iter().map(bar))?
            .label(*arm)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
        let whisker = |row: &&&Row| {
            let place = kinds.iter().position(|kind| **kind == row.metric).unwrap_or(0);
            let x = place as f64 + 0.1 + (a as f64 + 0.45) * width;
            PathElement::new([(x, row.lo), (x, row.hi)], BLACK.mix(0.6).stroke_width(1))
        };
        chart.draw_series(of_arm.iter().map(whisker))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Least and greatest value, never equal.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
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
