//! The cost of the prefill.

use super::cell::RowHead;
use super::matrix::Matrix;
use super::metric::Metric;
use super::options::CostOptions;
use super::paired::Paired;
use super::table::Row;
use crate::cost::{Counting, Schedule, kv_bytes, prefill_flops};
use crate::run::Record;
use crate::stats::{Estimate, mean};

/// A price of a schedule.
type Price = fn(&CostOptions, &Schedule) -> f64;

/// The prices that the table holds.
const PRICES: [(Metric, Price); 3] = [
    (Metric::PrefillGflops, |cost, schedule| {
        prefill_flops(&cost.shape, schedule, Counting::FULL) / 1e9
    }),
    (Metric::ProfilerGflops, |cost, schedule| {
        prefill_flops(&cost.shape, schedule, Counting::PROFILER) / 1e9
    }),
    (Metric::CacheMegabytes, |cost, schedule| {
        kv_bytes(&cost.shape, schedule, cost.bytes_per_value) / 1e6
    }),
];

/// Arithmetic and cache of the language model over the tokens that each layer really got; the interval is the range.
pub(crate) fn prices(matrix: &Matrix, paired: &Paired<'_>, cost: &CostOptions) -> Vec<Row> {
    let mut rows = Vec::new();
    for (c, cell) in matrix.cells.iter().enumerate() {
        let schedules: Vec<Schedule> = paired.records(c).map(|record| schedule(record, cost)).collect();
        for (metric, price) in PRICES {
            let values = || schedules.iter().map(|schedule| price(cost, schedule));
            let range = Estimate {
                value: mean(values()),
                lo: values().fold(f64::INFINITY, f64::min),
                hi: values().fold(f64::NEG_INFINITY, f64::max),
            };
            rows.push(RowHead::new(cell, metric, matrix.n_questions).number(&range));
        }
    }
    rows
}

/// The tokens of each layer, other ones included.
fn schedule(record: &Record, cost: &CostOptions) -> Schedule {
    let n_layers = cost.shape.language.n_layers;
    let inside = record.layers.as_ref();
    let inside = inside.map(|runs| Schedule::stages(runs.iter().copied()));
    let schedule = inside
        .filter(|schedule| schedule.n_layers() == n_layers)
        .unwrap_or_else(|| Schedule::uniform(n_layers, record.kept));
    schedule.plus(cost.text_tokens)
}
