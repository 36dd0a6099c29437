//! Surfaces as heat maps, one for each arm, on one scale.

use plotters::prelude::*;

use crate::PilotError;

/// Side of a map, pixels.
const SIDE: i32 = 200;
/// Space around maps, pixels.
const GAP: i32 = 24;
/// Height of the heading and of the maps' names.
const TOP: i32 = 52;
/// Steps of the scale.
const STEPS: i32 = 40;

/// Draws the maps side by side: rows from the top, dark is high. Values outside the 2nd to the 98th percentile have the colours
/// of the ends.
pub(crate) fn surfaces(names: &[&str], maps: &[Vec<Vec<f64>>]) -> Result<Vec<u8>, PilotError> {
    let mut svg = String::new();
    draw(&mut svg, names, maps).map_err(|error| PilotError::Figure {
        name: "landscape-surface".into(),
        problem: error.to_string(),
    })?;
    Ok(svg.into_bytes())
}

fn draw(svg: &mut String, names: &[&str], maps: &[Vec<Vec<f64>>]) -> Result<(), Box<dyn std::error::Error>> {
    let mut values: Vec<f64> = maps
        .iter()
        .flatten()
        .flatten()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * values.len().saturating_sub(1) as f64).round() as usize;
        values.get(place).copied().unwrap_or(0.0)
    };
    let (low, high) = (at(0.02), at(0.98));
    let shade = |value: f64| heat(((value - low) / (high - low).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0));
    let width = GAP + maps.len() as i32 * (SIDE + GAP) + 90;
    let area = SVGBackend::with_string(svg, (width as u32, (TOP + SIDE + GAP) as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let (heading, text) = (
        ("sans-serif", 18).into_text_style(&area),
        ("sans-serif", 14).into_text_style(&area),
    );
    area.draw_text(
        "The loss over two random directions of the scorer's weights, one scale",
        &heading,
        (GAP, 6),
    )?;
    for (number, (name, map)) in names.iter().zip(maps).enumerate() {
        let left = GAP + number as i32 * (SIDE + GAP);
        area.draw_text(name, &text, (left, TOP - 20))?;
        let n = map.len().max(1) as i32;
        for (y, row) in map.iter().enumerate() {
            for (x, &value) in row.iter().enumerate() {
                let edge = |i: usize| i as i32 * SIDE / n;
                let corners = [
                    (left + edge(x), TOP + edge(y)),
                    (left + edge(x + 1), TOP + edge(y + 1)),
                ];
                area.draw(&Rectangle::new(corners, shade(value).filled()))?;
            }
        }
    }
    let left = GAP + maps.len() as i32 * (SIDE + GAP);
    for step in 0..STEPS {
        let share = 1.0 - f64::from(step) / f64::from(STEPS - 1);
        let corners = [
            (left, TOP + step * SIDE / STEPS),
            (left + 16, TOP + (step + 1) * SIDE / STEPS),
        ];
        area.draw(&Rectangle::new(corners, heat(share).filled()))?;
    }
    area.draw_text(&format!("{high:.2}"), &text, (left + 22, TOP - 6))?;
    area.draw_text(&format!("{low:.2}"), &text, (left + 22, TOP + SIDE - 12))?;
    area.draw_text("loss", &text, (left, TOP - 20))?;
    area.present()?;
    Ok(())
}

/// From near white to dark blue.
fn heat(share: f64) -> RGBColor {
    let mix = |light: f64, dark: f64| (light + (dark - light) * share) as u8;
    RGBColor(mix(247.0, 8.0), mix(251.0, 48.0), mix(255.0, 107.0))
}
