//! The curves as drawings.

use diffprune_eval::Estimate;
use diffprune_eval::chart::{Line, Lines, Palette};

use crate::Failure;
use crate::curve::{BUDGETS, CLIENTS, Point};

const MILLISECONDS: &str = "milliseconds";

/// Throughput and time to the first token of a model: file names and documents.
pub fn draw(model: &str, points: &[Point]) -> Result<Vec<(String, String)>, Failure> {
    let rounds = match points.first().map_or(0, |point| point.rounds.len()) {
        0 | 1 => "One round".to_string(),
        n => format!("The middle of {n} rounds"),
    };
    let chart = |file: &str, title: String, y: &str, value: fn(&Point) -> f64| {
        let line = |budget: &&str| {
            let own = points.iter().filter(|point| point.budget == *budget);
            let estimate = |value: f64| Estimate {
                value,
                lo: value,
                hi: value,
            };
            Line {
                name: budget.to_string(),
                label: format!("keep {budget}:"),
                points: own
                    .map(|point| (point.clients as f64, estimate(value(point))))
                    .collect(),
                dashed: false,
            }
        };
        let chart = Lines {
            name: file.into(),
            title,
            x: "clients at the same time".into(),
            y: y.into(),
            log_x: true,
            falling: false,
            x_marks: CLIENTS.map(|clients| clients as f64).to_vec(),
            level: None,
            decimals: Some(if y == MILLISECONDS { 0 } else { 1 }),
            note: format!("{rounds}; caches off, so every picture is encoded, chosen from and read."),
            lines: BUDGETS.iter().map(line).collect(),
        };
        let svg = chart.svg(&Palette::of(BUDGETS))?;
        Ok::<_, Failure>((format!("{file}-{model}.svg"), svg))
    };
    Ok(vec![
        chart(
            "throughput",
            format!("Requests per second, {model}"),
            "requests per second",
            |point| point.requests_per_second,
        )?,
        chart(
            "first-token",
            format!("Median time to the first token, {model}"),
            MILLISECONDS,
            |point| point.first_token_ms[0],
        )?,
    ])
}
