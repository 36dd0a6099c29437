//! Times on a published shape as a table for people.

use std::fmt::Write;

use diffprune::Budget;
use diffprune_eval::{StageTimer, Timing};

use super::BudgetTimes;
use crate::units::{aligned_columns, readable_bytes};

/// A row for each budget, then the circumstances that all rows share and the requests answered together; the speed-up is that
/// to the first budget's first token. Empty without budgets.
pub fn budget_table(measured: &[(Budget, BudgetTimes)]) -> String {
    let Some((of, first)) = measured.first() else {
        return String::new();
    };
    let mut head = ["keep", "tokens", "KV cache", "TFLOPs"]
        .map(String::from)
        .to_vec();
    head.extend(first.timings.iter().map(|timing| format!("{} ms", timing.stage)));
    head.push("speed-up".into());
    let mut rows = vec![head];
    let to_first_token = |times: &BudgetTimes| times.timings.last().map(|timing| timing.median_ms);
    for (budget, times) in measured {
        let flops = times.flops.as_ref();
        let mut row = vec![
            budget.to_string(),
            format!("{} of {}", times.kept, times.total),
            readable_bytes(times.cache_bytes),
            flops.map_or("-".into(), |flops| format!("{:.2}", flops.total() / 1e12)),
        ];
        let time = |timing: &Timing| format!("{:.1} ± {:.1}", timing.median_ms, timing.iqr_ms() / 2.0);
        row.extend(times.timings.iter().map(time));
        let ratio = to_first_token(first).zip(to_first_token(times));
        row.push(ratio.map_or("-".into(), |(first, own)| format!("{:.2}x", first / own)));
        rows.push(row);
    }
    let mut text = aligned_columns(&rows) + "\n";
    if let Some(timing) = first.timings.first() {
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "medians and half the distance of the quartiles of {} runs; {}; speed-up to the first token against {of}{}",
            timing.runs,
            timing.context,
            few(timing.runs)
        );
    }
    for (budget, times) in measured {
        for point in &times.batches {
            let most = point.peak_bytes.map_or("unknown".into(), readable_bytes);
            let remark = few(point.latency.runs);
            let _ = writeln!(text, "keep {budget}: {point}; peak memory {most}{remark}");
        }
    }
    text
}

/// The remark behind a median of too few runs.
fn few(runs: usize) -> &'static str {
    match runs < StageTimer::LEAST_RUNS {
        true => " (few runs: no claim)",
        false => "",
    }
}
