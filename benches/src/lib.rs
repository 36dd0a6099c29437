//! Criterion benches; see the `benches` folder.

use std::time::Duration;

use criterion::Criterion;

/// Settings of benches of whole operators: 20 samples in two seconds, after half a second of warming up.
pub fn brief() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}
